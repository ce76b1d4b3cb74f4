"""Kills and faults at chosen system calls of a real daemon, and says what is wrong afterwards.

The workload is three tasks: one completes, one is blocked, one is cancelled by hand while it runs. strace counts the
system calls of one process and injects SIGKILL or an error at the Nth of a kind; a kill comes before the call is carried
out, so that between two neighbouring points lies exactly one call. The modes say whose calls are meant:

    daemon    strace without -f: the daemon's own thread of decisions, and none of its children
    restart   the same, and the restart is killed too, at a point that the first one picks
    stop      SIGTERM in place of SIGKILL: a stop that comes at any moment is logged, and the next start goes on
    shim      the shim of each task's first attempt
    handler   the handler of each task's first attempt
    tree      strace -f: whichever process gets there first, daemon, shim and handler alike, each with its own count
    fault     no kill, but an error, once: a full disk, a quota, a broken disk, a read-only one, by turns
    lasting   the same error from that call on, until the daemon is killed

What must hold afterwards is `violations`. Where the daemon alone is killed, the work must not notice: one claim, one
attempt, one start of the handler for each task.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemon import audit, log, taskfile
from daemon.task import FOLDERS
from daemon.workspace import Workspace
from handlers.contract import OUTCOME

ROOT = Path(__file__).resolve().parent.parent.parent
CALLS = ("rename", "renameat2", "fsync", "fdatasync", "pwrite64", "write", "unlink", "ftruncate", "link")
ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EROFS")
LIMIT_S = 60.0  # for a run that takes two seconds; what exceeds it hangs
TASKS = {"complete": "completed", "block": "blocked", "cancel": "blocked"}
TEXT = """---
handler: act
params: {{do: {do}}}
---
# A task that should {do}

- [ ] `figure >= 1`
- [ ] a person likes it · ünïcode

## Status Updates

a line that somebody wrote here

## Notes
trailing spaces   \tand a tab
"""

TRACED = "tests/reliability/traced.py"
WITHOUT_STRACE = "strace is missing: `apt-get install strace`"


@dataclass(frozen=True, slots=True)
class Point:
    """The Nth call of a kind."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.number}"


@dataclass
class Tally:
    """What one mode has tried, and what it found."""

    crash_points: int = 0
    hit: int = 0  # where the call came and was struck; the calls of two runs differ by a few
    restarts: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Takes another tally in."""
        self.crash_points += other.crash_points
        self.hit += other.hit
        self.restarts += other.restarts
        self.violations += other.violations


def file_name(do: str) -> str:
    """Names the task that does something; in order of the alphabet, so that the cancelled one comes last."""
    return f"20260105_09000{list(TASKS).index(do)}_P1_{do}"


def prepare(folder: Path, tasks: Sequence[str] = tuple(TASKS)) -> Workspace:
    """Makes a workspace with the workload in pending/."""
    where = Workspace(folder)
    where.create()
    (folder / "cai.yaml").write_text("backoff_s: 0\nstop_grace_s: 5\nmax_crashes: 4\n")
    for do in tasks:
        (where.folder(FOLDERS[0]) / f"{file_name(do)}.md").write_text(TEXT.format(do=do))
    return where


# ------------------------------------------------------------------ running


def serve(where: Workspace, script: str = "tests/serve.py") -> list[str]:
    """Gives the command that drains the workspace's queue."""
    return [sys.executable, str(ROOT / script), "-w", str(where.root), "once"]


def tracer(out: Path, inject: str, *options: str, calls: Sequence[str] = CALLS) -> list[str]:
    """Gives the strace command that a command is put behind."""
    injection = ["-e", f"inject={inject}"] if inject else []
    return ["strace", "-q", "-o", str(out), *options, "-e", f"trace={','.join(calls)}", *injection]


