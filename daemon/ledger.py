"""The log and what follows from it in memory: the tasks as they are, and which of them need attention.

What is decided goes through here: it is on disk before anybody acts on it, and before the tasks in memory change.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from daemon import lifecycle, narrate
from daemon.events import Submitted, TaskEvent
from daemon.lifecycle import Command
from daemon.log import EventLog, Note
from daemon.task import Status, Task


class Ledger:
    """Tasks that are never ahead of their log."""

    def __init__(self, log: EventLog, ids: Iterator[str], now: Callable[[], float], say: Callable[[str], None]) -> None:
        """Replays the log.

        Args:
            log: the open event log.
            ids: gives the events' ids.
            now: the wall clock, seconds since the epoch.
            say: takes a line for the terminal.
        """
        self._log, self._ids, self.now, self._print = log, ids, now, say
        self.tasks: dict[str, Task] = log.replay()
        self.live: set[str] = set()  # tasks with an attempt whose end is not logged
        self.unsettled: set[str] = set()  # tasks whose file is not where the log says it belongs
        self.stale: set[str] = set()  # tasks whose file may lack a status line
        self.in_review: set[str] = set()  # tasks with a request that may have to be placed, answered or closed
        self.changed = True  # something has happened to some task since this was last set to False
        for task in self.tasks.values():
            self._index(task)
            if task.reviews:
                self.in_review.add(task.id)
            if task.status is not Status.COMPLETED:
                self.stale.add(task.id)  # a crash may have come between the log and the file

    def commit(self, commands: Iterable[tuple[str, Command]], actor: str = "daemon") -> None:
        """Decides commands, by task name, and logs what follows, all in one transaction."""
        events: list[TaskEvent] = []
        ahead: dict[str, Task | None] = {}
        for task_id, command in commands:
            task = ahead.get(task_id, self.tasks.get(task_id))
            decided = lifecycle.decide(task, task_id, command)
            for event in decided:
                task = lifecycle.evolve(task, event, 0)
            ahead[task_id] = task
            events += decided
        self.record(events, actor)

    def record(self, events: Sequence[TaskEvent], actor: str = "daemon") -> None:
        """Logs events, and lets the tasks follow."""
        if not events:
            return
        rows = self._log.append(events, self.at(), self._ids, actor)
        for event, row in zip(events, rows, strict=True):
            task = lifecycle.evolve(self.tasks.get(event.task_id), event, row.seq)
            self.tasks[task.id] = task
            self._index(task)
            text = narrate.sentence(event)
            if text or isinstance(event, Submitted):  # a name that comes back brings the lines of its past
                self.stale.add(task.id)
            if text:
                self.say(f"{row.at[11:19]}  {task.id}  {text}")

    def note(self, type_: str, **data: Any) -> None:
        """Logs something that happened to the daemon or the queue."""
        self._log.append([Note(type_, data)], self.at(), self._ids)

    def say(self, text: str) -> None:
        """Prints a line; a terminal that is gone, or a full disk behind it, is no reason to stop."""
        with contextlib.suppress(OSError):
            self._print(text)

    def lines_and_met(self, task_id: str) -> tuple[list[str], tuple[str, ...]]:
        """Gives a task's status lines, and the success criteria that its last run met."""
        return narrate.status_lines(self._log.told_of_task(task_id))

    def lines_of(self, task_id: str) -> list[str]:
        """Gives a task's status lines."""
        return self.lines_and_met(task_id)[0]

    def at(self) -> str:
        """Gives the time as the log writes it."""
        return timestamp(self.now())

    def _index(self, task: Task) -> None:
        """Keeps the sets of tasks that need attention."""
        self.changed = True
        self.live.discard(task.id)
        self.unsettled.discard(task.id)
        if task.live:
            self.live.add(task.id)
        if task.asked:
            self.in_review.add(task.id)
        tidied_away = task.place is None and task.status is Status.COMPLETED
        if task.status.folder not in (None, task.place) and not tidied_away:
            self.unsettled.add(task.id)


def timestamp(now: float) -> str:
    """Writes seconds since the epoch as the log does: UTC, ISO 8601, with milliseconds."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
