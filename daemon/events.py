"""What can happen to a task: one frozen record a kind. The log keeps them for ever, so kinds and fields are only added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.task import Issue, Spec, Status


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task file was seen whole and found good; its text is kept here for ever."""

    task_id: str
    text: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file cannot be a task, for all of `faults`. `stays` where it is not even a file that may be moved."""

    task_id: str
    faults: tuple[str, ...]
    text: str = ""
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Edited:
    """A person changed the file. A run that has begun keeps to its snapshot."""

    task_id: str
    text: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The file was deleted from pending/ or blocked/."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """The task was taken up; `run_id` names its run."""

    task_id: str
    run_id: str
    attempt: int
    by: str = "daemon"


@dataclass(frozen=True, slots=True)
class Completed:
    """The work is done and every success criterion that can be checked is met."""

    task_id: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    met: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocked:
    """A person has to act: `reason` says what is wrong, `needs` what to do."""

    task_id: str
    reason: str
    needs: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    met: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requeued:
    """The task goes back to pending/: a stop, a crash or a person's hand."""

    task_id: str
    reason: str
    crashed: bool = False
    not_before: float = 0.0
    fresh: bool = False  # begin a new run instead of going on with the last one


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A person took the file out of the queue."""

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The daemon's own move of the file is on disk. `src` is None where the file was restored from the log."""

    task_id: str
    src: Status | None
    dst: Status


@dataclass(frozen=True, slots=True)
class External:
    """Somebody else moved or deleted the file."""

    task_id: str
    src: Status | None
    dst: Status | None


@dataclass(frozen=True, slots=True)
class Spawned:
    """The attempt's shim is running; pid, start time and boot id together name it."""

    task_id: str
    run_id: str
    attempt: int
    pid: int
    start_time: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Reported:
    """A line of the handler's events.jsonl, which ends at byte `offset`.

    `kind` is progressed, measured, produced, checkpointed or judged.
    """

    task_id: str
    run_id: str
    attempt: int
    kind: str
    offset: int
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Proposed:
    """The handler proposed another task file."""

    task_id: str
    run_id: str
    attempt: int
    offset: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The attempt's processes are gone. `ending` says how: completed, blocked, failed, requeue, stopped or crashed."""

    task_id: str
    run_id: str
    attempt: int
    ending: str
    code: int | None = None
    signal: int | None = None
    seconds: float = 0.0
    max_rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CostAccrued:
    """Seconds of the machine, priced."""

    task_id: str
    run_id: str
    attempt: int
    seconds: float
    usd: float
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class ReviewRequested:
    """The task waits for its reviewer's answer."""

    task_id: str
    reviewer: str
    number: int  # of this task's reviews, from 1


@dataclass(frozen=True, slots=True)
class ReviewAnswered:
    """The reviewer has answered; `tasks` are the names and texts of the task files that the issues become."""

    task_id: str
    reviewer: str
    number: int
    verdict: str
    issues: tuple[Issue, ...]
    comment: str
    sha256: str  # of the response file
    tasks: tuple[tuple[str, str], ...] = ()

    @property
    def approves(self) -> bool:
        """Tells whether the task may run."""
        return self.verdict == "approve" and not any(issue.severity == "FATAL" for issue in self.issues)


TaskEvent = (
    Submitted
    | Rejected
    | Edited
    | Withdrawn
    | Claimed
    | Completed
    | Blocked
    | Requeued
    | Cancelled
    | Moved
    | External
    | Spawned
    | Reported
    | Proposed
    | Exited
    | CostAccrued
    | ReviewRequested
    | ReviewAnswered
)
