"""kill −9 and disk errors at the system calls of the daemon and of what it starts: nothing is lost, nothing happens twice."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.reliability import record, sweep
from tests.reliability.sweep import Point, Tally

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason=sweep.WITHOUT_STRACE)
WORKERS = 2  # the sweep is meant for a machine of two cores
FAULT_WORKERS = 4  # a daemon whose disk fails mostly waits


def try_all(
    tmp_path: Path,
    mode: str,
    chosen: Sequence[Point],
    attempt: Callable[..., Tally] = sweep.crash,
    workers: int = WORKERS,
) -> Tally:
    """Tries points, some at a time, and gives the sum."""
    tally = Tally()
    with ThreadPoolExecutor(workers) as pool:
        tried = [pool.submit(attempt, tmp_path / str(point).replace(" ", "-"), mode, point) for point in chosen]
        for one in tried:
            tally.add(one.result())
    return tally


def evenly(chosen: Sequence[Point], each: int, *wholly: str) -> list[Point]:
    """Takes a few points of each call, evenly spread from its first to its last, and all of some calls."""
    taken = []
    for call in sweep.CALLS:
        some = [point for point in chosen if point.call == call]
        step = 1 if call in wholly else max(1, len(some) // each)
        taken += some[::step][: len(some) if call in wholly else each]
    return taken


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["daemon", "restart"])
def test_a_killed_daemon_is_taken_up_where_it_was(tmp_path: Path, mode: str) -> None:
    """A daemon killed at a system call, and killed again as it recovers, neither loses nor doubles a thing (a sample)."""
    every = sweep.points(sweep.calls_of(tmp_path / "count", mode))
    chosen = evenly(every, 2, "renameat2") if mode == "daemon" else evenly(every, 1)
    tally = try_all(tmp_path, mode, chosen)
    assert tally.violations == []
    assert tally.restarts >= len(chosen) // 2


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["shim", "handler"])
def test_a_killed_attempt_is_tried_again_unless_it_left_an_outcome(tmp_path: Path, mode: str) -> None:
    """A shim or a handler killed at a system call costs an attempt, and never a second run after a durable outcome."""
    every = sweep.points(sweep.calls_of(tmp_path / "count", mode))
    tally = try_all(tmp_path, mode, every[::3])
    assert tally.violations == []


@pytest.mark.sweep
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("mode", ["daemon", "restart", "shim", "handler", "tree"])
def test_no_system_call_is_a_bad_moment_to_be_killed_at(
    tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At every system call that matters, kill −9 and a restart leave log, folders, views and status lines in agreement."""
    begun_s = time.monotonic()
    chosen = sweep.points(sweep.calls_of(tmp_path / "count", mode))
    match mode:
        case "restart":
            chosen = chosen[::4]
        case "tree":
            chosen = [point for point in chosen if point.number <= 6]  # where shims and handlers are reached too
    tally = try_all(tmp_path, mode, chosen)
    assert _noted("sweep", mode, tally, begun_s, capsys) == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["fault ENOSPC", "lasting EROFS"])
def test_a_failing_disk_stops_the_queue_for_as_long_as_it_fails(tmp_path: Path, mode: str) -> None:
    """A call that fails makes the daemon say so and try again; nothing is lost, and no handler runs twice (a sample)."""
    every = evenly(sweep.points(sweep.calls_of(tmp_path / "count", "daemon")), 2)
    chosen = every[1::2] if mode.startswith("fault") else every[::4]
    assert try_all(tmp_path, mode, chosen, sweep.fault, FAULT_WORKERS).violations == []


@pytest.mark.sweep
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("error", sweep.ERRORS)
@pytest.mark.parametrize("kind", ["fault", "lasting"])
def test_no_error_of_the_disk_loses_a_thing(
    tmp_path: Path, kind: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever call fails, once or for good, the daemon says so, and a restart on a sound disk drains the queue."""
    begun_s = time.monotonic()
    every = sweep.points(sweep.calls_of(tmp_path / "count", "daemon"))
    chosen = evenly(every, 5 if kind == "fault" else 1)
    tally = try_all(tmp_path, f"{kind} {error}", chosen, sweep.fault, FAULT_WORKERS)
    assert _noted("faults", f"{kind} {error}", tally, begun_s, capsys) == []


def _noted(section: str, mode: str, tally: Tally, begun_s: float, capsys: pytest.CaptureFixture[str]) -> list[str]:
    figures = {
        "crash points": tally.crash_points,
        "restarts": tally.restarts,
        "violations": len(tally.violations),
        "seconds": round(time.monotonic() - begun_s),
        "seconds of CPU so far": round(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])),
        "load": round(os.getloadavg()[0], 1),
    }
    record.note(section, mode, figures)
    with capsys.disabled():
        print(f"\n{mode:14}" + "".join(f"  {value} {name}" for name, value in figures.items()))
    return tally.violations
