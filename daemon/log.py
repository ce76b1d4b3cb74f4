"""The append-only event log: all of the project's SQL, and the only way into state/events.db.

One STRICT table whose triggers refuse every change but an append by the newest daemon, hashes that chain the rows, and
views that answer questions. The daemon writes through `EventLog`; everybody else reads through `connect_readonly`.
It must know nothing of folders, processes or what an event means.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from daemon import events as happened
from daemon import lifecycle
from daemon.events import TaskEvent
from daemon.task import Issue, Spec, Status, Task

GENESIS = "0" * 64
MAX_WAL_BYTES = 8 << 20  # what the write-ahead log shrinks to when a long reader, for whom it had to grow, has left

# What a task is follows from the other events; these tell how far a live attempt has been heard, and nothing else. A log
# is mostly made of them.
_COUNTS = "type NOT IN ('run.progressed', 'run.measured', 'run.produced', 'gate.judged')"

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS events (
    seq       INTEGER PRIMARY KEY,
    event_id  TEXT NOT NULL UNIQUE,
    at        TEXT NOT NULL,              -- UTC, ISO 8601; for people: the order is that of seq
    epoch     INTEGER NOT NULL,           -- which daemon wrote it, counted from 1
    host      TEXT NOT NULL,
    actor     TEXT NOT NULL,
    task_id   TEXT,
    run_id    TEXT,
    attempt   INTEGER,
    type      TEXT NOT NULL,
    v         INTEGER NOT NULL,
    data      TEXT NOT NULL,              -- JSON
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_task ON events(task_id, seq);
CREATE INDEX IF NOT EXISTS events_by_type ON events(type, seq);
CREATE INDEX IF NOT EXISTS events_that_count ON events(seq) WHERE {_COUNTS};
CREATE TRIGGER IF NOT EXISTS events_are_never_updated BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_are_never_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_are_only_appended BEFORE INSERT ON events
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
      OR EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id)  -- INSERT OR REPLACE would delete that one unseen
    BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_come_from_the_newest_daemon BEFORE INSERT ON events
    WHEN NEW.epoch < (SELECT epoch FROM events ORDER BY seq DESC LIMIT 1)
    BEGIN SELECT RAISE(ABORT, 'a newer daemon has taken over'); END;
"""

