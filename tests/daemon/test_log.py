"""The event log: append-only, chained, fenced, and the same for ever."""

from __future__ import annotations

import itertools
import sqlite3
import typing
import uuid
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import log, task
from daemon.events import Submitted, TaskEvent
from daemon.log import EventLog, Fenced, Note
from daemon.task import Status
from tests.daemon.test_lifecycle import ACTING, ID, Command, commands, histories

AT = "2026-01-05T09:00:00.000Z"
OLD_LOG = Path(__file__).parent.parent / "data" / "log_v1.sql"


def new_ids() -> Iterator[str]:
    """Gives ids."""
    return (uuid.uuid4().hex for _ in itertools.count())


@pytest.fixture
def event_log(tmp_path: Path) -> Iterator[EventLog]:
    """A log with two events, written by the first daemon."""
    made = EventLog(tmp_path / "events.db", "here")
    made.take_over()
    made.append([Note("daemon.started", {"pid": 1}), Submitted(ID, "text", ACTING)], AT, new_ids())
    yield made
    made.close()


def raw(tmp_path: Path) -> sqlite3.Connection:
    """Opens the log as anybody with a SQLite shell could."""
    return sqlite3.connect(tmp_path / "events.db", isolation_level=None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = '{}'",
        "UPDATE events SET seq = 9 WHERE seq = 1",
        "DELETE FROM events",
        "DELETE FROM events WHERE seq = 2",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 1",
        "REPLACE INTO events SELECT * FROM events WHERE seq = 2",
        "INSERT INTO events SELECT 7, 'other', at, epoch, host, actor, task_id, run_id, attempt, type, v, data, "
        "prev_hash, hash FROM events WHERE seq = 2",
        "INSERT INTO events SELECT NULL, 'other', at, epoch, host, actor, task_id, run_id, attempt, type, v, data, "
        "prev_hash, hash FROM events WHERE seq = 2",
        "INSERT INTO events SELECT 3, 'other', at, 0, host, actor, task_id, run_id, attempt, type, v, data, "
        "prev_hash, hash FROM events WHERE seq = 2",
        "INSERT OR REPLACE INTO events SELECT 3, event_id, at, epoch, host, actor, task_id, run_id, attempt, type, v, "
        "data, prev_hash, hash FROM events WHERE seq = 2",
    ],
)
def test_nothing_but_an_append_is_possible(event_log: EventLog, tmp_path: Path, statement: str) -> None:
    """Changing, deleting, replacing, skipping, and writing for an older daemon are refused by the database itself."""
    before = list(event_log._rows(""))
    connection = raw(tmp_path)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()
    assert list(event_log._rows("")) == before


def test_rows_chain_by_their_hashes(event_log: EventLog) -> None:
    """Each row carries the hash of the one before, from a row of zeros on."""
    first, second = event_log._rows("")
    assert first.prev_hash == log.GENESIS
    assert second.prev_hash == first.hash == first.digest()


def test_an_older_daemon_cannot_append(event_log: EventLog, tmp_path: Path) -> None:
    """Who has been replaced learns it at its next event, and nothing of it is written."""
    newer = EventLog(tmp_path / "events.db", "there")
    assert newer.take_over() == event_log.epoch + 1
    newer.append([Note("daemon.started", {})], AT, new_ids())
    with pytest.raises(Fenced, match="newer daemon"):
        event_log.append([Note("daemon.stopped", {})], AT, new_ids())
    assert [row.type for row in newer._rows("")] == ["daemon.started", "task.submitted", "daemon.started"]
    newer.close()


def test_an_append_is_whole_or_not_at_all(event_log: EventLog, tmp_path: Path) -> None:
    """Where the second event of a transaction cannot be written, the first is not there either."""
    ids = iter(["one", "one"])
    with pytest.raises(sqlite3.IntegrityError):
        event_log.append([Note("a.b", {}), Note("a.b", {})], AT, ids)
    assert len(list(event_log._rows(""))) == 2
    event_log.append([Note("a.b", {})], AT, new_ids())
    assert log.faults(raw(tmp_path)) == []


def test_a_full_disk_appends_nothing_and_is_survived(event_log: EventLog) -> None:
    """A write that finds no room raises, and the same write succeeds when there is room again."""
    (pages,) = event_log._db.execute("PRAGMA page_count").fetchone()
    event_log._db.execute(f"PRAGMA max_page_count = {pages}")
    big = Submitted("20260105_090000_P1_big", "x" * 100_000, ACTING)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        event_log.append([big], AT, new_ids())
    event_log._db.execute("PRAGMA max_page_count = 1000000")
    event_log.append([big], AT, new_ids())
    assert [row.seq for row in event_log._rows("")] == [1, 2, 3]


def test_the_log_is_for_its_owner_alone(event_log: EventLog, tmp_path: Path) -> None:
    """Others on the machine cannot read what tasks say."""
    assert (tmp_path / "events.db").stat().st_mode & 0o077 == 0
    assert event_log.epoch == 1


def test_readers_cannot_write(event_log: EventLog, tmp_path: Path) -> None:
    """The way in for queries refuses every statement that changes something."""
    connection = log.connect_readonly(tmp_path / "events.db")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DROP VIEW tasks")
    connection.close()
    assert event_log.epoch == 1


def test_a_missing_log_says_what_to_do(tmp_path: Path) -> None:
    """Who asks before there is a log is told how to get one."""
    with pytest.raises(FileNotFoundError, match="cai up"):
        log.connect_readonly(tmp_path / "events.db")


# ------------------------------------------------------------------ every event, there and back

