"""A second file with the log's events, and a new log of what still proves itself when the first one is damaged.

The chain of hashes says which events are sound, whichever file they are read from.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.log import COLUMNS, GENESIS, INSERT, SCHEMA, Row, connect_readonly

_COLUMNS = ", ".join(COLUMNS)
_END = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"


def keep_copy(path: Path, copy_path: Path) -> None:
    """Brings the copy up to the log.

    A copy that does not continue into the log is another history, or damaged: it is renamed, and a new one begun.

    Args:
        path: the log, which is only read.
        copy_path: the copy.

    Raises:
        sqlite3.OperationalError: there is no room, or no right to write.
        sqlite3.DatabaseError: the log is damaged; the copy stays as it is.
    """
    with contextlib.closing(connect_readonly(path)) as log:
        seq, last = _end_of(copy_path)
        if last and log.execute("SELECT hash FROM events WHERE seq = ?", [seq]).fetchone() != (last,):
            number = next(n for n in range(1, 1 << 20) if not copy_path.with_suffix(f".old-{n}.db").exists())
            copy_path.rename(copy_path.with_suffix(f".old-{number}.db"))
            seq = 0
        rows = log.execute(f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq", [seq])
        with contextlib.closing(sqlite3.connect(copy_path, isolation_level=None)) as copy:
            copy_path.chmod(0o600)
            copy.executescript(SCHEMA)
            copy.execute("BEGIN IMMEDIATE")
            copy.executemany(INSERT, rows)
            copy.execute("COMMIT")


def _end_of(path: Path) -> tuple[int, str]:
    """Gives the number and hash of a copy's last event: no hash where it has none, one of no event where it is damaged."""
    if not path.exists():
        return 0, ""
    with contextlib.closing(sqlite3.connect(path)) as copy:
        try:
            return copy.execute(_END).fetchone() or (0, "")
        except sqlite3.OperationalError:  # a crash came before its table
            return 0, ""
        except sqlite3.DatabaseError:
            return 0, "damaged"


def salvage(sources: Sequence[Path], target: Path) -> int:
    """Writes a new log of the events that still prove themselves, as far as the chain goes.

    Each event is taken from the first source that has it whole, so that a damaged page costs nothing that a copy kept.

    Args:
        sources: the damaged log, then its copies; none is written to.
        target: the new log; there must be none.

    Returns:
        How many events the new log has.
    """
    takers = [_taker(path) for path in sources if path.exists()]
    seq, last = 0, GENESIS
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as new:
        target.chmod(0o600)
        new.execute("PRAGMA synchronous=FULL")
        new.executescript(SCHEMA)
        new.execute("BEGIN IMMEDIATE")
        while row := next((row for take in takers if (row := take(seq + 1)) and row.prev_hash == last), None):
            new.execute(INSERT, [getattr(row, name) for name in COLUMNS])
            seq, last = row.seq, row.hash
        new.execute("COMMIT")
    return seq


def _taker(path: Path) -> Callable[[int], Row | None]:
    """Gives a function that reads one event of a file, or None where it cannot be had or was changed."""
    connection = connect_readonly(path)

    def take(seq: int) -> Row | None:
        try:
            found = connection.execute(f"SELECT {_COLUMNS} FROM events WHERE seq = ?", [seq]).fetchone()
        except sqlite3.Error:
            return None
        row = Row(*found) if found else None
        return row if row and row.hash == row.digest() else None

    return take