# Projections of the log for people and programs to query; dropped and rebuilt at will. README.md has examples.
VIEWS: Mapping[str, str] = {
    "tasks": """
        WITH latest AS (
            SELECT task_id, max(seq) AS seq FROM events
            WHERE type IN ('task.submitted', 'task.rejected', 'task.withdrawn', 'task.claimed', 'task.completed',
                           'task.blocked', 'task.requeued', 'task.cancelled')
            GROUP BY task_id),
        first AS (SELECT task_id, min(at) AS submitted_at FROM events WHERE type = 'task.submitted' GROUP BY task_id),
        spec AS (
            SELECT task_id, max(seq) AS seq FROM events
            WHERE type IN ('task.submitted', 'task.edited') GROUP BY task_id)
        SELECT e.task_id,
               CASE e.type WHEN 'task.submitted' THEN 'pending' WHEN 'task.requeued' THEN 'pending'
                           WHEN 'task.claimed' THEN 'in_progress' WHEN 'task.completed' THEN 'completed'
                           WHEN 'task.withdrawn' THEN 'withdrawn'
                           WHEN 'task.rejected' THEN iif(e.data ->> '$.stays', 'ignored', 'blocked')
                           ELSE 'blocked' END AS status,
               s.data ->> '$.spec.handler' AS handler,
               s.data ->> '$.spec.stage' AS stage,
               substr(e.task_id, 17, 2) AS priority,
               CASE e.type WHEN 'task.blocked' THEN e.data ->> '$.reason'
                           WHEN 'task.cancelled' THEN 'cancelled: ' || (e.data ->> '$.reason')
                           WHEN 'task.rejected'
                           THEN (SELECT group_concat(value, '; ') FROM json_each(e.data, '$.faults'))
                           END AS reason,
               CASE WHEN e.type = 'task.blocked' THEN e.data ->> '$.needs' END AS needs,
               first.submitted_at,
               e.at AS changed_at
        FROM latest JOIN events e ON e.seq = latest.seq
        LEFT JOIN first ON first.task_id = e.task_id
        LEFT JOIN spec ON spec.task_id = e.task_id LEFT JOIN events s ON s.seq = spec.seq""",
    "runs": """
        SELECT c.run_id, c.task_id, c.attempt, c.at AS claimed_at, s.at AS spawned_at, s.data ->> '$.pid' AS pid,
               x.at AS exited_at, coalesce(x.data ->> '$.ending', 'running') AS ending, x.data ->> '$.code' AS code,
               x.data ->> '$.signal' AS signal, x.data ->> '$.seconds' AS seconds,
               x.data ->> '$.max_rss_bytes' AS max_rss_bytes
        FROM events c
        LEFT JOIN events s ON s.task_id = c.task_id AND s.type = 'run.spawned'
                           AND s.run_id = c.run_id AND s.attempt = c.attempt
        LEFT JOIN events x ON x.task_id = c.task_id AND x.type = 'run.exited'
                           AND x.run_id = c.run_id AND x.attempt = c.attempt
        WHERE c.type = 'task.claimed' AND c.data ->> '$.by' = 'daemon'""",
    "progress": """
        SELECT task_id, run_id, attempt, at, data ->> '$.report.done' AS done, data ->> '$.report.total' AS total,
               data ->> '$.report.unit' AS unit, data ->> '$.report.note' AS note
        FROM events WHERE type = 'run.progressed'""",
    "metrics": """
        SELECT task_id, run_id, attempt, at, data ->> '$.report.name' AS name, data ->> '$.report.value' AS value,
               data -> '$.report.at' AS measured_at
        FROM events WHERE type = 'run.measured'
        UNION ALL
        SELECT e.task_id, e.run_id, e.attempt, e.at, m.key, m.value, '{"at": "end"}'
        FROM events e, json_each(e.data, '$.metrics') m WHERE e.type IN ('task.completed', 'task.blocked')""",
    "artifacts": """
        SELECT task_id, run_id, attempt, at, data ->> '$.report.path' AS path, data ->> '$.report.kind' AS kind
        FROM events WHERE type = 'run.produced'""",
    "costs": """
        SELECT task_id, run_id, sum(data ->> '$.seconds') AS seconds, sum(data ->> '$.usd') AS usd
        FROM events WHERE type = 'cost.accrued' GROUP BY task_id, run_id""",
    "timeline": """
        SELECT seq, at, actor, task_id, type,
               coalesce(data ->> '$.reason', data ->> '$.report.note', data ->> '$.ending', '') AS detail
        FROM events""",
    "reviews_open": """
        SELECT q.task_id, q.at AS requested_at, q.data ->> '$.reviewer' AS reviewer, q.data ->> '$.number' AS number
        FROM events q
        WHERE q.type = 'review.requested'
          AND NOT EXISTS (SELECT 1 FROM events a
                          WHERE a.task_id = q.task_id AND a.seq > q.seq AND a.type IN (
                              'review.answered', 'review.requested', 'task.submitted', 'task.edited', 'task.withdrawn',
                              'task.blocked', 'task.cancelled', 'task.rejected'))""",
}

_NAMES: Mapping[type, str] = {
    happened.Submitted: "task.submitted",
    happened.Rejected: "task.rejected",
    happened.Edited: "task.edited",
    happened.Withdrawn: "task.withdrawn",
    happened.Claimed: "task.claimed",
    happened.Completed: "task.completed",
    happened.Blocked: "task.blocked",
    happened.Requeued: "task.requeued",
    happened.Cancelled: "task.cancelled",
    happened.Moved: "file.moved",
    happened.External: "file.external",
    happened.Spawned: "run.spawned",
    happened.Proposed: "run.proposed",
    happened.Exited: "run.exited",
    happened.CostAccrued: "cost.accrued",
    happened.ReviewRequested: "review.requested",
    happened.ReviewAnswered: "review.answered",
}
_KINDS = {name: kind for kind, name in _NAMES.items()}
_FIELDS = {kind: tuple(f.name for f in fields(kind)) for kind in (*_NAMES, happened.Reported)}
REPORTS: Mapping[str, str] = {
    "progressed": "run.progressed",
    "measured": "run.measured",
    "produced": "run.produced",
    "checkpointed": "run.checkpointed",
    "judged": "gate.judged",
}
_REPORT_KINDS = {name: kind for kind, name in REPORTS.items()}


REPLACED = "a newer daemon has taken this workspace over; this one stops"


class Fenced(Exception):
    """Another daemon has taken the workspace over; this one must stop at once."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened to the daemon or the queue, and to no task: daemon.started, queue.paused …"""

    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One event as it stands in the log."""

    seq: int
    event_id: str
    at: str
    epoch: int
    host: str
    actor: str
    task_id: str | None
    run_id: str | None
    attempt: int | None
    type: str
    v: int
    data: str
    prev_hash: str
    hash: str

    @property
    def payload(self) -> dict[str, Any]:
        """The event's data."""
        payload: dict[str, Any] = json.loads(self.data)
        return payload

    def digest(self) -> str:
        """The hash that the row should carry: sha256 over all its other columns, prev_hash included."""
        return _digest([getattr(self, name) for name in COLUMNS[:-1]])


