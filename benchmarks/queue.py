"""Measures the queue beside task-spooler and nq, where those are installed: `python -m benchmarks.queue [--quick] [--json FILE]`.

Everything is real: the daemon in a process of its own, files dropped by rename, fsync on this disk, child processes. The
handler is the shortest that speaks the contract (benchmarks/worker.py).
Peers run `date +%s%N`. They keep no log and call no fsync, so the ratio is the price of durability, not a race.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon import lifecycle
from daemon.intake import Intake
from daemon.log import EventLog, connect_readonly
from daemon.service import Daemon
from daemon.task import Status
from daemon.workspace import Settings, Workspace, file_system

ROOT = Path(__file__).resolve().parent.parent
KINDS: dict[str, tuple[()]] = {"note": ()}
TEXT = "---\nhandler: note\n---\n# Note the time\n"
WORKER = str(ROOT / "benchmarks" / "worker.py")
SERVE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from daemon.cli import main
sys.exit(main(kinds={{"note": ()}}, handlers=({sys.executable!r}, "-P", {WORKER!r})))
"""
POLL_S = 0.0002  # resolution of what is seen through the log


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `bound` is what docs/reliability.md promises, None where nothing is."""

    name: str
    unit: str
    value: float
    bound: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Says whether the promise is kept."""
        if self.bound is None:
            return ""
        kept = self.value >= self.bound if self.at_least else self.value < self.bound
        return f"{'≥' if self.at_least else '<'} {self.bound:g} {'kept' if kept else 'MISSED'}"


# ------------------------------------------------------------------ a daemon to measure


@contextlib.contextmanager
def workspace() -> Iterator[Workspace]:
    """Makes a workspace on the disk that TMPDIR names, and takes it away."""
    with tempfile.TemporaryDirectory(prefix="cai-bench-") as folder:
        where = Workspace(Path(folder))
        where.create()
        yield where


@contextlib.contextmanager
def serving(where: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a daemon for the time of a `with`, from when it watches."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", SERVE, "-w", where.root, "up"], stdout=subprocess.DEVNULL, cwd=where.root
    )
    try:
        wait_for(lambda: where.log.exists() and count(where, "daemon.started") > 0)
        yield daemon
    finally:
        daemon.terminate()
        daemon.wait(30)


def count(where: Workspace, type_: str) -> int:
    """Counts the events of a type."""
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(connect_readonly(where.log)) as log:
        return int(log.execute("SELECT count(*) FROM events WHERE type = ?", [type_]).fetchone()[0])
    return 0


def wait_for(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Waits until a condition holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.01)


def drop(where: Workspace, name: str) -> int:
    """Drops a task file whole, as `cai submit` does, and gives the monotonic time of the rename."""
    aside = where.folder(Status.PENDING) / f".{name}"
    aside.write_text(TEXT)
    begun_ns = time.monotonic_ns()
    aside.rename(where.file(Status.PENDING, name))
    return begun_ns


# ------------------------------------------------------------------ measurements


def latency(drops: int) -> list[Figure]:
    """Measures one task at a time on an idle daemon."""
    claimed, began = [], []
    with workspace() as where, serving(where):
        log = connect_readonly(where.log)
        for number in range(drops):
            name = f"20260105_090000_P1_drop-{number}"
            begun_ns = drop(where, name)
            seen = "SELECT 1 FROM events WHERE task_id = ? AND type = ?"
            while not log.execute(seen, [name, "task.claimed"]).fetchone():
                time.sleep(POLL_S)
            claimed.append((time.monotonic_ns() - begun_ns) / 1e6)
            while not log.execute(seen, [name, "task.completed"]).fetchone():
                time.sleep(0.005)
            noted = (where.data_dir(f"{name}.1") / "began").read_text()
            began.append((int(noted) - begun_ns) / 1e6)
            time.sleep(0.02 + 0.001 * (number % 50))  # so that no rhythm of the daemon is met each time
        log.close()
    claimed.sort()
    began.sort()
    return [
        Figure("drop → claim committed, p50", "ms", statistics.median(claimed), 10),
        Figure("drop → claim committed, p99", "ms", claimed[int(0.99 * (len(claimed) - 1))], 50),
        Figure("drop → handler code running, p50", "ms", statistics.median(began), 80),
        Figure("drop → handler code running, p99", "ms", began[int(0.99 * (len(began) - 1))]),
    ]


def throughput(drops: int) -> list[Figure]:
    """Measures a batch of tasks, from the first drop to the last completion."""
    with workspace() as where, serving(where):
        begun_s = time.monotonic()
        for number in range(drops):
            drop(where, f"20260105_090000_P1_drop-{number}")
        wait_for(lambda: count(where, "task.completed") == drops)
        return [Figure(f"whole tasks, {drops} at once, 1 worker", "1/s", drops / (time.monotonic() - begun_s))]


