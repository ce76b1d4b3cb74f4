"""The contract between the queue and the work: what a handler is given, what it says, what it leaves.

Owns the shapes of request.json, events.jsonl and outcome.json, and the parameters that each kind of work takes.
Standard library only, so that the daemon can import it; it must know nothing of either side.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

REQUEST, EVENTS, OUTCOME = "request.json", "events.jsonl", "outcome.json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that a task file may set under `params:`.

    A `path` names a file or folder inside the workspace, relative to its root.
    """

    name: str
    type: type[str] | type[int] | type[float] | type[bool] | type[Path]
    default: Any
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def fault(self, value: Any) -> str | None:
        """Says what is wrong with a value, or None where nothing is."""
        kind = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}[
            self.type
        ]
        expected = f"{self.name}: expected {kind}, got {value!r}"
        if self.type is Path:
            if not isinstance(value, str):
                return expected
            if os.path.isabs(value) or ".." in Path(value).parts or "\0" in value:
                return f"{self.name}: {value!r} is not a path inside the workspace; write it relative to the root"
            return None
        if isinstance(value, bool) != (self.type is bool):
            return expected
        if not isinstance(value, (int, float) if self.type is float else self.type):
            return expected
        if self.choices and value not in self.choices:
            return f"{self.name}: {value!r} is not one of {', '.join(self.choices)}"
        if not isinstance(value, int | float):
            return None
        if self.minimum is not None and not value >= self.minimum:
            return f"{self.name}: {value!r} is less than {self.minimum:g}"
        if self.maximum is not None and not value <= self.maximum:
            return f"{self.name}: {value!r} is more than {self.maximum:g}"
        return None


_PROFILE = Parameter(
    "profile", str, "micro", "the profile in profiles/ that names model, engine, batch and training settings"
)
_SEED = Parameter("seed", int, 0, "the seed of every random choice of this run", minimum=0, maximum=2**31 - 1)
_MODEL = Parameter(
    "model",
    Path,
    None,
    "the adapter or model folder to use; by default what the dependencies left, else the profile's base",
)

KINDS: Mapping[str, tuple[Parameter, ...]] = {
    "baseline": (
        _PROFILE,
        _SEED,
        _MODEL,
        Parameter("items", int, 0, "evaluation items to use, spread evenly over the types; 0 takes all", minimum=0),
    ),
    "generate": (
        _PROFILE,
        _SEED,
        _MODEL,
        Parameter("instructions", int, None, "distinct, clean instructions to collect", minimum=1),
        Parameter("candidates", int, None, "answers to draw for each instruction", minimum=1, maximum=64),
    ),
    "train": (
        _PROFILE,
        _SEED,
        _MODEL,
        Parameter("method", str, None, "the training method", choices=("sft", "dpo", "orpo", "kto", "simpo")),
        Parameter("data", Path, None, "the folder of the rows to train on; by default what the dependencies left"),
        Parameter("epochs", float, None, "passes over the rows", minimum=0.01, maximum=100),
        Parameter("learning_rate", float, None, "the peak learning rate", minimum=1e-8, maximum=1),
        Parameter("merge", bool, None, "merge the adapter into bf16 weights at the end"),
    ),
    "evaluate": (
        _PROFILE,
        _SEED,
        _MODEL,
        Parameter("round", int, 1, "which round of this stage this is", minimum=1),
        Parameter("rounds", int, 1, "rounds that the stage may take before it is blocked", minimum=1, maximum=20),
    ),
}


def parameter_faults(
    kind: str, params: Mapping[str, Any], kinds: Mapping[str, tuple[Parameter, ...]] = KINDS
) -> list[str]:
    """Lists everything that is wrong with a task's parameters."""
    known = {p.name: p for p in kinds[kind]}
    faults = []
    for name, value in params.items():
        if name not in known:
            faults.append(f"params.{name}: unknown to {kind}; it takes {', '.join(known)}")
        elif fault := known[name].fault(value):
            faults.append(f"params.{fault}")
    return faults


