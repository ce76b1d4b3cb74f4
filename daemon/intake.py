"""What the folders say, as commands: a dropped file, an edit, a move by hand.

Looking is idempotent: the same folders give the same commands, and none once they are carried out. It reads the disk and
the tasks as the log knows them; it changes neither, but for setting aside a second file of a name that is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from daemon import folders, taskfile
from daemon.folders import Mark
from daemon.lifecycle import Command, Edit, Reject, Relocate, Submit
from daemon.task import FOLDERS, Status, Task
from daemon.workspace import Workspace
from handlers.contract import Parameter

GONE_FOR_S = 0.3  # editors rename a file away for a moment while they save it
SETTLED_FOR_S = 2.0  # how long a file stays the same before it counts as whole, where the kernel cannot tell of writers


@dataclass
class Intake:
    """Looks at the task folders on the daemon's behalf."""

    workspace: Workspace
    kinds: Mapping[str, tuple[Parameter, ...]]
    tasks: Mapping[str, Task]
    lines_of: Callable[[str], list[str]]  # the status lines of a task so far
    remote: bool = False  # on a file system where open files cannot be seen
    marks: dict[str, Mark] = field(default_factory=dict)  # the state in which each file was last read or written
    again: set[str] = field(default_factory=set)  # to be looked at again soon
    unfinished: set[str] = field(default_factory=set)  # empty, or somebody is still writing them
    touched: set[str] = field(default_factory=set)  # known files that somebody has written: their lines may be lost
    _since: dict[str, tuple[Mark, float]] = field(default_factory=dict)  # when a file was first seen in this state
    _gone: dict[str, float] = field(default_factory=dict)  # when a file was first missed

    def everything(self, now_s: float) -> list[tuple[str, Command]]:
        """Looks at every file of the four folders and every task that should have one.

        Args:
            now_s: monotonic seconds.

        Returns:
            Commands by task name, in the order in which they must be decided.

        Raises:
            OSError: a folder cannot be read.
        """
        places: dict[str, dict[Status, Mark]] = {}
        self.again.clear()
        self.unfinished.clear()
        for status in FOLDERS:
            for name, mark in folders.names(self.workspace.folder(status)).items():
                places.setdefault(name, {})[status] = mark
        expected = [task.id for task in self.tasks.values() if task.place and task.status.folder]
        return self._commands({**{name: {} for name in expected}, **places}, now_s)

    def these(self, names: Iterable[str], now_s: float) -> list[tuple[str, Command]]:
        """Looks at the files of some names only; see `everything`."""
        places: dict[str, dict[Status, Mark]] = {}
        names = sorted(names)
        for name in names:
            found = {s: mark for s in FOLDERS if (mark := folders.mark_of(self.workspace.file(s, name)))}
            if found or name in self.tasks:
                places[name] = found
        for status in FOLDERS:
            os.stat(self.workspace.folder(status))  # where a folder has gone, its files have not been deleted
        self.again.difference_update(names)
        self.unfinished.difference_update(names)
        return self._commands(places, now_s)

    def _commands(self, places: Mapping[str, Mapping[Status, Mark]], now_s: float) -> list[tuple[str, Command]]:
        commands: list[tuple[str, Command]] = []
        for name, found in places.items():
            commands += [(name, command) for command in self._look(name, found, now_s)]
        return commands

    def _look(self, name: str, found: Mapping[Status, Mark], now_s: float) -> list[Command]:
        task = self.tasks.get(name)
        pending = found.get(Status.PENDING)
        if found:
            self._gone.pop(name, None)
        if task is None or task.status in (Status.WITHDRAWN, Status.IGNORED):
            return self._take_in(name, pending, now_s) if pending else []
        if task.place in found or task.status.folder in found:  # at home, or on the way there
            if pending and Status.PENDING not in (task.place, task.status.folder):
                self._set_aside(name)
            here = task.place if task.place in found else task.status.folder
            assert here is not None
            return self._reread(task, here, found[here], now_s)
        if pending:
            return self._take_back(task, pending, now_s)
        if found:
            dst = next(iter(found))
            return [*self._reread(task, dst, found[dst], now_s), Relocate(dst)]
        if task.place is None:
            return []
        if now_s - self._gone.setdefault(name, now_s) < GONE_FOR_S:
            self.again.add(name)
            return []
        del self._gone[name]
        self.marks.pop(name, None)
        return [Relocate(None)]

    def _take_in(self, name: str, mark: Mark, now_s: float) -> list[Command]:
        """Reads a file that is new to the queue."""
        try:
            content = self._read(name, Status.PENDING, mark, now_s)
        except folders.Unfit as why:
            return [Reject((str(why),), stays=True)]
        if content is None:
            return []
        if name in self.tasks:
            content = taskfile.authored(content, self.lines_of(name))
        try:
            text = taskfile.decode(content)
            return [Submit(text, taskfile.parse(name, text, self.kinds))]
        except taskfile.Invalid as error:
            return [Reject(error.faults, text=_legible(content))]

    def _take_back(self, task: Task, mark: Mark, now_s: float) -> list[Command]:
        """Reads a known file that somebody has put into pending/: whatever it was elsewhere, here it must be a task."""
        if task.spec is None:
            return self._take_in(task.id, mark, now_s)
        self.marks.pop(task.id, None)
        edits = self._reread(task, Status.PENDING, mark, now_s)
        if task.id in self.again | self.unfinished:
            return []
        return edits if edits and isinstance(edits[-1], Reject) else [*edits, Relocate(Status.PENDING)]

    def _reread(self, task: Task, here: Status, mark: Mark, now_s: float) -> list[Command]:
        """Reads a known file that has changed since it was last read or written."""
        if self.marks.get(task.id) == mark:
            return []
        try:
            content = self._read(task.id, here, mark, now_s)
        except folders.Unfit:
            return []
        if content is None:
            return []
        self.touched.add(task.id)
        if task.spec is None:
            return []
        lines = self.lines_of(task.id)
        text = _legible(taskfile.authored(content, lines))
        if text == _legible(taskfile.authored(task.text.encode(), lines)):
            if here is task.place or here is not Status.PENDING:
                return []
            text = task.text
        try:
            taskfile.decode(content)
            return [Edit(text, taskfile.parse(task.id, text, self.kinds))]
        except taskfile.Invalid as error:
            if here is Status.PENDING:
                return [Reject(error.faults, text)]
            return [Edit(text, task.spec)]

    def _read(self, name: str, here: Status, mark: Mark, now_s: float) -> bytes | None:
        """Reads a file once it is whole, or gives None and has it looked at again.

        Raises:
            Unfit: it is no file that may be read.
        """
        if self.remote and not self._is_at_rest(name, mark, now_s):
            return None
        try:
            content, self.marks[name] = folders.read(self.workspace.file(here, name))
        except folders.NotReady:
            self.unfinished.add(name)
            return None
        except FileNotFoundError:
            return None
        return content

    def _is_at_rest(self, name: str, mark: Mark, now_s: float) -> bool:
        """Tells whether a file has been in one state for some time; where not, it is looked at again."""
        seen, since = self._since.get(name, (mark, now_s))
        if seen != mark:
            since = now_s
        if now_s - since >= SETTLED_FOR_S:
            self._since.pop(name, None)
            return True
        self._since[name] = (mark, since)
        self.again.add(name)
        return False

    def _set_aside(self, name: str) -> None:
        """Renames a second file of a taken name to NAME~N.md, under which it is refused with the reason."""
        stem = name.encode()[:240].decode(errors="ignore")
        for number in range(1, 1000):
            other = f"{stem}~{number}"
            if other not in self.tasks and not any(folders.mark_of(self.workspace.file(s, other)) for s in FOLDERS):
                folders.move(self.workspace.file(Status.PENDING, name), self.workspace.file(Status.PENDING, other))
                self.again.add(other)
                return


def _legible(content: bytes) -> str:
    """Gives bytes that somebody wrote as the text that comes closest to them."""
    return content.decode("utf-8", "replace").replace("\0", "�").replace("\r\n", "\n")
