"""What a long log and many files cost: bounded, and never a different answer."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import events, log
from daemon.log import EventLog
from daemon.task import Spec, Status
from daemon.workspace import Workspace
from tests.conftest import acting, new_workspace, wait_until
from tests.reliability import record, sweep
from tests.reliability.live import Live, count, drop, query

SPEC = Spec(handler="act")
AT = "2026-01-05T09:00:00.000Z"


def _ids() -> Iterator[str]:
    return (f"id-{number}" for number in itertools.count())


def _life(name: str, reports: int, *end: events.TaskEvent) -> list[events.TaskEvent | log.Note]:
    run = f"{name}.1"
    said = [{"name": "loss", "value": 2.0, "at": {"step": step}} for step in range(reports)]
    return [
        events.Submitted(name, "text", SPEC),
        events.Claimed(name, run, 1),
        events.Moved(name, Status.PENDING, Status.IN_PROGRESS),
        events.Spawned(name, run, 1, 1, 1, ""),
        *(events.Reported(name, run, 1, "measured", 10 * n, s) for n, s in enumerate(said, 1)),
        *end,
    ]


def test_replay_skips_reports_and_gives_what_the_whole_log_gives(tmp_path: Path) -> None:
    """A replay reads the reports of live attempts only, and its tasks equal a fold of every event."""
    event_log = EventLog(tmp_path / "events.db", "here")
    run = "done.1"
    checkpoint = events.Reported("crashed", "crashed.1", 1, "checkpointed", 99, {"path": "here"})
    happened = [
        *_life("done", 20, events.Exited("done", run, 1, "completed", 0), events.Completed("done", {"loss": 2.0})),
        *_life("live", 20),
        *_life("crashed", 5, events.Exited("crashed", "crashed.1", 1, "crashed"), events.Requeued("crashed", "", True)),
        events.Claimed("crashed", "crashed.1", 2),
        checkpoint,
        log.Note("daemon.started", {}),
    ]  # fmt: skip
    event_log.append(happened, AT, _ids())
    tasks = event_log.replay()
    event_log.close()
    connection = log.connect_readonly(tmp_path / "events.db")
    whole = log.fold(log.select_events(connection))
    connection.close()
    assert tasks == whole
    assert [tasks[name].offset for name in ("done", "live", "crashed")] == [0, 200, 99]


def _drop_many(where: Workspace, first: int, number: int) -> None:
    for n in range(first, first + number):
        drop(where, f"20260105_090000_P1_t{n}", "---\nhandler: act\n---\n# T\n")


def _submitted(where: Workspace) -> int:
    return count(where, "task.submitted")


@pytest.mark.timeout(300)
def test_files_that_no_hint_told_of_are_taken_in(workspace: Workspace) -> None:
    """When the kernel's queue of hints overflows and drops them silently, the next whole look finds every file."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    number = limit // 4 + 500  # of which each file makes four: made, written, closed, moved
    workspace.pause.touch()
    (workspace.root / "cai.yaml").write_text("scan_interval_s: 2\n")
    with Live(workspace) as live:
        wait_until(lambda: count(workspace, "queue.paused") == 1, "the pause", 60.0)
        live.process.send_signal(signal.SIGSTOP)
        _drop_many(workspace, 0, number)
        live.process.send_signal(signal.SIGCONT)
        wait_until(lambda: _submitted(workspace) == number, f"{number} files to be taken in", 120.0)


