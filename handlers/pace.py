"""How fast a run gets on: progress about once a second, with the rate and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable

from handlers.contract import Run

_SAY_EVERY_S = 1.0


class Pace:
    """Counts what is done and reports it through the run."""

    def __init__(
        self, run: Run, total: int, unit: str, *, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Starts at `done` of `total`; what was done before does not count for the rate."""
        self._run, self._total, self._unit, self._clock = run, total, unit, clock
        self._done = self._done_before = done
        self._started = clock()
        self._said = -_SAY_EVERY_S

    def begin(self, note: str) -> None:
        """Says that the work begins now: what came before it does not count for the rate."""
        self._started, self._done_before = self._clock(), self._done
        self._run.progress(self._done, self._total, self._unit, note)

    def step(self, count: int, note: str = "") -> None:
        """Counts `count` more."""
        self._done += count
        now = self._clock()
        if now - self._said < _SAY_EVERY_S and self._done < self._total:
            return
        self._said = now
        rate = (self._done - self._done_before) / max(now - self._started, 1e-9)
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate > 0 else ""
        said = f"{rate:.1f} {self._unit}s/s{left}"
        self._run.progress(self._done, self._total, self._unit, f"{note}: {said}" if note else said)
