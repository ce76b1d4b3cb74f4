"""What a power cut would find on the disk, read from the order of the daemon's system calls."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.reliability import sweep

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason=sweep.WITHOUT_STRACE)
_PATHS = re.compile(r'"([^"]*)"')
_OF_FD = re.compile(r"\((\d+)<([^>]*)>")


@dataclass
class _Order:
    """What a trace has shown."""

    moves: int = 0
    commits: int = 0
    faults: list[str] = field(default_factory=list)


def _faults(trace: str, state: str) -> _Order:
    """Goes through the calls in order, and says where one came too early."""
    order = _Order()
    owed: dict[str, str] = {}  # folders to be synced, with the rename that wants it
    dirty: set[str] = set()  # files written to since their last fsync
    log_dirty = False
    for line in trace.splitlines():
        call = line.partition("(")[0]
        if call in ("rename", "renameat2") and line.rstrip().endswith("= 0"):
            src, dst = _PATHS.findall(line)
            if not dst.endswith(".md"):
                continue
            order.moves += 1
            if src in dirty:
                order.faults.append(f"not on disk when it was renamed: {line}")
            if log_dirty:
                order.faults.append(f"renamed before the log was on disk: {line}")
            owed |= {src.rpartition("/")[0]: line, dst.rpartition("/")[0]: line}
        elif found := _OF_FD.search(line):
            path = found[2]
            if call in ("fsync", "fdatasync"):
                owed.pop(path, None)
                dirty.discard(path)
                log_dirty &= path != f"{state}/events.db-wal"
            elif call in ("write", "pwrite64"):
                dirty.add(path)
                if path == f"{state}/events.db-wal":
                    order.commits += not log_dirty
                    log_dirty = True
                    order.faults += [f"{folder} was not on disk at the next commit: {x}" for folder, x in owed.items()]
                    owed.clear()
    return order


def test_each_rename_is_on_disk_before_the_next_commit(tmp_path: Path) -> None:
    """A file and the log's intent are flushed before a rename, and both folders after it, before anything is committed."""
    where = sweep.prepare(tmp_path / "w")
    out = tmp_path / "trace"
    status, printed = sweep.run([*sweep.tracer(out, "", "-y", "-s", "4096"), *sweep.serve(where)], tmp_path)
    assert status == 1, printed
    order = _faults(out.read_text(), str(where.state))
    assert order.faults == []
    assert order.moves >= 2 * len(sweep.TASKS)
