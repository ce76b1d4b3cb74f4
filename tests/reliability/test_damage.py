"""A log that a disk has damaged: the damage is named, what still proves itself is taken up, nothing is written over."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import audit, events, log
from daemon.cli import main
from daemon.log import EventLog
from daemon.salvage import keep_copy
from daemon.task import Spec
from daemon.workspace import Workspace
from tests.conftest import Queue, acting, name_of
from tests.reliability import sweep

A, B = name_of("a"), name_of("b")
PAGE_BYTES = 4096


@pytest.fixture
def lived(workspace: Workspace) -> Workspace:
    """A workspace with two finished tasks and some hundred events, whose daemon has gone."""
    queue = Queue(workspace).start()
    queue.drop(A, acting("complete"))
    queue.drop(B, acting("block"))
    queue.settle()
    assert queue.daemon
    keep_copy(workspace.log, workspace.log_copy)
    queue.abandon()
    return workspace


def _contents(where: Workspace) -> dict[str, bytes]:
    return {str(path.relative_to(where.root)): path.read_bytes() for path in where.tasks.rglob("*.md")}


def _page_of(path: Path, seq: int) -> int:
    """Finds where the page with an event begins."""
    event_id = log.connect_readonly(path).execute("SELECT event_id FROM events WHERE seq = ?", [seq]).fetchone()[0]
    content = path.read_bytes()
    found = [i // PAGE_BYTES for i in range(len(content)) if content.startswith(event_id.encode(), i)]
    table = [page for page in found if content[page * PAGE_BYTES] == 13]  # a leaf of a table, not of an index
    return table[0] * PAGE_BYTES


def _spoil(path: Path, offset: int, content: bytes) -> None:
    with open(path, "r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def test_a_damaged_page_is_named_and_mended_from_the_copy(lived: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """With a page of the log overwritten, `verify` says so and `rebuild` takes its events from the copy: none is lost."""
    before, files = len(_rows(lived)), _contents(lived)
    _spoil(lived.log, _page_of(lived.log, 3), os.urandom(PAGE_BYTES))
    assert audit.log_faults(lived.log)
    assert main(["-w", str(lived.root), "verify"]) == 1
    assert main(["-w", str(lived.root), "rebuild"]) == 0
    assert f"{before} events prove themselves" in capsys.readouterr().out
    assert audit.log_faults(lived.log) == []
    assert audit.disagreements(lived) == []
    assert _contents(lived) == files
    assert len(list(lived.state.glob("events.damaged-*.db"))) == 1


def test_a_changed_letter_is_mended_from_the_copy(lived: Workspace) -> None:
    """One changed letter in one event is noticed by its hash, and the event is taken from the copy."""
    before = len(_rows(lived))
    content = lived.log.read_bytes()
    offset = content.index(b"the data is missing")
    _spoil(lived.log, offset, b"T")
    assert any("does not match its hash" in fault for fault in audit.log_faults(lived.log))
    assert main(["-w", str(lived.root), "rebuild"]) == 0
    assert len(_rows(lived)) >= before
    assert audit.log_faults(lived.log) == []


def test_without_a_copy_the_longest_provable_part_is_kept(lived: Workspace) -> None:
    """Where no copy has the damaged events, the log ends before them, the damaged file stays, and no task file is lost."""
    lived.log_copy.unlink()
    total, files = len(_rows(lived)), _contents(lived)
    page = _page_of(lived.log, total - 1)
    _spoil(lived.log, page, b"\0" * PAGE_BYTES)
    assert main(["-w", str(lived.root), "rebuild"]) == 0
    rows = _rows(lived)
    assert 0 < len(rows) < total
    assert "log.recovered" in [row.type for row in rows]
    assert audit.log_faults(lived.log) == []
    assert audit.disagreements(lived) == []
    assert {path.rpartition("/")[2] for path in _contents(lived)} >= {path.rpartition("/")[2] for path in files}
    queue = Queue(lived).start()
    queue.settle()
    starts = {name: queue.starts(name) for name in (A, B)}
    queue.abandon()
    assert starts == {A: 1, B: 1}


def test_a_lost_log_comes_back_from_its_copy(lived: Workspace) -> None:
    """A log that was deleted is written anew from the copy."""
    before = len(_rows(lived))
    for path in lived.state.glob("events.db*"):
        path.unlink()
    assert main(["-w", str(lived.root), "rebuild"]) == 0
    assert len(_rows(lived)) > before
    assert audit.log_faults(lived.log) == []


def test_a_daemon_on_a_damaged_log_stops_with_a_clear_word(lived: Workspace) -> None:
    """A daemon that meets a damaged page ends with a message that names the file, and writes nothing over it."""
    _spoil(lived.log, PAGE_BYTES, os.urandom(lived.log.stat().st_size - PAGE_BYTES))
    spoiled = lived.log.read_bytes()
    status, said = sweep.run(sweep.serve(lived), lived.root)
    assert status == 1
    assert "state/events.db: database disk image is malformed" in said
    assert "Traceback" not in said
    assert lived.log.read_bytes() == spoiled
    assert main(["-w", str(lived.root), "rebuild"]) == 0


def test_a_copy_of_another_history_is_set_aside(tmp_path: Path) -> None:
    """A copy that does not continue into the log is renamed, never written over."""
    ids = _ids()
    for name, text in (("one", "1"), ("two", "2")):
        event_log = EventLog(tmp_path / f"{name}.db", "here")
        event_log.append([events.Submitted(A, text, Spec())], "2026-01-05T09:00:00.000Z", ids)
        keep_copy(tmp_path / f"{name}.db", tmp_path / "copy.db")
        event_log.close()
    kept = [path for path in tmp_path.glob("copy.*") if "old" in path.name]
    assert len(kept) == 1
    assert sqlite3.connect(kept[0]).execute("SELECT data ->> '$.text' FROM events").fetchall() == [("1",)]
    assert sqlite3.connect(tmp_path / "copy.db").execute("SELECT data ->> '$.text' FROM events").fetchall() == [("2",)]


def _rows(where: Workspace) -> list[log.Row]:
    connection = log.connect_readonly(where.log)
    try:
        return list(log.select_events(connection))
    finally:
        connection.close()


def _ids() -> Iterator[str]:
    return (os.urandom(8).hex() for _ in itertools.count())


def test_an_archived_log_verifies_and_the_new_one_begins_anew(lived: Workspace) -> None:
    """State and tasks that were moved away together prove themselves there; `init` makes the next queue where they were."""
    archive = lived.root / "archive" / "first"
    archive.mkdir(parents=True)
    lived.state.rename(archive / "state")
    lived.tasks.rename(archive / "tasks")
    assert main(["init", str(lived.root)]) == 0
    assert main(["-w", str(lived.root), "once"]) == 0
    assert main(["-w", str(archive), "verify"]) == 0
    assert main(["-w", str(archive), "rebuild", "--check"]) == 0


def test_a_workspace_may_have_any_name(tmp_path: Path) -> None:
    """A folder's name with the signs of an address in it leads to its own log."""
    event_log = EventLog(tmp_path / "a?b#c %41" / "events.db", "here")
    event_log.append([events.Submitted(A, "text", Spec())], "2026-01-05T09:00:00.000Z", _ids())
    event_log.close()
    assert audit.log_faults(tmp_path / "a?b#c %41" / "events.db") == []