@pytest.mark.sweep
@pytest.mark.load
@pytest.mark.timeout(900)
def test_ten_thousand_files_at_once(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten thousand files that are dropped while the daemon runs are all taken in, and the next task still gets its turn."""
    with Live(workspace) as live:
        begun_s = time.monotonic()
        _drop_many(workspace, 0, 10_000)
        dropped_s = time.monotonic() - begun_s
        wait_until(lambda: _submitted(workspace) == 10_000, "10,000 files to be taken in", 300.0)
        taken_s = time.monotonic() - begun_s
        before, since_s = count(workspace, "task.completed"), time.monotonic()
        wait_until(lambda: count(workspace, "task.completed") >= before + 20, "twenty more", 300.0)
        rate = 20 / (time.monotonic() - since_s)
        figures = {
            "seconds to drop": round(dropped_s, 1),
            "seconds until the last was taken in": round(taken_s, 1),
            "tasks a second with a full queue": round(rate, 1),
            "MiB of memory": _memory_mib(live),
        }
    _noted("10,000 files at once", figures, capsys)


@pytest.mark.sweep
@pytest.mark.load
@pytest.mark.timeout(900)
def test_a_hundred_tasks_a_second_for_a_minute(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """While a hundred tasks come each second, they are taken in as they come, work goes on, and memory stays in bounds."""
    seconds, lags = 60, []
    with Live(workspace) as live:
        begun_s = time.monotonic()
        for second in range(seconds):
            _drop_many(workspace, 100 * second, 100)
            lags.append(100 * (second + 1) - _submitted(workspace))
            time.sleep(max(0.0, begun_s + second + 1 - time.monotonic()))
        dropped_s = time.monotonic() - begun_s
        wait_until(lambda: _submitted(workspace) == 100 * seconds, "the last file to be taken in", 120.0)
        figures = {
            "seconds to drop": round(dropped_s, 1),
            "seconds until the last was taken in": round(time.monotonic() - begun_s, 1),
            "files behind at most": max(lags),
            "tasks completed meanwhile": count(workspace, "task.completed"),
            "MiB of memory": _memory_mib(live),
        }
    _noted("100 tasks a second for a minute", figures, capsys)


@pytest.mark.sweep
@pytest.mark.load
@pytest.mark.timeout(900)
def test_a_million_events_cost_ten_times_what_a_hundred_thousand_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a long log the queue starts, answers and works; what it takes grows no faster than the log."""
    small, large = (_with_events(tmp_path / str(number), number, capsys) for number in (100_000, 1_000_000))
    assert large["MiB of log"] < 11 * small["MiB of log"]
    assert large["MiB of memory"] < 10 * small["MiB of memory"]
    assert large["MiB of write-ahead log"] <= log.MAX_WAL_BYTES >> 20


def _with_events(root: Path, number: int, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Fills a log with the lives of tasks of a thousand events each, and measures a daemon on it."""
    root.mkdir()
    where = new_workspace(root)
    event_log = EventLog(where.log, "here")
    ids = _ids()
    begun_s = time.monotonic()
    for first in range(0, number // 1000, 10):
        happened: list[events.TaskEvent | log.Note] = []
        for n in range(first, first + 10):
            name = f"20260105_090000_P1_t{n}"
            end = (
                events.Exited(name, f"{name}.1", 1, "completed", 0),
                events.Completed(name, {"loss": 2.0}),
                events.Moved(name, Status.IN_PROGRESS, Status.COMPLETED),
                events.External(name, Status.COMPLETED, None),  # tidied away by its owner
            )
            happened += _life(name, 1000 - 4 - len(end), *end)
        event_log.append(happened, AT, ids)
    event_log.close()
    figures: dict[str, float] = {"events a second, grouped": round(number / (time.monotonic() - begun_s))}
    for what in ("first", "next"):  # the first one makes the log's copy
        begun_s = time.monotonic()
        with Live(where) as live:
            figures[f"seconds of the {what} start"] = round(time.monotonic() - begun_s, 2)
            name = f"20260105_090000_P0_{what}"
            drop(where, name)
            live.until(name, Status.COMPLETED)
            figures["MiB of memory"] = _memory_mib(live)
            figures["MiB of write-ahead log"] = (where.state / "events.db-wal").stat().st_size >> 20
    for what, *words in (("status", "status"), ("events --task", "events", "--task", "20260105_090000_P1_t5"),
                         ("verify", "verify"), ("rebuild --check", "rebuild", "--check")):  # fmt: skip
        begun_s = time.monotonic()
        status, printed = sweep.run([*sweep.serve(where)[:-1], *words], root)
        assert status == 0, f"{what}: {printed[-600:]}"
        figures[f"seconds of {what}"] = round(time.monotonic() - begun_s, 2)
    figures["MiB of log"] = where.log.stat().st_size >> 20
    figures["MiB of its copy"] = where.log_copy.stat().st_size >> 20
    assert count(where, "task.completed") == number // 1000 + 2
    _noted(f"a log of {number:,} events", figures, capsys)
    return figures


@pytest.mark.sweep
@pytest.mark.load
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["in place", "by rename"])
def test_an_editor_that_saves_every_second(workspace: Workspace, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Saves of a running task's file, one a second from the editor's own old buffer, all survive, and cost one event each."""
    saves, name = 20, "20260105_090000_P1_edited"
    with Live(workspace) as live:
        drop(workspace, name, acting(seconds=saves + 5.0))
        live.until(name, Status.IN_PROGRESS)
        path = workspace.file(Status.IN_PROGRESS, name)
        buffer = path.read_text()
        for number in range(saves):
            buffer += f"word {number}\n"
            if way == "in place":
                path.write_text(buffer)
            else:
                aside = path.with_name(f".{name}.swp")
                aside.write_text(buffer)
                aside.rename(path)
            time.sleep(1.0)
        live.until(name, Status.COMPLETED)
    text = workspace.file(Status.COMPLETED, name).read_text()
    assert [line for line in text.splitlines() if line.startswith("word")] == [f"word {n}" for n in range(saves)]
    lines = [line for line in text.splitlines() if line.startswith("- [20")]
    edited = [line for line in lines if line.endswith("The file was edited")]  # two may come in one second
    others = [line for line in lines if line not in edited]
    assert len(edited) == saves
    assert len(set(others)) == len(others)
    assert "Completed: figure 1" in lines[-1]
    assert count(workspace, "task.edited") == saves
    assert count(workspace, "task.claimed") == 1
    kib = sum(size for (size,) in query(workspace, "SELECT length(data) FROM events WHERE type = 'task.edited'")) >> 10
    _noted(f"an editor saves every second, {way}", {"saves": saves, "KiB of log for them": kib}, capsys)


def _memory_mib(live: Live) -> int:
    lines = Path(f"/proc/{live.process.pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024)


def _noted(name: str, figures: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    record.note("load", name, {**figures, "load": round(os.getloadavg()[0], 1)})
    with capsys.disabled():
        print(f"\nload            {name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))


def test_the_time_to_start_does_not_grow_with_reports(tmp_path: Path) -> None:
    """Of a task with ten thousand figures, a replay reads the few events that count."""
    event_log = EventLog(tmp_path / "events.db", "here")
    event_log.append(
        _life("done", 10_000, events.Exited("done", "done.1", 1, "completed"), events.Completed("done")), AT, _ids()
    )
    read = 0

    def progress() -> int:
        nonlocal read
        read += 1
        return 0

    event_log._db.conn.set_progress_handler(progress, 100)  # called at each hundredth step of SQLite's machine
    event_log.replay()
    event_log.close()
    assert read < 20
