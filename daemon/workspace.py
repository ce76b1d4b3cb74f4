"""A workspace: where everything lies, its settings, and the lock that keeps it to one daemon."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from daemon.lifecycle import Limits
from daemon.task import FOLDERS, Status

INSTALLATION = Path(__file__).resolve().parent.parent
SETTINGS_FILE = "cai.yaml"
NETWORK_FILE_SYSTEMS = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "virtiofs", "vboxsf"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """What cai.yaml may set for the daemon; every key is optional."""

    workers: int = 1  # runs at a time; one GPU holds one model
    usd_per_hour: float = 0.0  # what this machine costs while a run is alive
    max_crashes: int = 3  # crashes in a row, without a checkpoint between them, that block a task
    backoff_s: float = 2.0  # before the second attempt; doubled after each crash
    stop_grace_s: float = 120.0  # from SIGTERM to SIGKILL: time to write a checkpoint
    scan_interval_s: float = 10.0  # a whole look at the folders; the watcher tells of changes in between
    pod_stop: str = ""  # the command that asks the provider to stop this machine; empty: it is never stopped
    pod_stopped: str = ""  # the command that exits 0 once the provider says that it is stopped
    pod_idle_minutes: float = 10.0  # of a queue that only a person can bring further, before the stop

    @property
    def limits(self) -> Limits:
        """How long a crashing task is tried again."""
        return Limits(self.max_crashes, self.backoff_s)


class BadWorkspace(Exception):
    """The folder is no workspace, or its settings are wrong; the message says what to do."""


class Locked(Exception):
    """Another daemon has the workspace."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths below one root."""

    root: Path

    @property
    def tasks(self) -> Path:
        """The folder of the four task folders."""
        return self.root / "tasks"

    @property
    def reviews(self) -> Path:
        """The folder of the reviewers' folders."""
        return self.root / "reviews"

    @property
    def state(self) -> Path:
        """What the machine remembers."""
        return self.root / "state"

    @property
    def log(self) -> Path:
        """The event log."""
        return self.state / "events.db"

    @property
    def log_copy(self) -> Path:
        """A second file with the log's events, for when the first one is damaged."""
        return self.state / "events.copy.db"

    @property
    def pause(self) -> Path:
        """The file whose presence stops the daemon from picking up work."""
        return self.state / "paused"

    @property
    def lock(self) -> Path:
        """The daemon's lock, which also names its holder."""
        return self.state / "daemon.lock"

    def folder(self, status: Status) -> Path:
        """The folder of the tasks of one status."""
        return self.tasks / status.value

    def file(self, status: Status, task_id: str) -> Path:
        """A task's file in one of the folders."""
        return self.folder(status) / f"{task_id}.md"

    def attempt_dir(self, run_id: str, attempt: int) -> Path:
        """What the machine remembers of one attempt."""
        return self.state / "runs" / run_id / f"attempt-{attempt}"

    def data_dir(self, run_id: str) -> Path:
        """What a run leaves behind."""
        return self.root / "data" / run_id

    def create(self) -> None:
        """Makes the folders and, where they are missing, the constitution and the settings file."""
        for folder in [*(self.folder(f) for f in FOLDERS), self.reviews, self.state, self.root / "data"]:
            folder.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o700)  # the log keeps the text of every task
        constitution = self.root / "constitution.yaml"
        if not constitution.exists() and (INSTALLATION / "constitution.yaml").exists():
            shutil.copy(INSTALLATION / "constitution.yaml", constitution)

    def check(self) -> None:
        """Makes sure that this is a workspace.

        Raises:
            BadWorkspace: a folder is missing.
        """
        missing = [str(f.relative_to(self.root)) + "/" for f in map(self.folder, FOLDERS) if not f.is_dir()]
        if missing:
            raise BadWorkspace(
                f"{self.root} is no workspace: {', '.join(missing)} missing; make one with `cai init {self.root}`"
            )

    def settings(self) -> Settings:
        """Reads cai.yaml.

        Raises:
            BadWorkspace: with every fault of the file.
        """
        path = self.root / SETTINGS_FILE
        if not path.exists():
            return Settings()
        import yaml

        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BadWorkspace(f"{path}: not readable as YAML: {error}") from error
        if not isinstance(raw, dict):
            raise BadWorkspace(f"{path}: expected `key: value` lines, got {type(raw).__name__}")
        known: dict[str, type] = {f.name: type(f.default) for f in fields(Settings)}
        faults = [f"{key}: unknown; the settings are {', '.join(known)}" for key in raw if key not in known]
        for key, value in raw.items():
            wanted = (int, float) if known.get(key) is float else int
            if known.get(key) is str:
                if not isinstance(value, str):
                    faults.append(f"{key}: expected a command, got {value!r}")
            elif key in known and (isinstance(value, bool) or not isinstance(value, wanted) or value < 0):
                faults.append(f"{key}: expected a number of at least 0, got {value!r}")
            elif key in ("workers", "max_crashes") and value < 1:
                faults.append(f"{key}: must be at least 1, got {value!r}")
        if bool(raw.get("pod_stop")) != bool(raw.get("pod_stopped")):
            faults.append("pod_stop and pod_stopped: one asks for the stop, the other confirms it; set both or neither")
        if faults:
            raise BadWorkspace(f"{path}: " + "; ".join(faults))
        return Settings(**{key: known[key](value) for key, value in raw.items()})


