"""kill −9 and disk errors at the system calls of the daemon and of what it starts: nothing is lost, nothing happens twice."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import kill_all_below
from tests.reliability import record, sweep
from tests.reliability.sweep import Point, Tally

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason=sweep.WITHOUT_STRACE)
WORKERS = 4  # the sweep is meant for a machine of two cores, and half of it waits
MEMORY = Path("/dev/shm")  # kill −9 takes nothing that the kernel has, so the files need no disk


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Path]:
    """A folder for workspaces, in memory where that can be; what a violation leaves in it goes to tmp_path."""
    made = Path(tempfile.mkdtemp(prefix="cai-sweep-", dir=MEMORY if MEMORY.is_dir() else None))
    yield made
    kill_all_below(made)
    if os.listdir(made):
        shutil.move(made, tmp_path / "violations")
    else:
        made.rmdir()


def try_all(arena: Path, mode: str, chosen: Sequence[Point], attempt: Callable[..., Tally] = sweep.crash) -> Tally:
    """Tries points, some at a time, and gives the sum."""
    tally = Tally()
    with ThreadPoolExecutor(WORKERS) as pool:
        tried = [pool.submit(attempt, arena / str(point).replace(" ", "-"), mode, point) for point in chosen]
        for one in tried:
            tally.add(one.result())
    return tally


def calls_of(arena: Path, mode: str) -> list[list[str]]:
    """Gives the calls of an undisturbed run: how far a sweep has to go."""
    found = sweep.traces(arena / "undisturbed", mode)
    shutil.rmtree(arena / "undisturbed")
    return found


def evenly(chosen: Sequence[Point], each: int) -> list[Point]:
    """Takes a few points of each call, evenly spread from its first to its last."""
    taken = []
    for call in sweep.CALLS:
        some = [point for point in chosen if point.call == call]
        taken += some[:: max(1, len(some) // each)][:each]
    return taken


@pytest.mark.sample
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["daemon", "restart", "stop"])
def test_a_killed_daemon_is_taken_up_where_it_was(arena: Path, mode: str) -> None:
    """A daemon struck at a system call, and again as it recovers, neither loses nor doubles a thing (a sample).

    The sample has the moments right before and after each move of a file, and one or two of each call.
    """
    (calls,) = calls_of(arena, mode)
    every = sweep.points(calls)
    chosen = [*sweep.beside_moves(calls), *evenly(every, 2)] if mode == "daemon" else evenly(every, 1)
    tally = try_all(arena, mode, list(dict.fromkeys(chosen)))
    assert tally.violations == []
    assert tally.restarts >= len(chosen) // 2


@pytest.mark.sample
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["shim", "handler"])
def test_a_killed_attempt_is_tried_again_unless_it_left_an_outcome(arena: Path, mode: str) -> None:
    """A shim or a handler killed at a system call costs an attempt, and never a second run after a durable outcome."""
    tally = try_all(arena, mode, sweep.all_points(calls_of(arena, mode))[::3])
    assert tally.violations == []
    assert tally.hit


@pytest.mark.sweep
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("mode", ["daemon", "restart", "stop", "shim", "handler", "tree"])
def test_no_system_call_is_a_bad_moment_to_be_killed_at(
    arena: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At every system call that matters, kill −9 and a restart leave log, folders, views and status lines in agreement."""
    begun_s = time.monotonic()
    every = chosen = sweep.all_points(calls_of(arena, mode))
    match mode:
        case "restart":
            chosen = every[::5]
        case "stop":
            chosen = every[::8]
        case "tree":  # where shims and handlers are reached too
            chosen = [point for point in every if point.number <= 6]
    tally = try_all(arena, mode, chosen)
    assert _noted("sweep", mode, tally, len(every), begun_s, capsys) == []


@pytest.mark.sample
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["fault ENOSPC", "lasting EROFS"])
def test_a_failing_disk_stops_the_queue_for_as_long_as_it_fails(arena: Path, mode: str) -> None:
    """A call that fails makes the daemon say so and try again; nothing is lost, and no handler runs twice (a sample)."""
    every = evenly(sweep.all_points(calls_of(arena, "daemon")), 2)
    chosen = every[1::2] if mode.startswith("fault") else every[::4]
    assert try_all(arena, mode, chosen, sweep.fault).violations == []


@pytest.mark.sweep
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("error", sweep.ERRORS)
@pytest.mark.parametrize("kind", ["fault", "lasting"])
def test_no_error_of_the_disk_loses_a_thing(
    arena: Path, kind: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever call fails, once or for good, the daemon says so, and a restart on a sound disk drains the queue."""
    begun_s = time.monotonic()
    every = sweep.all_points(calls_of(arena, "daemon"))
    tally = try_all(arena, f"{kind} {error}", evenly(every, 5 if kind == "fault" else 1), sweep.fault)
    assert _noted("faults", f"{kind} {error}", tally, len(every), begun_s, capsys) == []


def _noted(
    section: str, mode: str, tally: Tally, of: int, begun_s: float, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    figures = {
        "crash points": tally.crash_points,
        "of": of,
        "struck": tally.hit,
        "restarts": tally.restarts,
        "violations": len(tally.violations),
        "seconds": round(time.monotonic() - begun_s),
    }
    record.note(section, mode, figures)
    with capsys.disabled():
        print(f"\n{mode:16}" + "  ".join(f"{name} {value}" for name, value in figures.items()))
    return tally.violations