def run(argv: Sequence[str], cwd: Path, limit_s: float = LIMIT_S, **environment: str) -> tuple[int | None, str]:
    """Runs a command to its end; gives its exit status, None where it hung, and what it printed."""
    process = subprocess.Popen(
        argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        printed, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        printed, _ = process.communicate()
        return None, printed
    return process.returncode, printed


def traces(folder: Path, mode: str) -> list[list[str]]:
    """Gives the calls of an undisturbed run in their order, a list for each process that the mode means."""
    where = prepare(folder)
    if mode in ("shim", "handler"):
        run(serve(where, TRACED), folder, **{f"CAI_SWEEP_{mode.upper()}": "-"})
        paths = sorted(folder.glob(f"{mode}-*.strace"))
    else:
        paths = [folder / "daemon.strace"]
        run([*tracer(paths[0], ""), *serve(where)], folder)
    return [[line for line in path.read_text().splitlines() if re.match(r"\w+\(", line)] for path in paths]


def points(calls: Sequence[str]) -> list[Point]:
    """Names the calls of one process, in their order."""
    seen: Counter[str] = Counter()
    named = []
    for line in calls:
        call = line.partition("(")[0]
        seen[call] += 1
        named.append(Point(call, seen[call]))
    return named


def all_points(processes: Sequence[Sequence[str]]) -> list[Point]:
    """Names every point that some process reaches, each once."""
    return list(dict.fromkeys(point for calls in processes for point in points(calls)))


def beside_moves(calls: Sequence[str]) -> list[Point]:
    """Picks the last call before each move of a task file has happened, and the first one after."""
    named = points(calls)
    moves = [number for number, line in enumerate(calls) if "RENAME_NOREPLACE" in line and line.endswith("= 0")]
    return [point for number in moves for point in named[number : number + 2]]


def was_struck(folder: Path) -> bool:
    """Tells whether strace has killed, stopped or failed a call in this workspace."""
    marks = ("+++ killed by SIGKILL", "--- SIGTERM {si_signo=SIGTERM, si_code=SI_KERNEL", "(INJECTED)")
    return any(mark in path.read_text(errors="replace") for path in folder.glob("*.strace") for mark in marks)


def crash(folder: Path, mode: str, point: Point, seed: int = 0) -> Tally:
    """Tries one crash point: the workload, struck there; the restart; what must hold."""
    where = prepare(folder)
    inject = f"{point.call}:signal={'SIGTERM' if mode == 'stop' else 'SIGKILL'}:when={point.number}"
    trace = folder / "daemon.strace"
    tally = Tally(crash_points=1)
    environment: dict[str, str] = {}
    match mode:
        case "daemon" | "restart" | "stop":
            argv = [*tracer(trace, inject), *serve(where)]
        case "tree":
            argv = [*tracer(trace, inject, "-f"), *serve(where)]
        case _:
            argv, environment = serve(where, TRACED), {f"CAI_SWEEP_{mode.upper()}": inject}
    status, printed = run(argv, folder, **environment)
    tally.hit += was_struck(folder)
    if mode == "restart" and status == -9:
        chosen = random.Random(f"{seed} {point}")
        second = f"{chosen.choice(('fsync', 'fdatasync', 'pwrite64', 'pwrite64', 'write', 'renameat2', 'unlink'))}"
        second += f":signal=SIGKILL:when={int(2 ** chosen.uniform(0, 7))}"
        tally.restarts += 1
        status, printed = run([*tracer(trace, second), *serve(where)], folder)
        inject += f" then {second}"
    if mode == "stop" and tally.hit and status is not None:
        tally.violations += [f"{mode}, {inject}: {text}" for text in _stop_faults(where, status, printed)]
    if status == -9 or (mode == "stop" and tally.hit):
        tally.restarts += 1
        status, printed = run(serve(where), folder)
    if status != 1:  # two of the three tasks end up blocked, which is the answer no
        tally.violations.append(f"{mode}, {inject}: the last run {'hung' if status is None else f'exited {status}'}: "
                                + printed[-600:])  # fmt: skip
    untouched = mode in ("daemon", "restart")
    tally.violations += [f"{mode}, {inject}: {text}" for text in violations(where, work_undisturbed=untouched)]
    if not tally.violations:
        shutil.rmtree(folder)
    return tally


def _stop_faults(where: Workspace, status: int, printed: str) -> list[str]:
    """A daemon that was asked to stop says so in its log and leaves nobody at work."""
    if status not in (0, 1, -15):  # -15: it came after the stop, while the queue's end was being printed
        return [f"the stopped daemon exited {status}: {printed[-600:]}"]
    connection = log.connect_readonly(where.log)
    types = [row.type for row in log.select_events(connection)]
    connection.close()
    found = [] if types[-1] == "daemon.stopped" else [f"the last event of the stopped daemon is {types[-1]}"]
    if types.count("task.claimed") != types.count("run.exited"):
        found.append(f"{types.count('task.claimed')} claims and {types.count('run.exited')} exits when it had stopped")
    return found


def fault(folder: Path, mode: str, point: Point) -> Tally:
    """Tries an error at one point: once (`fault EIO`), or from there on until somebody ends the daemon (`lasting EIO`).

    The daemon must say what is wrong, hang nowhere, show no traceback, and go on where the error was passing. A restart
    on a sound disk then drains the queue.
    """
    where = prepare(folder)
    kind, error = mode.split()
    inject = f"{point.call}:error={error}:when={point.number}{'+' if kind == 'lasting' else ''}"
    tally = Tally(crash_points=1)
    argv = [*tracer(folder / "daemon.strace", inject), *serve(where)]
    status, printed = run(argv, folder, limit_s=5.0 if kind == "lasting" else LIMIT_S)
    tally.hit += was_struck(folder)
    if status is None and kind == "fault":
        tally.violations.append(f"{inject}: hung: {printed[-600:]}")
    if "Traceback" in printed:
        tally.violations.append(f"{inject}: a traceback: {printed[-1500:]}")
    told = point.call == "write" or any(word in printed for word in ("Degraded", "cai: "))  # the terminal is written to
    if status != 1 and not told:
        tally.violations.append(f"{inject}: exited {status} without a word: {printed[-600:]}")
    tally.restarts += 1
    status, printed = run(serve(where), folder)
    if status != 1:
        how = "hung" if status is None else f"exited {status}"
        tally.violations.append(f"{inject}: the restart {how}: {printed[-600:]}")
    tally.violations += [f"{inject}: {text}" for text in violations(where, work_undisturbed=True)]
    if not tally.violations:
        shutil.rmtree(folder)
    return tally


# ------------------------------------------------------------------ what must hold


def violations(where: Workspace, work_undisturbed: bool = False) -> list[str]:
    """Says what is wrong with a workspace whose queue has been drained.

    Args:
        where: the workspace of `prepare`.
        work_undisturbed: whether no process of an attempt was killed, so that each task ran exactly once.
    """
    try:
        found = audit.log_faults(where.log) + audit.disagreements(where)
    except (OSError, ValueError) as error:
        return [f"{type(error).__name__}: {error}"]
    connection = log.connect_readonly(where.log)
    rows = list(log.select_events(connection))
    connection.close()
    known = {file_name(do) for do in TASKS}
    found += [
        f"{row.task_id}: a task that nobody submitted"
        for row in rows
        if (row.task_id or file_name("block")) not in known
    ]
    for do, folder in TASKS.items():
        name = file_name(do)
        mine = [row for row in rows if row.task_id == name]
        places = [status.value for status in FOLDERS if where.file(status, name).exists()]
        if places != [folder]:
            found.append(f"{name}: lies in {places}, belongs in {folder}/")
            continue
        lines = list(where.file(next(s for s in FOLDERS if s.value == folder), name).read_bytes().split(b"\n"))
        found += _text_faults(name, do, lines)
        found += _history_faults(name, do, mine, work_undisturbed)
        found += _run_faults(where, name, mine, work_undisturbed)
    for status in FOLDERS:
        found += [f"{status.value}/{path.name}: left behind" for path in where.folder(status).iterdir()
                  if path.stem not in known or path.suffix != ".md"]  # fmt: skip
    return found


def _text_faults(name: str, do: str, lines: list[bytes]) -> list[str]:
    """Every line of the person is there, once, in its order; every other line is the daemon's."""
    wanted = TEXT.format(do=do).encode().split(b"\n")
    ours = [x for x in lines if x.startswith(b"- [20")]
    theirs = [x.replace(b"- [x]", b"- [ ]") for x in lines if x not in ours]
    found = [f"{name}: the status line {x!r} is there twice" for x, times in Counter(ours).items() if times > 1]
    if [x for x in theirs if x] != [x for x in wanted if x]:
        found.append(f"{name}: its text was changed: {theirs}")
    if taskfile.STATUS_HEADING.encode() not in lines:
        found.append(f"{name}: the heading of its status lines is gone")
    return found


def _history_faults(name: str, do: str, rows: Sequence[log.Row], work_undisturbed: bool) -> list[str]:
    types = Counter(row.type for row in rows)
    end = {"complete": "task.completed", "block": "task.blocked", "cancel": "task.cancelled"}[do]
    found = [f"{name}: {types[type_]} × {type_}, wanted 1" for type_ in ("task.submitted", end) if types[type_] != 1]
    by_hand = {"cancel": 1}.get(do, 0)
    if types["file.external"] != by_hand:
        found.append(f"{name}: {types['file.external']} moves were taken for a person's, {by_hand} were")
    claims = [(row.run_id, row.attempt) for row in rows if row.type == "task.claimed"]
    exits = [(row.run_id, row.attempt) for row in rows if row.type == "run.exited"]
    spawns = [(row.run_id, row.attempt) for row in rows if row.type == "run.spawned"]
    if sorted(claims) != sorted(exits) or len(set(claims)) != len(claims):
        found.append(f"{name}: claims {claims} and exits {exits} do not pair up")
    if len(set(spawns)) != len(spawns) or not set(spawns) <= set(claims):
        found.append(f"{name}: spawned {spawns} of the claims {claims}")
    if work_undisturbed and len(claims) != 1:
        found.append(f"{name}: claimed {len(claims)} times, though its work was left in peace")
    settled = [row.seq for row in rows if row.type in ("task.completed", "task.blocked", "task.cancelled")]
    found += [f"{name}: claimed after its end" for row in rows
              if row.type == "task.claimed" and settled and row.seq > settled[0]]  # fmt: skip
    return found


def _run_faults(where: Workspace, name: str, rows: Sequence[log.Row], work_undisturbed: bool) -> list[str]:
    found = []
    starts_file = where.data_dir(f"{name}.1") / "starts.txt"
    starts = [int(x) for x in starts_file.read_text().split()] if starts_file.exists() else []
    claims = [row.attempt or 0 for row in rows if row.type == "task.claimed"]
    if len(set(starts)) != len(starts) or not set(starts) <= set(claims):
        found.append(f"{name}: its handler was started in the attempts {starts}, claimed were {claims}")
    if work_undisturbed and starts != [1]:
        found.append(f"{name}: its handler was started in the attempts {starts}, wanted exactly the first")
    for attempt in claims[:-1]:
        path = where.attempt_dir(f"{name}.1", attempt) / OUTCOME
        if path.exists() and json.loads(path.read_text())["outcome"] != "requeue":
            found.append(f"{name}: run again after the outcome of attempt {attempt}")
    return found