def appends(events: int) -> list[Figure]:
    """Measures the log alone."""

    def rate(group: int, total: int) -> float:
        with workspace() as where:
            log = EventLog(where.log, "bench")
            log.take_over()
            begun_s = time.monotonic()
            for first in range(0, total, group):
                log.append([report(first + n) for n in range(group)], "2026-01-05T09:00:00.000Z", ids())
            elapsed_s = time.monotonic() - begun_s
            log.close()
            return total / elapsed_s

    return [
        Figure("durable events, one a transaction", "1/s", rate(1, events), 1000, at_least=True),
        Figure("durable events, 100 a transaction", "1/s", rate(100, 20 * events), 10_000, at_least=True),
    ]


def ids() -> Iterator[str]:
    """Gives ids that no two events share."""
    return (os.urandom(16).hex() for _ in itertools.count())


def report(number: int) -> lifecycle.Reported:
    """Makes the commonest event: one figure of a run."""
    said = {"name": "loss", "value": 2.0, "at": {"step": number}}
    return lifecycle.Reported("20260105_090000_P1_t", "20260105_090000_P1_t.1", 1, "measured", number, said)


def lived_in(where: Workspace, events: int, events_a_task: int = 100) -> None:
    """Fills a log with completed tasks, each with its reports, and their files."""
    log = EventLog(where.log, "bench")
    log.take_over()
    numbered = ids()
    spec = lifecycle.Spec(handler="note")
    for number in range(events // events_a_task):
        name = f"20260105_090000_P1_t{number}"
        run = f"{name}.1"
        said = [{"name": "loss", "value": 2.0, "at": {"step": step}} for step in range(events_a_task - 7)]
        log.append(
            [
                lifecycle.Submitted(name, TEXT, spec),
                lifecycle.Claimed(name, run, 1),
                lifecycle.Moved(name, Status.PENDING, Status.IN_PROGRESS),
                lifecycle.Spawned(name, run, 1, 1, 1, ""),
                *(lifecycle.Reported(name, run, 1, "measured", n, s) for n, s in enumerate(said)),
                lifecycle.Exited(name, run, 1, "completed", 0),
                lifecycle.Completed(name),
                lifecycle.Moved(name, Status.IN_PROGRESS, Status.COMPLETED),
            ],
            "2026-01-05T09:00:00.000Z",
            numbered,
        )
        where.file(Status.COMPLETED, name).write_text(TEXT)
    log.close()


def start_up(events: int, bound_s: float | None) -> list[Figure]:
    """Measures a start with a long log: from exec to `daemon.started` on disk; then `cai status` and the files' sizes."""
    with workspace() as where:
        lived_in(where, events)
        begun_s = time.monotonic()
        with serving(where) as daemon:
            elapsed_s = time.monotonic() - begun_s
            wait_for(lambda: cpu_s(daemon.pid) == (time.sleep(0.5), cpu_s(daemon.pid))[1])
            status = Path(f"/proc/{daemon.pid}/status").read_text()
            rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
            commands = {
                "cai status": command_ms(where, "status"),
                "cai events --task": command_ms(where, "events", "--task", "20260105_090000_P1_t7"),
            }
        size = sum(path.stat().st_size for path in where.state.glob("events.db*"))
        shape = f"{events:,} events"
        return [
            Figure(f"start, {shape}", "s", elapsed_s, bound_s),
            Figure(f"daemon's memory, {shape}", "MiB", rss),
            Figure(f"log's size, {shape}", "B/event", size / events),
            *(Figure(f"{name}, {shape}", "ms", value) for name, value in commands.items()),
        ]


def rescan(files: int) -> list[Figure]:
    """Measures a whole look at the folders when nothing has changed."""
    with workspace() as where:
        for number in range(files):
            where.file(Status.PENDING, f"20260105_090000_P1_t{number}").write_text(TEXT)
        where.pause.touch()
        daemon = Daemon(where, Settings(), ids=ids(), kinds=KINDS, say=lambda _: None)
        daemon.start()
        begun_s = time.monotonic()
        daemon.step()
        first_s = time.monotonic() - begun_s
        again = Intake(where, KINDS, daemon.tasks, lambda _: [], marks=daemon._intake.marks)
        times = [timed(lambda: again.everything(time.monotonic())) for _ in range(20)]
        daemon.close()
    return [
        Figure(f"rescan of {files:,} files", "ms", 1000 * statistics.median(times), 100),
        Figure(f"intake of {files:,} files dropped at once", "s", first_s),
    ]


def timed(work: Callable[[], object]) -> float:
    """Times one call, in seconds."""
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s


def cpu_s(pid: int) -> float:
    """Gives the processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(seconds: float) -> list[Figure]:
    """Measures the daemon when there is nothing to do."""
    with workspace() as where, serving(where) as daemon:
        time.sleep(2.0)
        before = cpu_s(daemon.pid)
        time.sleep(seconds)
        return [Figure("idle CPU", "%", 100 * (cpu_s(daemon.pid) - before) / seconds, 0.5)]


def command_ms(where: Workspace, *arguments: str, times: int = 11) -> float:
    """Gives the median wall time of a command."""
    argv = [sys.executable, "-c", SERVE, "-w", str(where.root), *arguments]
    run = lambda: subprocess.run(argv, check=True, capture_output=True)  # noqa: E731
    return 1000 * statistics.median(timed(run) for _ in range(times))


def status() -> list[Figure]:
    """Measures `cai status` of a queue of a hundred tasks."""
    with workspace() as where:
        lived_in(where, 10_000)
        return [Figure("cai status, 100 tasks", "ms", command_ms(where, "status"), 150)]


# ------------------------------------------------------------------ peers


def peers(drops: int) -> dict[str, tuple[float, float]]:
    """Measures submit → start (ms, median) and whole tasks a second of the spoolers that are installed."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="cai-bench-") as folder:
        environment = {**os.environ, "TMPDIR": folder, "NQDIR": folder, "TS_SOCKET": f"{folder}/socket"}
        for name, argv in (("task-spooler", ["tsp", "-n"]), ("nq", ["nq", "-q"])):
            if shutil.which(argv[0]):
                found[name] = _peer(argv, Path(folder), environment, drops)
        if "task-spooler" in found:
            subprocess.run(["tsp", "-K"], env=environment, check=False)
    return found


def _peer(argv: Sequence[str], folder: Path, environment: dict[str, str], drops: int) -> tuple[float, float]:
    def submit(number: int) -> None:
        job = ["sh", "-c", f"date +%s%N > {folder}/began-{number}"]
        subprocess.run([*argv, *job], env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def began_ns(number: int) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return int((folder / f"began-{number}").read_text() or 0) or None
        return None

    latencies = []
    for number in range(drops):
        begun_ns = time.time_ns()
        submit(number)
        wait_for(lambda number=number: began_ns(number))  # type: ignore[misc]
        latencies.append((began_ns(number) - begun_ns) / 1e6)  # type: ignore[operator]
    begun_s = time.monotonic()
    for number in range(drops, 2 * drops):
        submit(number)
    wait_for(lambda: all(began_ns(n) for n in range(drops, 2 * drops)))
    for number in range(2 * drops):
        (folder / f"began-{number}").unlink()
    return statistics.median(latencies), drops / (time.monotonic() - begun_s)


# ------------------------------------------------------------------ the table


def machine() -> str:
    """Describes the machine in a line."""
    info = Path("/proc/cpuinfo").read_text()
    cpu = next((line.partition(": ")[2] for line in info.splitlines() if line.startswith("model name")), "?")
    kind = file_system(Path(tempfile.gettempdir()))
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, {kind}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}; load before {load}"
    )


