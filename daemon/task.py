"""A task: what its file asks for, where it stands, and what the log says of it. Plain data."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Where a task stands. The first four are also the folder that holds its file."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BLOCKED = "blocked"
    WITHDRAWN = "withdrawn"  # deleted from pending/ or blocked/
    IGNORED = "ignored"  # not a regular file: left where it lies

    @property
    def folder(self) -> Status | None:
        """The folder that the task's file belongs in, or None where it belongs nowhere."""
        return None if self in (Status.WITHDRAWN, Status.IGNORED) else self


FOLDERS = (Status.PENDING, Status.IN_PROGRESS, Status.COMPLETED, Status.BLOCKED)


@dataclass(frozen=True, slots=True)
class Criterion:
    """A success criterion that the daemon checks itself, such as `pairs.unique >= 500`."""

    metric: str
    op: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.bound:g}"

    def met(self, metrics: Mapping[str, float]) -> bool:
        """Tells whether the run's metrics meet the criterion; a metric that was not measured does not."""
        return self.metric in metrics and OPERATORS[self.op](metrics[self.metric], self.bound)


@dataclass(frozen=True, slots=True)
class Issue:
    """What a reviewer found; it becomes a task file for `assignee`."""

    severity: str  # FATAL, HIGH, MEDIUM or LOW
    text: str
    assignee: str = "researcher"


OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Spec:
    """What a task file asks for."""

    handler: str | None = None  # None: a task for the person or agent in `assignee`
    assignee: str | None = None
    stage: int | None = None
    depends_on: tuple[str, ...] = ()
    estimate: str = ""
    budget_usd: float | None = None
    review: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    criteria: tuple[Criterion, ...] = ()

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Spec:
        """Rebuilds a spec from the log's JSON."""
        return cls(
            **{
                **raw,
                "depends_on": tuple(raw["depends_on"]),
                "criteria": tuple(Criterion(**c) for c in raw["criteria"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Task:
    """What the log says of one task."""

    id: str
    seq: int = 0  # of its submission: the queue's last tie-break
    spec: Spec | None = None  # None: the file was refused
    text: str = ""
    status: Status = Status.PENDING
    place: Status | None = Status.PENDING  # the folder where the file was last confirmed; None: it is nowhere
    reason: str = ""  # why it is blocked
    run: int = 0  # runs begun; a run goes on over attempts until it completes or the task changes
    attempt: int = 0  # attempts of this run
    fresh: bool = True  # the next claim begins a new run
    crashes: int = 0  # attempts in a row that ended without an outcome or a checkpoint
    live: bool = False  # an attempt has been claimed and its end is not logged yet
    spawned: bool = False  # that attempt's process is known
    offset: int = 0  # bytes of that attempt's events.jsonl that are in the log
    proposed: tuple[str, ...] = ()  # tasks that its runs have called for; who depends on it waits for them too
    reviews: int = 0  # asked for so far
    reviewer: str = ""  # who was asked last
    asked: bool = False  # a review is open
    approved: bool = False
    charged_s: float = 0.0  # seconds of that attempt that are paid for in the log
    not_before: float = 0.0  # seconds since the epoch: back-off after a crash
    usd: float = 0.0  # spent so far, all runs together
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """The name of the current run, the same over its attempts."""
        return f"{self.id}.{self.run}"

    @property
    def unwanted(self) -> bool:
        """Tells whether an attempt is alive that the task no longer wants: cancelled, sent back, given to a person."""
        return self.live and (self.status is not Status.IN_PROGRESS or not self.spec or not self.spec.handler)
