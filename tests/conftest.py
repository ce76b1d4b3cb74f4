"""What the daemon's tests stand on: a workspace that must agree with its log at the end, and a daemon stepped by hand.

Clocks are wound by the test, waiting is bounded, children are real processes (tests/actor.py).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from daemon import audit, log, workers
from daemon.service import Daemon
from daemon.task import FOLDERS, Status, Task
from daemon.workspace import Settings, Workspace
from tests.actor import KINDS
from tests.serve import ACTOR

hypothesis_settings.register_profile(
    "ordinary", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("ordinary")

LIMIT_S = 20.0  # of any waiting; a test that needs longer has hung
ACT = "---\nhandler: act\n---\n# Act\n"


def acting(do: str = "complete", more: str = "", body: str = "# Act\n", **params: object) -> str:
    """Writes a task file for the actor: `do` and other parameters, `more` lines of front matter."""
    listed = ", ".join(f"{key}: {json.dumps(value)}" for key, value in {"do": do, **params}.items())
    return f"---\nhandler: act\nparams: {{{listed}}}\n{more}---\n{body}"


def name_of(description: str, priority: int = 1, second: int = 0) -> str:
    """Gives a task's name."""
    return f"20260105_0900{second:02d}_P{priority}_{description}"


def wait_until(condition: Callable[[], Any], what: str = "the condition", limit_s: float = LIMIT_S) -> Any:
    """Waits for a condition, with a limit, and gives what it gave."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {limit_s:g} s in vain for {what}"
        time.sleep(0.005)
    return found


def kill_all_below(root: Path) -> None:
    """Kills every process of every attempt below a folder."""
    prefix = f"{workers.MARK}={root}".encode()
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if any(part.startswith(prefix) for part in Path(entry.path, "environ").read_bytes().split(b"\0")):
                    os.kill(int(entry.name), signal.SIGKILL)
            except (PermissionError, FileNotFoundError, ProcessLookupError):
                continue


@dataclass
class Clock:
    """A wall clock and a monotonic one, which only tests move."""

    wall_s: float = 1_790_000_000.0
    monotonic_s: float = 1000.0

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.wall_s += seconds
        self.monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Sets the wall clock wrong."""
        self.wall_s += seconds


class Queue:
    """A workspace with a daemon that a test steps by hand, and the hands of a user."""

    def __init__(self, workspace: Workspace, **settings: Any) -> None:
        self.workspace = workspace
        self.settings = Settings(
            **{"scan_interval_s": 0.0, "stop_grace_s": 5.0, "backoff_s": 2.0, "workers": 2, **settings}
        )
        self.clock = Clock()
        self.said: list[str] = []
        self.ids: Iterator[str] = (f"id-{number}-{os.urandom(4).hex()}" for number in itertools.count())
        self.daemon: Daemon | None = None

    # ------------------------------------------------- the daemon

    def prepared(self, **options: Any) -> Daemon:
        """Makes a daemon that has not started."""
        self.daemon = Daemon(
            self.workspace, self.settings, ids=self.ids, kinds=KINDS, command=ACTOR, now=lambda: self.clock.wall_s,
            monotonic=lambda: self.clock.monotonic_s, say=self.said.append, **options,
        )  # fmt: skip
        return self.daemon

    def start(self, **options: Any) -> Queue:
        """Starts a daemon."""
        self.prepared(**options).start()
        return self

    def abandon(self) -> None:
        """Takes the daemon away without a word in the log, as a kill would; its runs go on."""
        if self.daemon:
            self.daemon.close()
            self.daemon = None

    def restart(self) -> None:
        """Abandons the daemon and starts another one."""
        self.abandon()
        self.start()

    def step(self, times: int = 1) -> None:
        """Steps the daemon."""
        assert self.daemon
        for _ in range(times):
            self.daemon.step()

    def until(self, condition: Callable[[], Any], what: str = "the condition", advance_s: float = 0.0) -> Any:
        """Steps until a condition holds, with a limit."""

        def stepped() -> Any:
            self.step()
            self.clock.advance(advance_s)
            return condition()

        return wait_until(stepped, what)

    def until_status(self, name: str, status: Status, advance_s: float = 0.0) -> None:
        """Steps until a task has a status and its file lies in that folder."""

        def there() -> bool:
            task = self.find(name)
            return bool(task and task.status is status and not task.live and task.place is status.folder)

        self.until(there, f"{name} to be {status}", advance_s)

    def settle(self) -> None:
        """Steps until only a person can bring the queue further: nothing runs, every file is at home with its lines."""
        assert self.daemon
        self.until(self.daemon.is_idle, "the queue to settle", advance_s=1.0)

    # ------------------------------------------------- a user's hands

    def path(self, name: str, folder: Status = Status.PENDING) -> Path:
        """Gives where a task's file would lie."""
        return self.workspace.file(folder, name)

    def drop(self, name: str, text: str | bytes = ACT, folder: Status = Status.PENDING) -> Path:
        """Writes a file aside and moves it in."""
        aside = self.workspace.root / f"{name[:50]}.aside"
        aside.write_bytes(text if isinstance(text, bytes) else text.encode())
        path = self.path(name, folder)
        os.rename(aside, path)
        return path

    def move(self, name: str, src: Status, dst: Status) -> None:
        """Moves a task's file by hand."""
        os.rename(self.path(name, src), self.path(name, dst))

    def lies_in(self, name: str) -> list[Status]:
        """Tells in which folders a file of this name lies."""
        return [status for status in FOLDERS if os.path.lexists(self.path(name, status))]

    def text(self, name: str) -> str:
        """Reads a task's file wherever it lies."""
        (place,) = self.lies_in(name)
        return self.path(name, place).read_bytes().decode("utf-8", "surrogateescape")

    # ------------------------------------------------- what the log says

    def find(self, name: str) -> Task | None:
        """Gives a task as the daemon knows it, if it does."""
        assert self.daemon
        return self.daemon.tasks.get(name)

    def task(self, name: str) -> Task:
        """Gives a task as the daemon knows it."""
        found = self.find(name)
        assert found, f"the daemon knows no {name}"
        return found

    def rows(self, name: str | None = None) -> list[log.Row]:
        """Gives the events of a task, or all."""
        connection = log.connect_readonly(self.workspace.log)
        try:
            return list(log.select_events(connection, *(("WHERE task_id = ?", [name]) if name else ())))
        finally:
            connection.close()

    def types(self, name: str) -> list[str]:
        """Gives the types of a task's events in order."""
        return [row.type for row in self.rows(name)]

    def starts(self, name: str) -> int:
        """Counts how often a handler has begun to work on a task, in all of its runs."""
        files = self.workspace.root.glob(f"data/{name}.*/starts.txt")
        return sum(len(path.read_text().splitlines()) for path in files)


def new_workspace(root: Path) -> Workspace:
    """Makes a workspace."""
    made = Workspace(root)
    made.create()
    return made


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose log must verify at the end, and agree with folders and views."""
    made = new_workspace(tmp_path)
    yield made
    try:
        if made.log.exists():
            assert audit.log_faults(made.log) == []
            assert audit.disagreements(made) == []
    finally:
        kill_all_below(tmp_path)


@pytest.fixture
def queue(workspace: Workspace) -> Iterator[Queue]:
    """A stepped daemon, started; at the end it is stepped once more and taken away."""
    made = Queue(workspace).start()
    yield made
    if made.daemon:
        made.clock.advance(1.0)
        made.step(2)
        made.abandon()
