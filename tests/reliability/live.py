"""A daemon in a process of its own, for tests that stop it, starve it, or take its folders away."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from daemon import log
from daemon.task import Status
from daemon.workspace import Workspace
from tests.conftest import acting, kill_all_below, wait_until

SERVE = Path(__file__).resolve().parent.parent / "serve.py"
LIMIT_S = 60.0


class Live:
    """`cai up` on a workspace, for the time of a `with`."""

    def __init__(self, where: Workspace, *options: str, before: Sequence[str] = (), **environment: str) -> None:
        self.where = where
        self.said = where.root / "terminal.txt"
        argv = [*before, sys.executable, str(SERVE), "-w", str(where.root), "up", *options]
        with open(self.said, "ab") as out:
            self.process = subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, **environment}, cwd="/")

    def __enter__(self) -> Live:
        wait_until(
            lambda: f"(pid {self.process.pid})" in self.terminal() or self.process.poll() is not None,
            "a start",
            LIMIT_S,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        kill_all_below(self.where.root)

    def terminal(self) -> str:
        """Gives what the daemon has printed."""
        return self.said.read_text()

    def until(self, name: str, status: Status) -> None:
        """Waits until a task has a status, and its file lies there."""
        wait_until(
            lambda: status_of(self.where, name) == status and self.where.file(status, name).exists(),
            f"{name} to be {status}; the daemon said: {self.terminal()[-800:]}",
            LIMIT_S,
        )


def query(where: Workspace, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Asks the log."""
    if not where.log.exists():
        return []
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(log.connect_readonly(where.log)) as connection,
    ):
        return connection.execute(sql, values).fetchall()
    return []


def status_of(where: Workspace, name: str) -> str | None:
    """Gives a task's status, as the log's view tells it."""
    found = query(where, "SELECT status FROM tasks WHERE task_id = ?", name)
    return found[0][0] if found else None


def count(where: Workspace, type_: str) -> int:
    """Counts the events of a type."""
    return int(query(where, "SELECT count(*) FROM events WHERE type = ?", type_)[0][0])


def drop(where: Workspace, name: str, text: str | None = None) -> None:
    """Drops a task file whole."""
    aside = where.folder(Status.PENDING) / f".{name}"
    aside.write_text(text or acting())
    aside.rename(where.file(Status.PENDING, name))


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """Mounts a small file system of its own, or skips the test where this user may not."""
    folder.mkdir(exist_ok=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"mounting a tmpfs needs root: {mount.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