class Lock:
    """The right to be a workspace's daemon: a flock on a descriptor that no child inherits."""

    def __init__(self, path: Path, holder: dict[str, Any], take_over: bool = False) -> None:
        """Takes the lock.

        Args:
            path: state/daemon.lock.
            holder: what others are told of this daemon.
            take_over: take it from a holder that is stopped or hangs. That one is killed, which it survives without
                loss, since it may hold the log's lock too; where it runs on another machine, a new lock file is begun,
                and the log's epoch shuts it out when it wakes.

        Raises:
            Locked: another daemon holds it; the message names it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.ended = _end_holder(path) if take_over else None  # the pid of the daemon that was killed
        if take_over and self.ended is None:
            path.unlink(missing_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock_soon(self._fd)
        except BlockingIOError as error:
            os.close(self._fd)
            who = holder_of(path) or {}
            raise Locked(
                f"another daemon has this workspace: pid {who.get('pid', '?')} on {who.get('host', '?')} since "
                f"{who.get('since', '?')}; stop it, or take over with `cai up --take-over` where it hangs"
            ) from error
        self._holder = holder
        self.tell()

    def tell(self, **more: Any) -> None:
        """Writes what others are told of this daemon, in place: it needs no room on a full disk."""
        self._holder |= more
        text = json.dumps(self._holder).encode()[:1000].ljust(1024)
        os.pwrite(self._fd, text, 0)

    def release(self) -> None:
        """Gives the lock back."""
        os.close(self._fd)


def _lock_soon(fd: int) -> None:
    """Takes a lock that somebody may hold for an instant only, to see whether it is held (see `holder_of`)."""
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.01)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _end_holder(path: Path) -> int | None:
    """Kills the process that holds a lock, and gives its pid, or None where none of this machine's does."""
    pid = int((holder_of(path) or {}).get("pid", 0))
    if pid in (0, os.getpid()):
        return None
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, PermissionError):
        fd = os.pidfd_open(pid)
        try:
            # The pid may be another machine's, and name a stranger here: the holder is who has the file open.
            if any(_is_same(opened, path) for opened in Path(f"/proc/{pid}/fd").iterdir()):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                select.select([fd], [], [], 10.0)
                return pid
        finally:
            os.close(fd)
    return None


def _is_same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return False


def holder_of(path: Path) -> dict[str, Any] | None:
    """Tells who holds a workspace's lock, or None where nobody does."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            held: dict[str, Any] = json.loads(os.pread(fd, 1024, 0))
        except ValueError:
            held = {}
        return held
    finally:
        os.close(fd)
    return None


def find(start: Path) -> Workspace:
    """Finds the workspace that a folder lies in: itself or the nearest one above it.

    Raises:
        BadWorkspace: there is none.
    """
    for folder in [start.resolve(), *start.resolve().parents]:
        if all((folder / "tasks" / status.value).is_dir() for status in FOLDERS):
            return Workspace(folder)
    raise BadWorkspace(
        f"{start.resolve()} lies in no workspace; make one with `cai init DIR`, or name one with --workspace"
    )


def file_system(path: Path) -> str:
    """Gives the type of the file system that a path lies on, such as ext4 or nfs4."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        mount = before.split()[4].replace("\\040", " ")
        inside = str(path.resolve()) == mount or str(path.resolve()).startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, after.split()[0]
    return kind


def is_remote(path: Path) -> bool:
    """Tells whether a path lies on a network or FUSE file system: no inotify there, and no write-ahead log."""
    kind = file_system(path)
    return kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse")
