"""What a long log and many files cost: bounded, and never a different answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from daemon import lifecycle, log
from daemon.log import EventLog
from daemon.task import Status

SPEC = lifecycle.Spec(handler="act")
AT = "2026-01-05T09:00:00.000Z"


def _ids() -> Iterator[str]:
    return (f"id-{number}" for number in itertools.count())


def _life(name: str, reports: int, *end: lifecycle.TaskEvent) -> list[lifecycle.TaskEvent | log.Note]:
    run = f"{name}.1"
    said = [{"name": "loss", "value": 2.0, "at": {"step": step}} for step in range(reports)]
    return [
        lifecycle.Submitted(name, "text", SPEC),
        lifecycle.Claimed(name, run, 1),
        lifecycle.Moved(name, Status.PENDING, Status.IN_PROGRESS),
        lifecycle.Spawned(name, run, 1, 1, 1, ""),
        *(lifecycle.Reported(name, run, 1, "measured", 10 * n, s) for n, s in enumerate(said, 1)),
        *end,
    ]


def test_replay_skips_reports_and_gives_what_the_whole_log_gives(tmp_path: Path) -> None:
    """A replay reads the reports of live attempts only, and its tasks equal a fold of every event."""
    event_log = EventLog(tmp_path / "events.db", "here")
    run = "done.1"
    checkpoint = lifecycle.Reported("crashed", "crashed.1", 1, "checkpointed", 99, {"path": "here"})
    events = [
        *_life("done", 20, lifecycle.Exited("done", run, 1, "completed", 0), lifecycle.Completed("done", {"loss": 2.0})),
        *_life("live", 20),
        *_life("crashed", 5, lifecycle.Exited("crashed", "crashed.1", 1, "crashed"), lifecycle.Requeued("crashed", "", True)),
        lifecycle.Claimed("crashed", "crashed.1", 2),
        checkpoint,
        log.Note("daemon.started", {}),
    ]  # fmt: skip
    event_log.append(events, AT, _ids())
    tasks = event_log.replay()
    event_log.close()
    connection = log.connect_readonly(tmp_path / "events.db")
    whole = log.fold(log.select_events(connection))
    connection.close()
    assert tasks == whole
    assert [tasks[name].offset for name in ("done", "live", "crashed")] == [0, 200, 99]
