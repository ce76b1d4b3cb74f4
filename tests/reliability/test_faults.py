"""What goes wrong around a daemon: rivals, stopped processes, full and vanishing disks, locked logs, jumping clocks."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.events import Reported
from daemon.log import EventLog
from daemon.task import FOLDERS, Status
from daemon.workspace import Workspace
from tests.conftest import Queue, acting, name_of, new_workspace, wait_until
from tests.reliability.live import Live, count, drop, query, status_of, tmpfs

pytestmark = pytest.mark.timeout(180)
FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
A, B, C = (name_of(letter) for letter in "abc")


@contextlib.contextmanager
def _small_disk(tmp_path: Path, size: str = "16m") -> Iterator[Workspace]:
    with tmpfs(tmp_path / "disk", size) as disk:
        yield new_workspace(disk)


def test_of_eight_daemons_one_wins(workspace: Workspace) -> None:
    """Of daemons that start at the same moment one gets the workspace; the others exit 75 and name it."""
    racers = [Live(workspace) for _ in range(8)]
    try:
        wait_until(lambda: sum(r.process.poll() is not None for r in racers) == 7, "seven to give up", 60.0)
        (winner,) = [r for r in racers if r.process.poll() is None]
        assert [r.process.poll() for r in racers if r is not winner] == [75] * 7
        assert racers[0].terminal().count(f"another daemon has this workspace: pid {winner.process.pid} on") == 7
        wait_until(lambda: count(workspace, "daemon.started") == 1, "the start", 60.0)
    finally:
        for racer in racers:
            racer.__exit__(None, None, None)
    assert count(workspace, "daemon.started") == 1


def test_a_stopped_daemon_is_killed_by_the_one_that_takes_over(workspace: Workspace) -> None:
    """Stopped inside a transaction, it would keep the log locked for ever; what it was doing goes on under the new one."""
    with Live(workspace) as first:
        drop(workspace, A, acting(seconds=1.5))
        first.until(A, Status.IN_PROGRESS)
        wait_until(lambda: count(workspace, "run.spawned") == 1, "the run", 60.0)
        with _stopped(first, inside_a_transaction=True):
            refused = Live(workspace)
            assert wait_until(refused.process.poll, "the refusal", 60.0) == 75
            assert f"pid {first.process.pid} on" in refused.terminal()
            assert first.process.poll() is None
            with Live(workspace, "--take-over") as second:
                assert wait_until(first.process.poll, "the first to end", 60.0) == -signal.SIGKILL
                drop(workspace, B)
                second.until(A, Status.COMPLETED)
                second.until(B, Status.COMPLETED)
    assert count(workspace, "task.claimed") == 2
    replaced = query(workspace, "SELECT data ->> '$.replaced' FROM events WHERE type = 'daemon.started'")
    assert replaced == [(None,), (first.process.pid,)]


def test_a_stopped_daemon_of_another_machine_is_shut_out(workspace: Workspace) -> None:
    """Where the holder cannot be killed, it writes nothing more when it wakes: its first look tells it, and it exits 75."""
    with Live(workspace) as first:
        drop(workspace, A)
        first.until(A, Status.COMPLETED)
        with _stopped(first):
            _tell_another_pid(workspace)
            with Live(workspace, "--take-over") as second:
                drop(workspace, B)
                second.until(B, Status.COMPLETED)
                first.process.send_signal(signal.SIGCONT)
                drop(workspace, C)
                second.until(C, Status.COMPLETED)
                assert wait_until(first.process.poll, "the first to leave", 60.0) == 75
            assert "a newer daemon has taken this workspace over" in first.terminal()
    epochs = [epoch for (epoch,) in query(workspace, "SELECT epoch FROM events ORDER BY seq")]
    assert epochs == sorted(epochs)
    assert count(workspace, "task.claimed") == 3


@contextlib.contextmanager
def _stopped(live: Live, inside_a_transaction: bool = False) -> Iterator[None]:
    """Stops a daemon at a moment when it has, or has not, the log's write lock."""
    deadline_s = time.monotonic() + 60.0
    while True:
        live.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, live.process.pid, os.WSTOPPED | os.WNOWAIT)
        if _is_locked(live.where) == inside_a_transaction:
            break
        live.process.send_signal(signal.SIGCONT)
        assert time.monotonic() < deadline_s, "no such moment in a minute"
        if inside_a_transaction:
            live.where.pause.unlink() if live.where.pause.exists() else live.where.pause.touch()
        time.sleep(random.uniform(0.0, 0.01))
    live.where.pause.unlink(missing_ok=True)
    try:
        yield
    finally:
        live.process.send_signal(signal.SIGCONT)


