"""Attempts as processes: launched through a shim that outlives the daemon, recognised again, heard, stopped, buried.

Everything that is known of an attempt lies in its folder, state/runs/RUN/attempt-N/: request.json (what to do),
shim.json (who does it), events.jsonl (what it says), outcome.json (how it ended), exit.json (that it is gone).
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import shim
from handlers.contract import (
    EVENTS,
    OUTCOME,
    REQUEST,
    Failed,
    Outcome,
    Request,
    loads_plain,
    outcome_from_json,
    write_durably,
)

SHIM, EXIT, STDOUT, STDERR = "shim.json", "exit.json", "stdout.log", "stderr.log"
NOBODY = 0  # the pid of an attempt that was claimed so that nobody else does
MARK = "CAI_ATTEMPT"  # in the environment of every process of an attempt
MAX_LINE_BYTES = 256 << 10
MAX_READ_BYTES = 4 << 20  # of events.jsonl at a time, so that a flood cannot hold the daemon up
MAX_HEARD_BYTES = 64 << 20  # of an attempt's events.jsonl; what comes after stays in that file alone
MAX_OUTCOME_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Shim:
    """A shim process, told from every other process that ever was."""

    pid: int
    start_time: int
    boot_id: str

    def is_alive(self) -> bool:
        """Tells whether it is still running."""
        try:
            if shim.identity(self.pid) != (self.start_time, self.boot_id):
                return False
            state = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in (b"Z", b"X")

    def open(self) -> int | None:
        """Opens a descriptor that becomes readable when the process ends, or gives None where it has ended."""
        if self.pid == NOBODY:
            return None
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.is_alive():
            return fd
        os.close(fd)
        return None

    def stop(self) -> None:
        """Asks the attempt to stop: the shim passes it on, and kills what has not ended after the time of grace."""
        fd = self.open()
        if fd is not None:
            try:
                signal.pidfd_send_signal(fd, signal.SIGTERM)
            finally:
                os.close(fd)


@dataclass(frozen=True, slots=True)
class End:
    """What an attempt left when its processes were gone."""

    outcome: Outcome | None
    code: int | None
    signal: int | None
    seconds: float
    max_rss_bytes: int
    asked: bool  # to stop
    stderr_tail: str


class Launcher:
    """Starts attempts, and reaps the shims that this process has started."""

    def __init__(self, command: Sequence[str], grace_s: float) -> None:
        """Prepares.

        Args:
            command: what runs an attempt; the attempt's folder is appended.
            grace_s: from SIGTERM to SIGKILL.
        """
        self._command = tuple(command)
        self._grace_s = grace_s
        self._children: dict[Path, subprocess.Popen[bytes]] = {}

    def launch(self, attempt_dir: Path, request: Request) -> None:
        """Starts an attempt. Doing so twice starts it once: the shim that comes second goes away."""
        attempt_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(attempt_dir / REQUEST, request.to_json())
        with open(attempt_dir / STDOUT, "ab") as out, open(attempt_dir / STDERR, "ab") as err:
            self._children[attempt_dir] = subprocess.Popen(
                [sys.executable, "-I", "-S", shim.__file__, os.fspath(attempt_dir), str(self._grace_s), "--",
                 *self._command, os.fspath(attempt_dir)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, cwd=request.workspace,
                env={**os.environ, MARK: os.fspath(attempt_dir), "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def is_starting(self, attempt_dir: Path) -> bool:
        """Tells whether a shim that was launched for an attempt has not ended."""
        return attempt_dir in self._children

    def reap(self) -> None:
        """Lets the shims that have ended go."""
        self._children = {path: child for path, child in self._children.items() if child.poll() is None}


def shim_of(attempt_dir: Path) -> Shim | None:
    """Gives the shim that has claimed an attempt, or None where none has (yet)."""
    try:
        return Shim(**json.loads((attempt_dir / SHIM).read_text()))
    except FileNotFoundError:
        return None


def forbid(attempt_dir: Path) -> bool:
    """Claims an attempt for nobody, so that a shim that is about to start will not. Tells whether it was in time."""
    attempt_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        shim.put(os.fspath(attempt_dir / SHIM), json.dumps({"pid": NOBODY, "start_time": 0, "boot_id": ""}), once=True)
    except FileExistsError:
        return False
    return True


def bury(attempt_dir: Path, hide: Callable[[str], str] = str) -> End:
    """Reads what a dead attempt left, after killing whatever of it may still run (its shim may have been killed).

    Args:
        attempt_dir: the attempt's folder.
        hide: takes the secrets out of a text.
    """
    for pid in _strays(attempt_dir):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    left = _read_json(attempt_dir / EXIT)
    outcome: Outcome | None = None
    trouble = ""
    try:
        outcome = outcome_from_json(hide(_read_outcome(attempt_dir / OUTCOME)))
    except FileNotFoundError:
        trouble = hide(tail(attempt_dir / STDERR))
    except ValueError as error:  # it is there for good: to run again would leave the same
        outcome = Failed(f"{OUTCOME}: {error}")
    return End(
        outcome,
        left.get("code"),
        left.get("signal"),
        float(left.get("seconds", 0.0)),
        int(left.get("max_rss_bytes", 0)),
        bool(left.get("asked")),
        trouble,
    )


def _read_outcome(path: Path) -> str:
    """Reads what a handler has left as its outcome.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no file, or no text.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("a symbolic link") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("no regular file")
        return os.pread(fd, MAX_OUTCOME_BYTES, 0).decode()
    finally:
        os.close(fd)


def _strays(attempt_dir: Path) -> Iterator[int]:
    mark = f"{MARK}={attempt_dir}".encode()
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                environment = Path(entry.path, "environ").read_bytes()
            except (PermissionError, FileNotFoundError, ProcessLookupError):
                continue
            if mark in environment.split(b"\0"):
                yield int(entry.name)


def tail(path: Path, lines: int = 5, size_bytes: int = 2000) -> str:
    """Gives the last lines of a log file that anything may have written, as plain text."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - size_bytes))
            text = stream.read(size_bytes).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    printable = "".join(c if c.isprintable() or c == "\n" else "·" for c in text)
    return " | ".join(line.strip() for line in printable.splitlines()[-lines:] if line.strip())


def reports(
    attempt_dir: Path, offset: int, hide: Callable[[str], str] = str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Gives the lines of events.jsonl after an offset, each with the offset of its end; what is no report is empty.

    An attempt that says more than MAX_HEARD_BYTES is cut short, with a report that says so.
    """
    if offset >= MAX_HEARD_BYTES:
        return
    try:
        with open(attempt_dir / EVENTS, "rb") as stream:
            stream.seek(offset)
            content = stream.read(MAX_READ_BYTES)
    except FileNotFoundError:
        return
    for line in io.BytesIO(content):
        if not line.endswith(b"\n") and len(line) < MAX_READ_BYTES:
            return  # still being written
        offset += len(line)
        try:
            report = loads_plain(hide(line.decode())) if len(line) <= MAX_LINE_BYTES else None
        except ValueError:
            report = None
        if offset >= MAX_HEARD_BYTES:
            report = {"type": "measured", "name": "reports.cut_at_bytes", "value": offset}
        yield offset, report if isinstance(report, dict) and _is_shallow(report) else {}
        if offset >= MAX_HEARD_BYTES:
            return


def _is_shallow(value: Any, depth: int = 3) -> bool:
    """Tells whether a report is of the size that the contract gives it: figures, texts, and one level of them."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(item, depth - 1) for item in inner)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
