from __future__ import annotations

import json
from pathlib import Path

from handlers.contract import Run
from handlers.pace import Pace


def test_pace_speaks_about_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    """Ten steps in half a second each say something every second step, with the rate and the time left."""
    now = 0.0
    pace = Pace(Run(tmp_path), 110, "item", done=10, clock=lambda: now)
    now += 40.0  # a model is loaded
    pace.begin("loaded")
    for _ in range(10):
        now += 0.5
        pace.step(10, "raw")
    loaded, *said = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (loaded["done"], loaded["note"]) == (10, "loaded")
    assert [event["done"] for event in said] == [20, 40, 60, 80, 100, 110]
    assert said[1]["note"] == "raw: 20.0 items/s, 4 s left"
    assert said[-1]["note"] == "raw: 20.0 items/s, 0 s left"