def _is_locked(where: Workspace) -> bool:
    with contextlib.closing(sqlite3.connect(where.log, timeout=0.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


def _tell_another_pid(where: Workspace) -> None:
    """Makes the lock's holder one that this machine does not have: the pid is a stranger's here."""
    with open(where.lock, "r+b") as stream:
        said = json.loads(stream.read())
        stream.seek(0)
        stream.write(json.dumps(said | {"pid": 1, "host": "elsewhere"}).encode().ljust(1024))


def test_a_stopped_daemon_goes_on_when_it_is_woken(workspace: Workspace) -> None:
    """Files that are dropped, and runs that end, while the daemon is stopped are taken up when it goes on."""
    with Live(workspace) as live:
        drop(workspace, A, acting(seconds=0.3))
        wait_until(lambda: count(workspace, "run.spawned") == 1, "the run", 60.0)
        live.process.send_signal(signal.SIGSTOP)
        drop(workspace, B)
        exit_file = workspace.attempt_dir(f"{A}.1", 1) / "exit.json"
        wait_until(exit_file.exists, "the run's end", 60.0)
        live.process.send_signal(signal.SIGCONT)
        live.until(A, Status.COMPLETED)
        live.until(B, Status.COMPLETED)
    assert count(workspace, "task.claimed") == 2


def test_a_full_disk_stops_the_queue_and_room_lets_it_go_on(tmp_path: Path) -> None:
    """On a full disk nothing new is started and the daemon says so; when there is room again, everything is done once."""
    with _small_disk(tmp_path) as workspace, Live(workspace) as live:
        drop(workspace, A, acting(seconds=1.0))
        wait_until(lambda: count(workspace, "run.spawned") == 1, "the run", 60.0)
        ballast = workspace.root / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb") as stream:
            while True:
                stream.write(b"x" * 65536)
                stream.flush()
        with contextlib.suppress(OSError):
            drop(workspace, B)
        wait_until(
            lambda: "Degraded: " in live.terminal() or status_of(workspace, B) == Status.COMPLETED, "word of it", 60.0
        )
        ballast.unlink()
        if not workspace.file(Status.PENDING, B).exists() and status_of(workspace, B) is None:
            drop(workspace, B)
        live.until(B, Status.COMPLETED)
        wait_until(lambda: status_of(workspace, A) != Status.IN_PROGRESS, "the end of the first", 60.0)
        assert query(workspace, "SELECT count(*) FROM events WHERE type = 'task.completed' AND task_id = ?", B) == [
            (1,)
        ]


def test_task_folders_that_turn_read_only_are_waited_for(tmp_path: Path) -> None:
    """Where the task folders cannot be written to, the daemon says so and goes on when they can."""
    workspace = new_workspace(tmp_path)
    with tmpfs(workspace.tasks, "8m") as tasks:
        for status in FOLDERS:
            workspace.folder(status).mkdir()
        with Live(workspace) as live:
            drop(workspace, A)
            live.until(A, Status.COMPLETED)
            drop(workspace, B, acting("wait"))
            live.until(B, Status.IN_PROGRESS)
            workspace.file(Status.IN_PROGRESS, B).rename(workspace.file(Status.BLOCKED, B))
            drop(workspace, C)
            subprocess.run(["mount", "-o", "remount,ro", tasks], check=True)
            wait_until(
                lambda: "Read-only file system" in live.terminal() or status_of(workspace, C) == "completed",
                "word",
                60.0,
            )
            subprocess.run(["mount", "-o", "remount,rw", tasks], check=True)
            live.until(C, Status.COMPLETED)
            live.until(B, Status.BLOCKED)
    assert count(workspace, "task.claimed") == 3


def test_task_folders_that_vanish_withdraw_nothing(workspace: Workspace) -> None:
    """Folders that are gone, like an unmounted disk, cancel and withdraw nothing; the queue goes on when they are back."""
    with Live(workspace) as live:
        drop(workspace, A, acting("wait"))
        live.until(A, Status.IN_PROGRESS)
        drop(workspace, B)
        wait_until(lambda: status_of(workspace, B) == "pending", "B", 60.0)
        away = workspace.root / "away"
        workspace.tasks.rename(away)
        wait_until(lambda: "Degraded: " in live.terminal(), "word of it", 60.0)
        time.sleep(1.5)  # longer than a file may be gone before it counts as deleted
        away.rename(workspace.tasks)
        wait_until(lambda: "Recovered: " in live.terminal(), "its recovery", 60.0)
        workspace.file(Status.IN_PROGRESS, A).rename(workspace.file(Status.BLOCKED, A))
        live.until(B, Status.COMPLETED)
    assert [count(workspace, f"task.{what}") for what in ("withdrawn", "cancelled", "claimed")] == [0, 1, 2]


@pytest.mark.parametrize("folder", ["pending", "in_progress", "blocked"])
def test_a_folder_that_vanishes_withdraws_nothing(workspace: Workspace, folder: str) -> None:
    """One of the four folders may be moved away and back: no task of it is withdrawn or restored in the meantime."""
    place = Status(folder)
    with Live(workspace) as live:
        workspace.pause.touch() if place is Status.PENDING else None
        drop(workspace, A, acting({"blocked": "block", "in_progress": "wait"}.get(folder, "complete")))
        live.until(A, place)
        workspace.folder(place).rename(workspace.root / "away")
        wait_until(lambda: "Degraded: " in live.terminal(), "word of it", 60.0)
        time.sleep(1.5)
        (workspace.root / "away").rename(workspace.folder(place))
        wait_until(lambda: "Recovered: " in live.terminal(), "its recovery", 60.0)
        assert status_of(workspace, A) == folder
    assert count(workspace, "task.withdrawn") == 0
    assert count(workspace, "file.moved") == {"pending": 0, "in_progress": 1, "blocked": 2}[folder] + (
        folder == "in_progress"
    )


def test_a_file_whose_folder_is_gone_has_not_been_deleted(queue: Queue) -> None:
    """However often a look finds no file, it reports none as deleted while a folder is missing."""
    assert queue.daemon
    queue.drop(A, acting("block"))
    queue.until_status(A, Status.BLOCKED)
    queue.settle()
    queue.workspace.folder(Status.BLOCKED).rename(queue.workspace.root / "away")
    for now_s in (10.0, 20.0, 30.0):
        with pytest.raises(FileNotFoundError):
            queue.daemon._intake.these({A}, now_s)
    (queue.workspace.root / "away").rename(queue.workspace.folder(Status.BLOCKED))


def test_a_log_that_somebody_else_has_locked_is_waited_for(workspace: Workspace) -> None:
    """Another program's write lock on the log delays the queue and loses nothing."""
    with Live(workspace) as live:
        rude = sqlite3.connect(workspace.log, isolation_level=None)
        rude.execute("BEGIN IMMEDIATE")
        drop(workspace, A)
        time.sleep(1.0)
        assert status_of(workspace, A) is None
        rude.execute("ROLLBACK")
        rude.close()
        live.until(A, Status.COMPLETED)
    assert "Degraded" not in live.terminal()


def test_a_long_reader_holds_nobody_up_and_what_it_costs_is_given_back(tmp_path: Path) -> None:
    """A reader that stays lets the write-ahead log grow; when it has left, that file shrinks again."""
    events = [Reported(A, f"{A}.1", 1, "measured", n, {"name": "loss", "value": 1.0}) for n in range(2000)]
    event_log = EventLog(tmp_path / "events.db", "here")
    ids = (os.urandom(8).hex() for _ in iter(int, 1))
    event_log.append(events[:1], "2026-01-05T09:00:00.000Z", ids)
    reader = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    for _ in range(15):
        event_log.append(events, "2026-01-05T09:00:00.000Z", ids)
    wal = tmp_path / "events.db-wal"
    grown = wal.stat().st_size
    reader.close()
    for _ in range(3):
        event_log.append(events, "2026-01-05T09:00:00.000Z", ids)
    shrunk = wal.stat().st_size
    event_log.close()
    assert grown > 16 << 20
    assert shrunk <= 8 << 20


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is missing: `apt-get install faketime`")
def test_a_clock_that_jumps_changes_no_order(workspace: Workspace) -> None:
    """Daemons whose clocks are an hour ahead, then an hour behind, do all tasks once; the log's order is that of seq."""
    for name, offset in ((A, "+1h"), (B, "-1h"), (C, "+0h")):
        with Live(workspace, LD_PRELOAD=FAKETIME[0], FAKETIME=offset, DONT_FAKE_MONOTONIC="1") as live:
            drop(workspace, name, acting("crash") if name == A else acting())
            live.until(name, Status.BLOCKED if name == A else Status.COMPLETED)
    times = [at for (at,) in query(workspace, "SELECT at FROM events ORDER BY seq")]
    assert times != sorted(times)
    assert count(workspace, "task.completed") == 2