def _digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _create_view(name: str) -> str:
    return f"CREATE VIEW {name} AS {VIEWS[name]}"


def encode(event: TaskEvent | Note) -> tuple[str, str | None, str | None, int | None, str]:
    """Gives an event's type, task_id, run_id, attempt and JSON data."""
    if isinstance(event, Note):
        return event.type, None, None, None, json.dumps(event.data, sort_keys=True)
    raw = {name: getattr(event, name) for name in _FIELDS[type(event)]}
    name = REPORTS[raw.pop("kind")] if isinstance(event, happened.Reported) else _NAMES[type(event)]
    columns = raw.pop("task_id"), raw.pop("run_id", None), raw.pop("attempt", None)
    return name, *columns, json.dumps(raw, sort_keys=True, default=asdict)


def decode(row: Row) -> TaskEvent | None:
    """Gives the task event that a row records, or None where it is no task's (or of a type from a later version)."""
    raw = row.payload
    kind: Any
    if row.type in _REPORT_KINDS:
        kind, raw["kind"] = happened.Reported, _REPORT_KINDS[row.type]
    elif row.type in _KINDS:
        kind = _KINDS[row.type]
    else:
        return None
    raw |= {"task_id": row.task_id, "run_id": row.run_id, "attempt": row.attempt}
    if "spec" in raw:
        raw["spec"] = Spec.from_dict(raw["spec"])
    for name in ("src", "dst"):
        if raw.get(name):
            raw[name] = Status(raw[name])
    if "issues" in raw:
        raw["issues"] = tuple(Issue(**issue) for issue in raw["issues"])
        raw["tasks"] = tuple((name, text) for name, text in raw["tasks"])
    for name in ("faults", "artifacts", "met"):
        if name in raw:
            raw[name] = tuple(raw[name])
    event: TaskEvent = kind(**{name: raw[name] for name in _FIELDS[kind] if name in raw})
    return event


COLUMNS = tuple(f.name for f in fields(Row))
INSERT = f"INSERT INTO events VALUES ({', '.join('?' * len(COLUMNS))})"