def main() -> None:
    """Runs every measurement and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--million", action="store_true", help="also a log of 1,000,000 events (minutes)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    part = 10 if arguments.quick else 1
    described = machine()
    figures = [
        *latency(200 // part),
        *throughput(200 // part),
        *appends(2000 // part),
        *start_up(100_000 // part, 2.0),
        *(start_up(1_000_000, None) if arguments.million else []),
        *rescan(10_000 // part),
        *idle(30.0 / part),
        *status(),
    ]
    beside = peers(50 // part)
    print(f"{described}, after {os.getloadavg()[0]:.1f}\n")
    for figure in figures:
        print(f"{figure.name:48} {figure.value:12,.2f} {figure.unit:8} {figure.verdict}")
    began = next(f.value for f in figures if f.name.startswith("drop → handler"))
    whole = next(f.value for f in figures if f.name.startswith("whole tasks"))
    for name, (latency_ms, rate) in beside.items():
        print(
            f"{name + ': submit → running, p50':48} {latency_ms:12,.2f} ms       cai takes {began / latency_ms:.1f} ×"
        )
        print(f"{name + ': whole tasks':48} {rate:12,.2f} 1/s      cai does {whole / rate:.2f} ×")
    if arguments.json:
        rows = [{"name": f.name, "value": f.value, "unit": f.unit, "verdict": f.verdict} for f in figures]
        arguments.json.write_text(json.dumps({"machine": described, "figures": rows, "peers": beside}, indent=1) + "\n")


if __name__ == "__main__":
    main()
