"""Whether the log proves itself, and whether what was lost of its projections can be made anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import audit, log
from daemon.cli import main
from daemon.task import Status
from daemon.workspace import Workspace
from tests.conftest import Queue, acting, kill_all_below, name_of, new_workspace

PENDING, COMPLETED, BLOCKED = Status.PENDING, Status.COMPLETED, Status.BLOCKED
X, Y = name_of("x"), name_of("y")


@pytest.fixture
def used(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace at rest, with a completed task and a blocked one; what a test breaks in it is its own affair."""
    queue = Queue(new_workspace(tmp_path)).start()
    queue.drop(X, acting() + "Mine.\n")
    queue.drop(Y, acting("block"))
    queue.until_status(X, COMPLETED)
    queue.until_status(Y, BLOCKED)
    queue.settle()
    queue.abandon()
    assert audit.log_faults(queue.workspace.log) == []
    assert audit.disagreements(queue.workspace) == []
    yield queue.workspace
    kill_all_below(tmp_path)


def change(workspace: Workspace, *statements: str) -> None:
    """Changes the database behind the daemon's back, as far as it lets itself be changed."""
    connection = sqlite3.connect(workspace.log, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


NO_TRIGGERS = [
    "DROP TRIGGER events_are_never_updated",
    "DROP TRIGGER events_are_never_deleted",
]


def test_a_changed_event_is_found(used: Workspace) -> None:
    """One character of one event, changed by somebody who took the triggers away and put them back."""
    connection = sqlite3.connect(used.log, isolation_level=None)
    (trigger,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'events_are_never_updated'").fetchone()
    connection.execute("DROP TRIGGER events_are_never_updated")
    connection.execute("UPDATE events SET data = replace(data, 'Mine', 'mine') WHERE type = 'task.submitted'")
    connection.execute(trigger)
    connection.close()
    (fault,) = [f for f in audit.log_faults(used.log) if "changed after it was written" in f]
    assert fault.startswith("event ")


def test_a_removed_event_is_found(used: Workspace) -> None:
    """A hole in the numbers, and a chain that does not go on."""
    change(used, *NO_TRIGGERS, "DELETE FROM events WHERE seq = 3")
    found = "\n".join(audit.log_faults(used.log))
    assert "events between them are missing" in found
    assert "does not continue the chain" in found
    assert "trigger events_are_never_deleted is missing" in found


def test_a_rewritten_end_is_found(used: Workspace) -> None:
    """Who replaces an event and its hash breaks the chain at the next one."""
    rows = list(log.select_events(log.connect_readonly(used.log)))
    change(used, *NO_TRIGGERS, f"UPDATE events SET hash = '{'0' * 64}' WHERE seq = {rows[-2].seq}")
    assert any("does not continue the chain" in fault for fault in audit.log_faults(used.log))


def test_a_flipped_byte_on_the_disk_is_found(used: Workspace) -> None:
    """Wherever it is in the file, `cai verify` ends with faults and no traceback."""
    change(used, "PRAGMA wal_checkpoint(TRUNCATE)")
    whole = used.log.read_bytes()
    for place in range(100, len(whole), len(whole) // 25):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        if damaged == whole:
            continue
        used.log.write_bytes(damaged)
        try:
            found = audit.log_faults(used.log)
        finally:
            used.log.write_bytes(whole)
        assert isinstance(found, list)
    at = whole.index(b"Mine.")
    used.log.write_bytes(whole[:at] + b"mine." + whole[at + 5 :])
    assert audit.log_faults(used.log) != []


def test_a_file_that_is_no_database_is_said_to_be_none(used: Workspace) -> None:
    """A log that was overwritten is a fault with advice."""
    used.log.write_bytes(b"hello" * 1000)
    (fault,) = audit.log_faults(used.log)
    assert "run `cai rebuild`" in fault


@pytest.mark.parametrize("place", ["deleted", "elsewhere"])
def test_rebuild_brings_files_home(used: Workspace, place: str) -> None:
    """A file that is gone is written anew with its text and lines; one that strayed is moved back."""
    if place == "deleted":
        used.file(BLOCKED, Y).unlink()
    else:
        used.file(BLOCKED, Y).rename(used.file(PENDING, Y))
    (found,) = audit.disagreements(used)
    assert found.startswith(f"{Y}: is blocked, but its file lies in ")
    assert main(["-w", str(used.root), "rebuild"]) == 0
    assert audit.disagreements(used) == []
    assert audit.log_faults(used.log) == []
    assert "bring the data" in used.file(BLOCKED, Y).read_text()


def test_rebuild_brings_views_back(used: Workspace) -> None:
    """Views hold nothing of their own."""
    change(used, "DROP VIEW tasks", "DROP VIEW costs")
    assert main(["-w", str(used.root), "rebuild"]) == 0
    assert audit.disagreements(used) == []


def test_a_missing_line_is_named(used: Workspace) -> None:
    """A status line that somebody took out while no daemon ran is found, and written again by the next one."""
    path = used.file(BLOCKED, Y)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "bring the data" not in line) + "\n")
    (found,) = audit.disagreements(used)
    assert "lacks the status line" in found
    queue = Queue(used).start()
    queue.settle()
    queue.abandon()
    assert audit.disagreements(used) == []


def test_a_file_that_the_log_does_not_know_is_named(used: Workspace) -> None:
    """A stranger in completed/ is said to be one; in pending/ it is a task to come."""
    used.file(COMPLETED, name_of("stranger")).write_text("x")
    used.file(PENDING, name_of("new")).write_text("x")
    (found,) = audit.disagreements(used)
    assert found == f"{name_of('stranger')}: lies in completed/, but the log knows no such task"