class EventLog:
    """The daemon's way into the log: it reads, and appends in transactions that are durable when `append` returns."""

    def __init__(self, path: Path, host: str, wal: bool = True) -> None:
        """Opens the log, and creates it where there is none.

        Args:
            path: state/events.db.
            host: the machine's name, written into each event.
            wal: False on a network file system, where SQLite's write-ahead log corrupts.
        """
        sqlite_utils = _import_sqlite_utils()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite_utils.Database(sqlite3.connect(path, isolation_level=None, timeout=10.0))
        self._db.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA wal_autocheckpoint=1000")
        self._db.execute(f"PRAGMA journal_size_limit={MAX_WAL_BYTES}")
        path.chmod(0o600)
        self._db.conn.executescript(SCHEMA)
        made = dict(self._db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'").fetchall())
        if any(made.get(name) != _create_view(name) for name in VIEWS):
            self.rebuild_views()
        self._host = host
        self.appended = 0  # events since the log was opened
        self.epoch = int(self._db.execute("SELECT coalesce(max(epoch), 0) FROM events").fetchone()[0])

    def close(self) -> None:
        """Closes the database."""
        self._db.conn.close()

    def take_over(self) -> int:
        """Makes this process the newest daemon; what an older one appends from now on is refused."""
        self.epoch = int(self._db.execute("SELECT coalesce(max(epoch), 0) + 1 FROM events").fetchone()[0])
        return self.epoch

    def check_in_charge(self) -> None:
        """Makes sure that no newer daemon has written: one that was replaced may have nothing to append and never know.

        Raises:
            Fenced: one has.
        """
        newest = self._db.execute("SELECT epoch FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        if newest and newest[0] > self.epoch:
            raise Fenced(REPLACED)

    def append(
        self, events: Sequence[TaskEvent | Note], at: str, ids: Iterator[str], actor: str = "daemon"
    ) -> list[Row]:
        """Appends events in one transaction, on disk when it returns.

        Raises:
            Fenced: a newer daemon has written to the log.
            sqlite3.OperationalError: the disk is full, read-only or broken; nothing was appended.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            last = db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone() or (0, GENESIS)
            rows = []
            for event in events:
                type_, task_id, run_id, attempt, data = encode(event)
                values: list[Any] = [
                    last[0] + 1, next(ids), at, self.epoch, self._host, actor, task_id, run_id, attempt, type_, 1, data, last[1]
                ]  # fmt: skip
                values.append(_digest(values))
                db.execute(INSERT, values)
                last = (values[0], values[-1])
                rows.append(Row(*values))
            db.execute("COMMIT")
        except BaseException as error:
            if db.conn.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.IntegrityError) and "newer daemon" in str(error):
                raise Fenced(REPLACED) from error
            raise
        self.appended += len(rows)
        return rows

    def replay(self) -> dict[str, Task]:
        """Folds the log into the tasks as they are; it reads the figures and progress of live attempts only."""
        tasks = fold(self._rows(f"WHERE {_COUNTS}"))
        for task_id in [task.id for task in tasks.values() if task.live]:
            tasks |= fold(self.of_task(task_id))
        return tasks

    def of_task(self, task_id: str) -> Iterator[Row]:
        """Gives one task's events in order."""
        return self._rows("WHERE task_id = ?", [task_id])

    def told_of_task(self, task_id: str) -> Iterator[Row]:
        """Gives one task's events but its figures, which are many and of which its file says nothing."""
        return self._rows("WHERE task_id = ? AND type != 'run.measured'", [task_id])

    def last_note(self, *types: str) -> str | None:
        """Gives the type of the newest event of these types."""
        marks = ", ".join("?" * len(types))
        found = self._db.execute(
            f"SELECT type FROM events WHERE type IN ({marks}) ORDER BY seq DESC LIMIT 1", types
        ).fetchone()
        return found[0] if found else None

    def proposals(self) -> list[tuple[str, str]]:
        """Gives the name and text of every task that a handler or a review has called for."""
        found: list[tuple[str, str]] = []
        for row in self._rows("WHERE type IN ('run.proposed', 'review.answered')"):
            said = row.payload
            found += [(n, t) for n, t in said["tasks"]] if "tasks" in said else [(said["name"], said["text"])]
        return found

    def rebuild_views(self) -> None:
        """Drops and creates the views."""
        self._db.execute("BEGIN IMMEDIATE")
        for name in VIEWS:
            self._db.execute(f"DROP VIEW IF EXISTS {name}")
            self._db.execute(_create_view(name))
        self._db.execute("COMMIT")

    def _rows(self, where: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        return select_events(self._db.conn, where, parameters)


def _import_sqlite_utils() -> Any:
    """Imports sqlite-utils without the pandas and numpy that it would load, where they are installed, to know their types.

    That is 0.3 s of each start and 60 MiB of each daemon.
    """
    absent: dict[str, Any] = {name: None for name in ("pandas", "numpy") if name not in sys.modules}
    sys.modules.update(absent)
    try:
        import sqlite_utils  # only the daemon pays for it
    finally:
        for name in absent:
            del sys.modules[name]
    return sqlite_utils


def fold(rows: Iterable[Row]) -> dict[str, Task]:
    """Replays events into tasks."""
    tasks: dict[str, Task] = {}
    for row in rows:
        if event := decode(row):
            tasks[event.task_id] = lifecycle.evolve(tasks.get(event.task_id), event, row.seq)
    return tasks


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Opens the log for queries; no statement can change it.

    Raises:
        FileNotFoundError: there is no log yet.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no event log; start the daemon with `cai up`, or make a workspace with `cai init`"
        )
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)


def select_events(connection: sqlite3.Connection, where: str = "", parameters: Sequence[Any] = ()) -> Iterator[Row]:
    """Gives the events that a WHERE clause selects, in order."""
    for values in connection.execute(f"SELECT {', '.join(COLUMNS)} FROM events {where} ORDER BY seq", parameters):
        yield Row(*values)


def faults(connection: sqlite3.Connection) -> list[str]:
    """Lists everything that is wrong with the log: SQLite's check, the triggers, the numbering, the hash chain."""
    found = [f"SQLite: {line}" for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
    present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    wanted = {
        "events_are_never_updated",
        "events_are_never_deleted",
        "events_are_only_appended",
        "events_come_from_the_newest_daemon",
    }
    found += [f"trigger {name} is missing: rows may have been changed" for name in sorted(wanted - present)]
    seq, previous = 0, GENESIS
    for row in select_events(connection):
        if row.seq != seq + 1:
            found.append(f"event {row.seq}: follows {seq}; events between them are missing")
        if row.prev_hash != previous:
            found.append(f"event {row.seq}: does not continue the chain of event {seq}")
        if row.hash != row.digest():
            found.append(f"event {row.seq}: its content does not match its hash; it was changed after it was written")
        seq, previous = row.seq, row.hash
    return found
