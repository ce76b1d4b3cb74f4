"""Finds the model server of a workspace, starts it, or has it make room: one model is on the device at a time.

state/model/ holds it: `life`, locked by whoever has the device for as long as it has it; `holder.json`, which says who and
what that is; the server's `socket` and its `log`; `asleep.json`, which says what server sleeps while a training has the
device; and `door`, locked while somebody looks or starts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from alignment.checkpoint import Checkpoint
from alignment.engines.interface import Completion, Sampling
from alignment.engines.server import ASLEEP, COMPLETION, HOLDER, KEPT, LIFE, SOCKET, hold_device, spec_of
from alignment.refusal import Refusal
from alignment.settings import EngineSettings

FOLDER = Path("state") / "model"
LOG, DOOR = "log", "door"
_ATTEMPT = "CAI_ATTEMPT"  # marks what belongs to one attempt and dies with it; a server does not
_LOOK_S = 0.2
_START_S = 60.0  # until a started server listens; loading comes after


class ServedEngine:
    """The engine in the workspace's model server; see `Engine`."""

    def __init__(self, folder: Path, lease: socket.socket, adapter: Path | None, facts: Mapping[str, Any]) -> None:
        self._folder, self._lease = folder, lease
        self._adapter = str(adapter) if adapter else None
        about = _ask(lease, {"do": "hello"})
        self.device, self.width = str(about["device"]), int(about["width"])
        self.facts: Mapping[str, Any] = {**facts, **about["facts"]}

    def complete(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int] = ()) -> list[Completion]:
        """Completes prompts; see `Engine`."""
        found = self._asked(do="complete", prompts=list(prompts), sampling=asdict(sampling), seeds=list(seeds))[
            "completions"
        ]
        return [Completion(**dict(zip(COMPLETION, one, strict=True))) for one in found]

    def logprobs(self, prompts: Sequence[str], labels: Sequence[str]) -> list[tuple[float, ...]]:
        """Reads labels' log-probabilities; see `Engine`."""
        return [
            tuple(one) for one in self._asked(do="logprobs", prompts=list(prompts), labels=list(labels))["logprobs"]
        ]

    def count_tokens(self, prompts: Sequence[str]) -> list[int]:
        """Counts tokens; see `Engine`."""
        return list(self._asked(do="count_tokens", prompts=list(prompts))["tokens"])

    def close(self) -> None:
        """Lets the server's idle time begin; see `Engine`."""
        self._lease.close()

    def _asked(self, **what: Any) -> Mapping[str, Any]:
        try:
            with _connect(self._folder) as connection:
                return _ask(connection, {**what, "adapter": self._adapter})
        except (ConnectionError, FileNotFoundError) as error:
            raise Refusal(
                f"the model server went away: {_tail(self._folder)}", f"see {self._folder / LOG}, then retry the task"
            ) from error


def lease_model(
    name: str, settings: EngineSettings, checkpoint: Checkpoint, workspace: Path, facts: Mapping[str, Any]
) -> ServedEngine:
    """Connects to the server that has a model loaded, or wakes it; where another model is, that one goes first.

    Args:
        name: the engine, transformers or vllm.
        facts: what the engine's own are added to.

    Raises:
        Refusal: the model cannot be loaded.
    """
    folder = _folder(workspace)
    adapter = None
    if name == "vllm":  # takes the adapter with each request, so that one server does for a base and what is made of it
        adapter, checkpoint = _one_adapter(settings, checkpoint)
    spec = spec_of(name, settings, checkpoint)
    key = key_of(spec, checkpoint)
    waiting = _Waiting()
    while True:
        with _door(folder):
            holder = _holder(folder)
            found = holder or _sleeper(folder)
            try:
                if found is None:
                    lease = _start(folder, {**spec, "key": key})
                elif found.get("key") == key:
                    lease = _connect(folder) if holder else _wake(folder)
                elif _makes_room(folder, found, "leave"):
                    continue
            except ConnectionError:
                continue  # its idle time was over that very moment
        if found is not None and found.get("key") != key:
            waiting.wait_for(found)
            continue
        try:
            return ServedEngine(folder, lease, adapter, facts)
        except ConnectionError as error:
            lease.close()
            if found is None:
                raise Refusal(
                    f"the model server died while it loaded: {_tail(folder)}", f"see {folder / LOG}"
                ) from error


def take_device(workspace: Path, what: str, *, alone: bool = False) -> ExitStack:
    """Takes the device for this process, which is to load a model itself.

    A server that nobody uses sleeps meanwhile, and does not count its idle time; it leaves if it cannot sleep.

    Args:
        what: who this is, for others that wait.
        alone: a server is to leave in any case.

    Returns:
        What lets others have the device when it is closed; they have it too when this process ends.
    """
    folder, waiting = _folder(workspace), _Waiting()
    while True:
        with _door(folder):
            holder = _holder(folder)
            if holder is None or _makes_room(folder, holder, "leave" if alone else "sleep"):
                if alone and (sleeper := _sleeper(folder)):
                    _makes_room(folder, sleeper, "leave")
                held = ExitStack()
                for descriptor in (hold_device(folder, {"what": what}), *_beside_sleeper(folder)):
                    held.callback(os.close, descriptor)
                return held
        waiting.wait_for(holder)


