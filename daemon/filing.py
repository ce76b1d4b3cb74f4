"""Files follow the log: each lies in the folder of its task's status, with every status line that the log gives.

A move is owed from the moment that the log says where a file belongs, and confirmed by an event once it is on disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from daemon import folders, schedule, taskfile
from daemon.events import Moved
from daemon.intake import Intake
from daemon.ledger import Ledger
from daemon.task import Status, Task
from daemon.workspace import Workspace

WRITE_EVERY_S = 0.5  # status lines of a run in progress


class Filing:
    """Moves and writes task files on the daemon's behalf."""

    def __init__(self, workspace: Workspace, ledger: Ledger, intake: Intake, monotonic: Callable[[], float]) -> None:
        """Prepares.

        Args:
            intake: is told which state of a file is the daemon's own writing.
            monotonic: seconds, for how often lines are written.
        """
        self._workspace, self._ledger, self._intake, self._monotonic = workspace, ledger, intake, monotonic
        self.obstacles: dict[str, str] = {}  # what keeps a file from its folder, by task
        self._waiting: dict[str, str] = {}
        self._written: dict[str, float] = {}

    def settle(self) -> None:
        """Moves every file that the log says belongs elsewhere."""
        for task_id in sorted(self._ledger.unsettled):
            self._settle(self._ledger.tasks[task_id])

    def _settle(self, task: Task) -> None:
        """Moves a task's file to the folder of its status, with its status lines, and logs that it is there."""
        dst = task.status.folder
        assert dst is not None
        target = self._workspace.file(dst, task.id)
        try:
            if task.place is None:
                content = taskfile.render(task.text.encode(), *self._ledger.lines_and_met(task.id))
                with contextlib.suppress(FileExistsError):
                    folders.create(target, content)
            else:
                source = self._workspace.file(task.place, task.id)
                self._write_lines(task, source)
                folders.move(source, target)
        except FileNotFoundError:
            if not target.exists():
                self._intake.again.add(task.id)  # it has been moved or deleted: the next look says which
                return
            folders.sync_folder(target.parent)  # moved before a crash
        except FileExistsError:
            obstacle = f"{target} is in the way of {task.id}; move it elsewhere"
            if self.obstacles.get(task.id) != obstacle:
                self._ledger.say(obstacle)
                self.obstacles[task.id] = obstacle
            return
        self.obstacles.pop(task.id, None)
        self._ledger.record([Moved(task.id, task.place, dst)])

    def write_status(self) -> None:
        """Brings status lines up to the log, and says what waits for what."""
        if self._ledger.changed:
            self._ledger.changed = False
            for task in self._ledger.tasks.values():
                if task.spec and (task.spec.depends_on or task.spec.review) and task.status is Status.PENDING:
                    waiting = schedule.waits_for(task, self._ledger.tasks)
                    if waiting != self._waiting.get(task.id, ""):
                        self._waiting[task.id] = waiting
                        self._ledger.stale.add(task.id)
        for task_id in sorted(self._ledger.stale):
            task = self._ledger.tasks[task_id]
            busy = task.live and self._monotonic() - self._written.get(task_id, -1e9) < WRITE_EVERY_S
            if task.place is None or task.status is Status.IGNORED:
                self._ledger.stale.discard(task_id)
            elif not busy and self._write_lines(task, self._workspace.file(task.place, task_id)):
                self._ledger.stale.discard(task_id)
                self._written[task_id] = self._monotonic()

    def _write_lines(self, task: Task, path: Path) -> bool:
        """Brings the status lines of a file up to the log. Tells whether it could: an editor may hold the file."""
        lines, met = self._ledger.lines_and_met(task.id)
        waiting = self._waiting.get(task.id, "") if task.status is Status.PENDING else ""
        try:
            content, mark = folders.read(path)
            known = self._intake.marks.get(task.id) == mark
            rendered = taskfile.render(content, lines, met, waiting)
            if rendered == content:
                return True
            written = folders.rewrite(path, content, rendered)
        except (folders.NotReady, FileNotFoundError):
            return False
        except folders.Unfit:  # what took the file's place is not the queue's to write to
            return True
        if written and known:
            self._intake.marks[task.id] = written
        return written is not None

    def drop(self, name: str, text: str) -> None:
        """Writes a proposed task into pending/, once."""
        name = name.removesuffix(".md")
        if name in self._ledger.tasks or taskfile.name_faults(name):
            return
        with contextlib.suppress(FileExistsError):
            folders.create(self._workspace.file(Status.PENDING, name), text.encode())
        self._intake.again.add(name)
