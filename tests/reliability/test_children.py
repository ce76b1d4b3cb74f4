"""Handlers that misbehave: what they can cost is bounded, and what they leave behind is cleared away."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import workers
from daemon.service import Daemon
from daemon.task import Status
from daemon.workspace import Workspace
from tests.conftest import ACT, Queue, name_of, wait_until
from tests.reliability import sweep
from tests.reliability.live import query

A = name_of("a")
CGROUPS = Path("/sys/fs/cgroup")


_PRELUDE = """
import json, os, sys
here = sys.argv[1]
def say(text):
    os.write(os.open(here + '/events.jsonl', os.O_WRONLY | os.O_APPEND | os.O_CREAT), text)
def end(**outcome):
    open(here + '/outcome.json', 'w').write(json.dumps(outcome))
"""


def _doing(queue: Queue, code: str) -> None:
    """Makes the next attempts run some code as their handler, with the attempt's folder in `here`."""
    assert queue.daemon
    script = queue.workspace.root / "handler.py"
    script.write_text(f"{_PRELUDE}{code}\n")
    queue.daemon._launcher._command = (sys.executable, "-S", str(script))


def _alive(marker: str) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                if marker.encode() in Path(entry.path, "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def test_a_double_fork_does_not_escape_a_cancel(queue: Queue) -> None:
    """A grandchild in a session of its own, which ignores SIGTERM, is gone soon after its task was cancelled."""
    marker = f"escaped-{os.getpid()}"
    _doing(queue, f"""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(300)', '{marker}'])
        os._exit(0)
os.wait()
say(b'{{"type": "checkpointed", "path": "here"}}\\n')
time.sleep(300)
""")  # fmt: skip
    assert queue.daemon
    queue.daemon._launcher._grace_s = 0.5
    queue.drop(A, ACT)
    queue.until(lambda: len(_alive(marker)) == 2 and "run.checkpointed" in queue.types(A), "the grandchildren")
    queue.move(A, Status.IN_PROGRESS, Status.BLOCKED)
    queue.until(lambda: not queue.task(A).live, "the end")
    assert _alive(marker) == []


def test_a_flood_of_output_is_cut(queue: Queue) -> None:
    """A gigabyte on the terminal leaves less than the limit on the disk, and the end of it can be read."""
    _doing(
        queue,
        "for _ in range(1024): os.write(1, b'x' * (1 << 20))\nos.write(1, b'the end\\n')\nend(outcome='completed')",
    )
    queue.drop(A, ACT)
    queue.until_status(A, Status.COMPLETED)
    out = queue.workspace.attempt_dir(f"{A}.1", 1) / "stdout.log"
    assert out.stat().st_blocks * 512 <= 64 << 20
    assert workers.tail(out).endswith("the end")
    shown = sweep.run([*sweep.serve(queue.workspace)[:-1], "logs", A], queue.workspace.root)[1]
    assert shown.endswith("the end\n")
    assert "\0" not in shown


def test_a_flood_of_reports_is_cut_short_and_said(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an attempt's reports a bounded part reaches the log, a bounded number of lines its file, and the outcome counts."""
    monkeypatch.setattr(workers, "MAX_HEARD_BYTES", 200_000)
    line = '{"type": "produced", "kind": "file", "path": "data/x"}\\n'
    _doing(queue, f"say(b'{line}' * 100_000)\nend(outcome='completed')")
    queue.drop(A, ACT)
    queue.until_status(A, Status.COMPLETED)
    types = queue.types(A)
    assert 1000 < types.count("run.produced") < 200_000 // 50
    assert query(queue.workspace, "SELECT value FROM metrics WHERE name = 'reports.cut_at_bytes'")[0][0] >= 200_000
    assert queue.text(A).count("Produced file") <= 100
    assert queue.text(A).count("More was reported") == 1


def test_a_flood_of_proposals_is_cut_short(queue: Queue) -> None:
    """A handler in a loop cannot fill the queue with task files."""
    _doing(queue, """
for n in range(1000):
    say(json.dumps({'type': 'proposed', 'name': f'20300101_000000_P1_p{n}', 'text': 'x'}).encode() + b'\\n')
end(outcome='completed')""")  # fmt: skip
    queue.drop(A, ACT)
    queue.until_status(A, Status.COMPLETED)
    assert queue.types(A).count("run.proposed") == 200


def test_words_without_end_leave_a_file_that_can_be_read(queue: Queue) -> None:
    """A reason of a megabyte is whole in the log and short in the file, which stays a task file."""
    _doing(queue, "end(outcome='blocked', reason='w' * 900_000, needs='n' * 100_000)")
    queue.drop(A, ACT)
    queue.until_status(A, Status.BLOCKED)
    assert len(queue.text(A)) < 5000
    assert len(query(queue.workspace, "SELECT reason FROM tasks")[0][0]) == 900_000


def test_a_task_file_that_cannot_be_written_to_does_not_keep_once_from_ending(workspace: Workspace) -> None:
    """Where a file has grown too large to be one, `cai once` ends all the same."""
    name = sweep.file_name("block")
    sweep.prepare(workspace.root, ("block",))
    assert sweep.run(sweep.serve(workspace), workspace.root)[0] == 1
    path = workspace.file(Status.BLOCKED, name)
    path.write_bytes(path.read_bytes() + b"\n" * (2 << 20))
    status, said = sweep.run(sweep.serve(workspace), workspace.root, limit_s=30.0)
    assert status == 1, said


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group of 40 MiB, of the first or the second kind, or a skipped test."""
    for parent, limit in ((CGROUPS / "memory", "memory.limit_in_bytes"), (CGROUPS, "memory.max")):
        group = parent / f"cai-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(40 << 20))
            yield group
            members = group / "cgroup.procs"
            wait_until(lambda members=members: not members.read_text(), "the group to empty")
        except FileNotFoundError:
            continue
        finally:
            group.rmdir()
        return
    pytest.skip("needs root and a writable memory control group below /sys/fs/cgroup")


def test_a_handler_that_the_kernel_kills_for_its_memory_is_a_crash(queue: Queue, small_memory: Path) -> None:
    """What the kernel's out-of-memory killer ends is tried again, then blocked with the signal; the daemon goes on."""
    _doing(queue, f"""
open('{small_memory}/cgroup.procs', 'w').write(str(os.getpid()))
kept = [bytearray(b'x' * (1 << 20)) for _ in range(4096)]
end(outcome='completed')""")  # fmt: skip
    queue.drop(A, ACT)
    queue.until_status(A, Status.BLOCKED, advance_s=1.0)
    assert "3 crashes in a row; attempt 3 ended without an outcome (signal 9)" in queue.task(A).reason
    counted = [small_memory / name for name in ("memory.oom_control", "memory.events")]
    assert any("oom_kill 3" in path.read_text() for path in counted if path.exists())


@pytest.mark.parametrize(
    "leaves", ["os.mkdir(here + '/outcome.json')", "os.symlink('/dev/zero', here + '/outcome.json')",
               "os.symlink('nowhere', here + '/outcome.json')", "open(here + '/exit.json', 'w').write('[1]')",
               "end(outcome='completed', metrics={'a': 10 ** 400})", "open(here + '/outcome.json', 'w').write('{' * 100000)"]
)  # fmt: skip
def test_an_outcome_that_is_none_blocks_its_task_and_nothing_else(queue: Queue, leaves: str) -> None:
    """Whatever lies where the outcome should, the daemon goes on, and the task is blocked in the end."""
    _doing(queue, leaves)
    queue.drop(A, ACT)
    queue.until_status(A, Status.BLOCKED, advance_s=1.0)
    assert isinstance(queue.daemon, Daemon)