class _Waiting:
    """Waits a little at a time for whoever has the device, and says once who that is."""

    def __init__(self) -> None:
        self._said: Any = None

    def wait_for(self, holder: Mapping[str, Any]) -> None:
        """Waits a little."""
        if self._said != holder["pid"]:
            what = holder.get("what") or f"a model server with {holder['checkpoint']['base']}"
            print(f"waiting: process {holder['pid']}, {what}, has the device and is in use", flush=True)
            self._said = holder["pid"]
        time.sleep(_LOOK_S)


def _folder(workspace: Path) -> Path:
    folder = workspace / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _one_adapter(settings: EngineSettings, checkpoint: Checkpoint) -> tuple[Path | None, Checkpoint]:
    """Splits a checkpoint into the adapter that goes with each request and the base that is loaded."""
    if not checkpoint.adapters:
        return None, checkpoint
    if len(checkpoint.adapters) > 1:
        raise Refusal(
            f"model: {len(checkpoint.adapters)} adapters on one base, and vLLM serves one at a time",
            "merge them (merge: true in the profile's train section), or set engine.name: transformers",
        )
    adapter = checkpoint.adapters[0]
    rank = int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    if rank > settings.lora_rank:
        raise Refusal(
            f"engine.lora_rank: {settings.lora_rank}, but {adapter} has rank {rank}", f"set it to {rank} in the profile"
        )
    return adapter.resolve(), replace(checkpoint, adapters=())


def key_of(spec: Mapping[str, Any], checkpoint: Checkpoint) -> str:
    """Identifies a loaded model: what was asked for, and the very files. Hashing tens of gigabytes would take longer
    than the load saves, so a file counts as the same while size, time and inode are."""
    files = [
        [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino]
        for folder in (checkpoint.base, *checkpoint.adapters)
        for path in sorted(folder.resolve().iterdir())
        if (stat := path.stat())
    ]
    return hashlib.sha256(json.dumps([spec, files]).encode()).hexdigest()


@contextmanager
def _door(folder: Path) -> Iterator[None]:
    """Lets one process at a time look who has the device and act on it."""
    door = os.open(folder / DOOR, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def _holder(folder: Path) -> dict[str, Any] | None:
    """Tells who has the device, or None where nobody has."""
    life = os.open(folder / LIFE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        found: dict[str, Any] = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return found
    finally:
        os.close(life)


def _start(folder: Path, spec: Mapping[str, Any]) -> socket.socket:
    """Starts a server and connects to it."""
    command = [sys.executable, "-m", "alignment.engines.server", os.fspath(folder), json.dumps(spec)]
    environment = {name: value for name, value in os.environ.items() if name != _ATTEMPT} | {KEPT: "1"}
    (folder / SOCKET).unlink(missing_ok=True)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        pid = os.posix_spawn(
            sys.executable, command, {**environment, "PYTHONUNBUFFERED": "1"}, setsid=True,
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
        )  # fmt: skip
    finally:
        os.close(log)
    print(f"model server {pid} started; its log is {folder / LOG}", flush=True)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            return _connect(folder)
        except (FileNotFoundError, ConnectionError):
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                raise Refusal(f"the model server did not start: {_tail(folder)}", f"see {folder / LOG}") from None
            time.sleep(0.02)
    raise Refusal(f"the model server {pid} did not listen within {_START_S:.0f} s", f"see {folder / LOG}")


def _makes_room(folder: Path, server: Mapping[str, Any], how: str) -> bool:
    """Asks a server to leave or to sleep, and waits until it has; gives False where it is in use."""
    if "what" in server:
        return False  # a process that has loaded a model by itself
    try:
        process = os.pidfd_open(int(server["pid"]))
    except ProcessLookupError:
        return True
    try:
        with _connect(folder) as connection:
            return "users" not in _ask(connection, {"do": how})
    except (FileNotFoundError, ConnectionError):
        select.select([process], [], [])  # gone, memory and all
        return True
    finally:
        os.close(process)


def _sleeper(folder: Path) -> dict[str, Any] | None:
    """Tells which server sleeps, or None where none does; to be asked while nobody has the device."""
    try:
        _connect(folder).close()
        found: dict[str, Any] = json.loads((folder / ASLEEP).read_text(encoding="utf-8"))
        return found
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def _beside_sleeper(folder: Path) -> tuple[int, ...]:
    """Connects to the server that sleeps, if one does: as long as somebody is connected it does not count idle time."""
    try:
        return (_connect(folder).detach(),)
    except (FileNotFoundError, ConnectionRefusedError):
        return ()


def _wake(folder: Path) -> socket.socket:
    """Connects to the server that sleeps and has it take the device."""
    lease = _connect(folder)
    try:
        _ask(lease, {"do": "wake"})
    except BaseException:
        lease.close()
        raise
    return lease


def _connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{at}/{SOCKET}")  # the path itself may be longer than an address can be
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(at)
    return connection


def _ask(connection: socket.socket, what: Mapping[str, Any]) -> Mapping[str, Any]:
    """Sends one request and waits for its answer.

    Raises:
        Refusal: the server says so.
        ConnectionError: the server has gone.
    """
    with connection.makefile("rwb") as stream:
        stream.write(json.dumps(what).encode() + b"\n")
        stream.flush()
        line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("the model server has gone")
    answer: dict[str, Any] = json.loads(line)
    if "refusal" in answer:
        raise Refusal(*answer["refusal"])
    if "error" in answer:
        raise RuntimeError(f"the model server: {answer['error']}")
    return answer


def _tail(folder: Path) -> str:
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-3:]) or "it said nothing"
