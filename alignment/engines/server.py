"""A model in a process of its own, reached over a Unix socket: `python -m alignment.engines.server FOLDER SPEC`.

It outlives the task that started it, so that the next one that wants the same model finds it loaded, and it leaves by
itself: when nobody has been connected for `warm_s` seconds, or when it is asked to and nobody else is. The idle time is
the kernel's timer with its default action, so that no state of this process can keep the memory. Asked by a training, it
sleeps instead: its weights wait in main memory and the device is the other's, until the next user wakes it.

The protocol is one JSON object a line, each way. The tokenizer and its guard are on this side, loaded once with the model,
so that a handler neither imports nor waits for a library of models. `warm` is the client.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from alignment.checkpoint import Checkpoint, load_tokenizer
from alignment.engines.interface import Completion, Model, Sampling
from alignment.engines.text import TextEngine
from alignment.provenance import now, replace_file
from alignment.refusal import Refusal
from alignment.settings import EngineSettings

HOLDER, ASLEEP, LIFE, SOCKET = "holder.json", "asleep.json", "life", "socket"
COMPLETION = tuple(field.name for field in fields(Completion))
KEPT = "CAI_KEPT"  # in the environment that a server starts with: its task's end is not its own
LONGEST_LOAD_S = 3600.0


class ModelServer:
    """Answers connections; each stands for one user of the model."""

    def __init__(self, folder: Path, holder: Mapping[str, Any], warm_s: float) -> None:
        """Becomes the one model server of a folder, where others read who it is.

        Raises:
            BlockingIOError: another one has the device.
        """
        self._folder, self._warm_s = folder, warm_s
        self._life = hold_device(folder, holder)
        self._listener = _listen(folder)  # from now on it can be reached
        self._users = 0
        self._asleep = False
        self._counting = threading.Lock()
        self._loaded = threading.Event()
        self._engine: TextEngine | None = None
        self._failed: Mapping[str, Any] = {}

    def start(self) -> None:
        """Takes connections from now on; they wait until the model is there."""
        signal.setitimer(signal.ITIMER_REAL, LONGEST_LOAD_S)
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def ready(self, engine: TextEngine) -> None:
        """Answers from now on, and counts idle seconds."""
        self._engine = engine
        self._loaded.set()
        with self._counting:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._count(0)

    def fail(self, refusal: Refusal) -> None:
        """Tells whoever is connected, or still connects, why there is no model; then this process ends."""
        self._failed = {"refusal": [refusal.reason, refusal.needs]}
        self._loaded.set()
        with self._counting:
            self._count(0)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with self._counting:
                self._count(+1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rwb") as stream:
                for line in stream:
                    self._loaded.wait()
                    stream.write(json.dumps(self._answer(json.loads(line))).encode() + b"\n")
                    stream.flush()
        except OSError:
            pass  # the user has gone
        finally:
            with self._counting:
                self._count(-1)

    def _count(self, more: int) -> None:
        """Counts users; the last one's leaving starts the idle time, the next one's coming stops it."""
        self._users += more
        if not self._loaded.is_set():
            return
        if self._users == 0 and (self._failed or not self._warm_s):
            os._exit(1 if self._failed else 0)
        signal.setitimer(signal.ITIMER_REAL, 0 if self._users else self._warm_s)

    def _answer(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if asked["do"] in ("leave", "sleep"):
            with self._counting:
                if self._users > 1:  # beside the one who asks
                    return {"users": self._users - 1}
                if asked["do"] == "sleep" and self._sleep():
                    return {}
                print(f"{now()} asked to leave", flush=True)
                os._exit(0)
        if self._failed:
            return self._failed
        if self._asleep and asked["do"] != "wake":
            raise ConnectionAbortedError  # who came while it fell asleep is to look again who has the device
        try:
            return self._wake() if asked["do"] == "wake" else self._work(asked)
        except Refusal as refusal:
            return {"refusal": [refusal.reason, refusal.needs]}
        except Exception as error:  # noqa: BLE001 - the edge of the process: whoever asked is told
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}

    def _sleep(self) -> bool:
        """Leaves the device to the one who asks, who sees to it that nobody else connects meanwhile."""
        if self._engine is None:
            return False
        try:
            self._engine.model.sleep()
        except Exception as error:  # noqa: BLE001 - whatever it is, leaving is the other way to make room
            print(f"{now()} cannot sleep: {error}", flush=True)
            return False
        self._asleep = True
        os.replace(self._folder / HOLDER, self._folder / ASLEEP)
        os.close(self._life)
        print(f"{now()} asleep", flush=True)
        return True

    def _wake(self) -> Mapping[str, Any]:
        assert self._engine is not None
        self._life = hold_device(self._folder, json.loads((self._folder / ASLEEP).read_text(encoding="utf-8")))
        (self._folder / ASLEEP).unlink()
        try:
            self._engine.model.wake()
        except Exception as error:  # noqa: BLE001 - half awake it is of no use: who asks for it starts another
            print(f"{now()} cannot wake: {error}", flush=True)
            os._exit(1)
        self._asleep = False
        print(f"{now()} awake", flush=True)
        return {}

    def _work(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        engine: Any = self._engine
        if asked.get("adapter"):
            engine = engine.over(engine.model.with_adapter(Path(asked["adapter"])))
        match asked["do"]:
            case "complete":
                sampling = Sampling(**{**asked["sampling"], "stop": tuple(asked["sampling"]["stop"])})
                found = engine.complete(asked["prompts"], sampling, asked["seeds"])
                return {"completions": [[getattr(one, name) for name in COMPLETION] for one in found]}
            case "logprobs":
                return {"logprobs": engine.logprobs(asked["prompts"], asked["labels"])}
            case "count_tokens":
                return {"tokens": engine.count_tokens(asked["prompts"])}
            case _:
                return {name: getattr(engine, name) for name in ("device", "width", "facts")}


def hold_device(folder: Path, holder: Mapping[str, Any]) -> int:
    """Takes the device for this process, and writes down who it is.

    Returns:
        The descriptor of the lock, which holds until it is closed or this process ends.

    Raises:
        BlockingIOError: somebody else has it.
    """
    life = os.open(folder / LIFE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(life)
        raise
    replace_file(folder / HOLDER, json.dumps({**holder, "pid": os.getpid(), "since": now()}, indent=1) + "\n")
    return life


def _listen(folder: Path) -> socket.socket:
    (folder / SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    listener.bind(f"/proc/self/fd/{at}/{SOCKET}")  # the path itself may be longer than an address can be
    os.close(at)
    listener.listen(64)
    return listener


def spec_of(name: str, settings: EngineSettings, checkpoint: Checkpoint) -> dict[str, Any]:
    """Describes what a server is to load, as plain data."""
    named = {
        **asdict(checkpoint),
        "base": str(checkpoint.base),
        "adapters": [str(path) for path in checkpoint.adapters],
    }
    return {"engine": name, "settings": asdict(settings), "checkpoint": named}


def load(spec: Mapping[str, Any]) -> TextEngine:
    """Loads what a spec describes."""
    raw = spec["checkpoint"]
    adapters = tuple(Path(path) for path in raw["adapters"])
    checkpoint = Checkpoint(Path(raw["base"]), adapters, raw["dtype"], raw["quantization"], raw["weights"])
    settings = EngineSettings(**spec["settings"])
    if spec["engine"] == "vllm":
        from alignment.engines.vllm_model import VllmModel

        model: Model = VllmModel.load(settings, checkpoint)
    else:
        from alignment.engines.padded import PaddedModel

        model = PaddedModel.load(settings, checkpoint)
    return TextEngine(load_tokenizer(checkpoint.base), model, {})


def serve(server: ModelServer, engine: TextEngine) -> None:
    """Answers until this process ends. A model that has a loop of its own runs it in this thread."""
    server.ready(engine)
    print(f"{now()} ready: {engine.device}", flush=True)
    getattr(engine.model, "drive", threading.Event().wait)()


def main(folder: Path, spec: Mapping[str, Any]) -> None:
    """Becomes the model server of a folder."""
    os.environ.pop(KEPT, None)  # what this process starts dies with it
    # A rented machine's own disk goes with it; compiled kernels beside the workspace need no minute at the next start.
    os.environ.setdefault("VLLM_CACHE_ROOT", f"{folder.resolve()}/compiled")
    server = ModelServer(folder, spec, float(spec["settings"]["warm_s"]))
    server.start()
    try:
        engine = load(spec)
    except Exception as error:  # noqa: BLE001 - the edge of the process: who waits for the model is told
        traceback.print_exc()
        refusal = error if isinstance(error, Refusal) else Refusal(
            f"the model could not be loaded: {type(error).__name__}: {error}", f"see {folder}/log"
        )  # fmt: skip
        server.fail(refusal)
        signal.pause()
    serve(server, engine)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
