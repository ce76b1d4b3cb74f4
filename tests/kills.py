"""Kills a handler's process in the middle of its work."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path


def kill_when_grown(run_dir: Path, journal: Path, by_bytes: int) -> None:
    """Runs the request in `run_dir` and kills it -9 once the journal has grown by so much; it may end before."""
    child = subprocess.Popen([sys.executable, "-m", "handlers", str(run_dir)], stdout=subprocess.DEVNULL)
    goal = _size(journal) + by_bytes
    while child.poll() is None and _size(journal) < goal:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.01)
    child.kill()
    child.wait()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