@dataclass(frozen=True, slots=True)
class Input:
    """What a completed dependency left."""

    task_id: str
    run_id: str
    handler: str
    stage: int | None
    data_dir: Path
    metrics: Mapping[str, float]
    artifacts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler is asked to do: a snapshot of the task, taken when it was claimed."""

    task_id: str
    run_id: str  # the same over every attempt, so that what one attempt left the next one finds
    attempt: int  # from 1
    handler: str
    stage: int | None
    params: Mapping[str, Any]
    workspace: Path
    data_dir: Path  # data/<run_id>/, the same over every attempt
    inputs: tuple[Input, ...] = ()  # everything completed that the task builds on, nearest first
    usd_per_hour: float = 0.0

    def to_json(self) -> str:
        """Encodes the request for request.json."""
        return json.dumps(asdict(self), default=os.fspath, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Decodes request.json.

        Raises:
            ValueError: the text is no request.
        """
        try:
            raw = json.loads(text)
            inputs = tuple(
                Input(**{**i, "data_dir": Path(i["data_dir"]), "artifacts": tuple(i["artifacts"])})
                for i in raw.pop("inputs")
            )
            return cls(
                **{**raw, "workspace": Path(raw["workspace"]), "data_dir": Path(raw["data_dir"]), "inputs": inputs}
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a request: {error}") from error


@dataclass(frozen=True, slots=True)
class Completed:
    """The work is done. Metrics feed the success criteria of the task file."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocked:
    """A person can mend it: `reason` says what is wrong, `needs` what to do."""

    reason: str
    needs: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A defect of the program."""

    reason: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """The run was asked to stop, and goes on from here in its next attempt."""

    checkpoint: str = ""


Outcome = Completed | Blocked | Failed | Requeue
_OUTCOMES: Mapping[str, type[Completed] | type[Blocked] | type[Failed] | type[Requeue]] = {
    "completed": Completed,
    "blocked": Blocked,
    "failed": Failed,
    "requeue": Requeue,
}


def outcome_to_json(outcome: Outcome) -> str:
    """Encodes an outcome for outcome.json."""
    return json.dumps({"outcome": type(outcome).__name__.lower(), **asdict(outcome)}, default=os.fspath)


def outcome_from_json(text: str) -> Outcome:
    """Decodes outcome.json.

    Raises:
        ValueError: the text is no outcome.
    """
    try:
        raw = loads_plain(text)
        kind = _OUTCOMES[raw.pop("outcome")]
        artifacts = raw.get("artifacts", [])
        if not isinstance(artifacts, list) or not all(isinstance(path, str) for path in artifacts):
            raise TypeError(f"artifacts: expected a list of paths, got {artifacts!r}")
        if "artifacts" in raw:
            raw["artifacts"] = tuple(artifacts)
        for name, value in raw.get("metrics", {}).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"metrics.{name}: expected a number, got {value!r}")
        for name in ("reason", "needs", "checkpoint"):
            if not isinstance(raw.get(name, ""), str):
                raise TypeError(f"{name}: expected a text, got {raw[name]!r}")
        return kind(**raw)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an outcome: {type(error).__name__}: {error}") from error


def loads_plain(text: str | bytes) -> Any:
    """Decodes JSON that can be stored, shown and compared: no NaN, no endless number, no half character, not deep.

    Raises:
        ValueError: the text is not such JSON.
    """
    try:
        raw = json.loads(text, parse_int=_figure, parse_float=_figure, parse_constant=_figure)
        json.dumps(raw, ensure_ascii=False).encode()  # half of a surrogate pair cannot be written
    except RecursionError:
        raise ValueError("nested too deep") from None
    return raw


def _figure(text: str) -> int | float:
    """Reads a number that SQLite and a float can hold."""
    value = float(text)
    if not math.isfinite(value) or abs(value) >= 2**63:
        raise ValueError(f"{text[:20]} is no usable number")
    return int(text) if text.lstrip("-").isdecimal() else value


def write_durably(path: Path, text: str) -> None:
    """Replaces a file's content so that after a crash either the old or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Run:
    """A handler's voice: each call appends one line to events.jsonl, which the daemon reads into the log.

    SIGTERM asks the handler to stop: it should leave a checkpoint and return `Requeue`.
    """

    def __init__(self, attempt_dir: Path) -> None:
        self._events = os.open(attempt_dir / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._stop = threading.Event()

    def stop_on_signals(self) -> None:
        """Makes SIGTERM and SIGINT ask for a stop instead of ending the process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())

    def should_stop(self) -> bool:
        """Tells whether the run has been asked to stop."""
        return self._stop.is_set()

    def progress(self, done: int, total: int, unit: str, note: str = "") -> None:
        """Says how far the run is: `done` of `total` in `unit`s, with a note such as the rate and the time left."""
        self._say("progressed", done=done, total=total, unit=unit, note=note)

    def measure(self, name: str, value: float, **at: str | int | float) -> None:
        """Records one figure, such as `measure("loss", 2.1, step=10)`."""
        self._say("measured", name=name, value=float(value), at=at)

    def produce(self, path: Path, kind: str) -> None:
        """Records an artifact that is complete on disk. `path` lies in the workspace."""
        self._say("produced", path=os.fspath(path), kind=kind)

    def checkpoint(self, path: Path) -> None:
        """Records a state on disk that the next attempt can go on from."""
        self._say("checkpointed", path=os.fspath(path))

    def judge(self, verdict: str, evidence: Sequence[str]) -> None:
        """Records the verdict on a stage's gate, with the figures that it rests on."""
        self._say("judged", verdict=verdict, evidence=list(evidence))

    def propose(self, name: str, text: str) -> None:
        """Proposes a task file for `tasks/pending/`; a name that exists already is left alone."""
        self._say("proposed", name=name, text=text)

    def _say(self, type_: str, **data: Any) -> None:
        line = json.dumps({"type": type_, "time": time.time(), **data}, allow_nan=False, default=os.fspath) + "\n"
        os.write(self._events, line.encode())


class Handler(Protocol):
    """One kind of work. It may be run again after a crash: it finds what it left in `request.data_dir`."""

    def __call__(self, request: Request, run: Run) -> Outcome: ...