SIMPLE: dict[object, st.SearchStrategy[typing.Any]] = {
    str: st.text(max_size=20),
    int: st.integers(0, 2**40),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
}
FIELDS = {
    "task_id": st.just(ID),
    "kind": st.sampled_from(sorted(log.REPORTS)),
    "spec": st.builds(
        task.Spec,
        handler=st.none() | st.text(max_size=5),
        depends_on=st.lists(st.text(max_size=5), max_size=2).map(tuple),
        params=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=2),
        criteria=st.lists(
            st.builds(task.Criterion, st.text(max_size=5), st.sampled_from(sorted(task.OPERATORS)),
                      st.floats(allow_nan=False, allow_infinity=False)), max_size=2).map(tuple),
    ),
    "src": st.none() | st.sampled_from(task.FOLDERS),
    "dst": st.sampled_from(task.FOLDERS),
    "faults": st.lists(st.text(max_size=10), max_size=2).map(tuple),
    "artifacts": st.lists(st.text(max_size=10), max_size=2).map(tuple),
    "met": st.lists(st.text(max_size=10), max_size=2).map(tuple),
    "metrics": st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    "report": st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    "code": st.none() | st.integers(0, 255),
    "signal": st.none() | st.integers(1, 64),
    "issues": st.lists(st.builds(task.Issue, st.text(max_size=5), st.text(max_size=5)), max_size=2).map(tuple),
    "tasks": st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=2).map(tuple),
}  # fmt: skip


def any_of(kind: type) -> st.SearchStrategy[TaskEvent]:
    """Builds events of one type from its fields."""
    types = typing.get_type_hints(kind)
    return st.builds(
        kind, **{f.name: FIELDS[f.name] if f.name in FIELDS else SIMPLE[types[f.name]] for f in fields(kind)}
    )


@pytest.mark.parametrize("kind", typing.get_args(TaskEvent), ids=lambda kind: kind.__name__)
def test_every_event_is_read_as_it_was_written(kind: type) -> None:
    """Encoding an event into a row and decoding the row gives the event; no type of event is forgotten."""

    @given(any_of(kind))
    def round_trip(event: TaskEvent) -> None:
        type_, task_id, run_id, attempt, data = log.encode(event)
        row = log.Row(1, "i", AT, 1, "h", "daemon", task_id, run_id, attempt, type_, 1, data, log.GENESIS, "")
        assert log.decode(row) == event

    round_trip()


def test_types_of_a_later_version_are_passed_over(event_log: EventLog) -> None:
    """An older program reads a newer log, without what it cannot know."""
    event_log.append([Note("task.transmogrified", {})], AT, new_ids())
    assert list(event_log.replay()) == [ID]


# ------------------------------------------------------------------ projections


@given(st.lists(commands, max_size=15))
def test_views_say_what_a_replay_says(given_commands: list[Command]) -> None:
    """After any history, the views `tasks` and `costs` and the fold of the events give the same task."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(log.SCHEMA)
    for name, sql in log.VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {sql}")
    events = [event for _, event in histories(given_commands)]
    previous = log.GENESIS
    for seq, event in enumerate(events, 1):
        type_, task_id, run_id, attempt, data = log.encode(event)
        row = log.Row(seq, str(seq), AT, 1, "h", "d", task_id, run_id, attempt, type_, 1, data, previous, str(seq))
        connection.execute(log.INSERT, [getattr(row, name) for name in log.COLUMNS])
        previous = row.hash
    replayed = log.fold(log.select_events(connection))
    viewed = connection.execute("SELECT task_id, status, coalesce(reason, '') FROM tasks").fetchall()
    reviews = {task for (task,) in connection.execute("SELECT task_id FROM reviews_open")}
    connection.close()
    assert viewed == [(t.id, t.status, t.reason) for t in replayed.values()]
    assert reviews == {t.id for t in replayed.values() if t.asked}


def test_a_log_of_the_first_version_replays_for_ever(tmp_path: Path) -> None:
    """The checked-in log, which holds every type of event that there was, verifies, replays, and is appended to."""
    connection = sqlite3.connect(tmp_path / "events.db")
    connection.executescript(OLD_LOG.read_text(encoding="utf-8"))
    connection.close()
    event_log = EventLog(tmp_path / "events.db", "here")
    tasks = event_log.replay()
    found = {task.id[19:]: (task.status, task.place, task.run, task.attempt, task.live) for task in tasks.values()}
    assert found == {
        "completed": (Status.COMPLETED, Status.COMPLETED, 1, 2, False),
        "blocked": (Status.BLOCKED, Status.BLOCKED, 1, 1, False),
        "running": (Status.IN_PROGRESS, Status.IN_PROGRESS, 2, 1, True),
        "refused": (Status.BLOCKED, Status.BLOCKED, 0, 0, False),
        "ignored": (Status.IGNORED, Status.PENDING, 0, 0, False),
        "withdrawn": (Status.WITHDRAWN, None, 0, 0, False),
        "cancelled": (Status.BLOCKED, Status.BLOCKED, 0, 0, False),
        "restored": (Status.PENDING, Status.PENDING, 1, 1, False),
    }
    done = tasks["20260105_090000_P1_completed"]
    assert (done.usd, done.metrics, done.artifacts, done.proposed, done.approved) == (
        1.5, {"loss": 0.5}, ("data/a",), ("20260105_090000_P1_next",), True,
    )  # fmt: skip
    event_log.take_over()
    event_log.append([Note("daemon.started", {})], AT, new_ids())
    event_log.close()
    assert log.faults(sqlite3.connect(tmp_path / "events.db")) == []
