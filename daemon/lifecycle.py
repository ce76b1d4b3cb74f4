"""The life of a task, as pure functions: a command and a state give events, an event and a state give the next state.

    decide(task, command) -> events     may refuse, with the reason
    evolve(task, event)   -> task       total: never fails on a logged event

The event log is the truth and this module says what it means. It knows tasks, events and the outcomes that handlers
leave, and imports nothing but those and the standard library: clock, names, paths and processes are other modules'
business and come in as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from daemon.events import (
    Blocked,
    Cancelled,
    Claimed,
    Completed,
    CostAccrued,
    Edited,
    Exited,
    External,
    Moved,
    Proposed,
    Rejected,
    Reported,
    Requeued,
    ReviewAnswered,
    ReviewRequested,
    Spawned,
    Submitted,
    TaskEvent,
    Withdrawn,
)
from daemon.task import Issue, Spec, Status, Task
from handlers import contract


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a task that keeps crashing is tried again."""

    max_crashes: int = 3  # in a row, without a checkpoint between them
    backoff_s: float = 2.0  # doubled after each crash


# ------------------------------------------------------------------ commands: what somebody wants


@dataclass(frozen=True, slots=True)
class Submit:
    """A good task file lies in pending/."""

    text: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Reject:
    """A file in pending/ cannot be a task."""

    faults: tuple[str, ...]
    text: str = ""
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """A person changed the file where it lies."""

    text: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Relocate:
    """A person moved the file to `dst`, or away (None)."""

    dst: Status | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The scheduler gives the task its turn."""


@dataclass(frozen=True, slots=True)
class Block:
    """The daemon stops the task, such as for its budget."""

    reason: str
    needs: str


@dataclass(frozen=True, slots=True)
class Settle:
    """The attempt's processes are gone; this is what they left."""

    outcome: contract.Outcome | None  # None: they left none, which is a crash
    now: float  # seconds since the epoch
    limits: Limits
    code: int | None = None
    signal: int | None = None
    seconds: float = 0.0
    max_rss_bytes: int = 0
    asked: bool = False  # the attempt had been asked to stop
    stderr_tail: str = ""


@dataclass(frozen=True, slots=True)
class AskReview:
    """Everything that the task builds on is there: its reviewer's turn has come."""


@dataclass(frozen=True, slots=True)
class AnswerReview:
    """The reviewer has answered the open review."""

    verdict: str
    issues: tuple[Issue, ...]
    comment: str
    sha256: str
    tasks: tuple[tuple[str, str], ...]


Command = AskReview | AnswerReview | Submit | Reject | Edit | Relocate | Claim | Block | Settle


class Refused(Exception):
    """The command does not fit the task's state; the message says why."""


def decide(task: Task | None, task_id: str, command: Command) -> Sequence[TaskEvent]:
    """Decides what follows from a command.

    Args:
        task: the task as the log knows it, or None where it does not.
        task_id: the task's name, which is its file's name without `.md`.
        command: what somebody wants.

    Returns:
        The events to log, in order; none where nothing changes.

    Raises:
        Refused: the command does not fit the task's state.
    """
    match command:
        case Submit(text, spec):
            if task and task.spec and task.status is not Status.WITHDRAWN:
                raise Refused(f"a task of this name is {task.status} already")
            return [Submitted(task_id, text, spec)]
        case Reject(faults, text, stays):
            known = task is not None and stays and task.status is Status.IGNORED and task.reason == "; ".join(faults)
            return [] if known else [Rejected(task_id, faults, text, stays)]
        case _ if task is None:
            raise Refused("there is no such task")
        case Edit(text, spec):
            return [] if text == task.text and spec == task.spec else [Edited(task_id, text, spec)]
        case Relocate(dst):
            return [External(task_id, task.place, dst), *_meaning_of_move(task, dst)]
        case Claim():
            if task.status is not Status.PENDING or task.live or not task.spec:
                raise Refused(f"only a pending task can be claimed, this one is {task.status}")
            return [_claimed(task, by="daemon")]
        case Block(reason, needs):
            return [Blocked(task_id, reason, needs)]
        case AskReview():
            if task.status is not Status.PENDING or task.asked or not task.spec or not task.spec.review:
                raise Refused("there is no review to ask for")
            return [ReviewRequested(task_id, task.spec.review, task.reviews + 1)]
        case AnswerReview(verdict, issues, comment, sha256, tasks):
            if not task.asked:
                raise Refused("no review of this task is open")
            answered = ReviewAnswered(task_id, task.reviewer, task.reviews, verdict, issues, comment, sha256, tasks)
            if answered.approves:
                return [answered]
            found = "; ".join(f"{issue.severity}: {issue.text}" for issue in issues) or comment
            needs = "see to the issues and move the file back to pending/: it will be reviewed again"
            return [answered, Blocked(task_id, f"the review by {answered.reviewer} says {verdict}: {found}", needs)]
        case Settle():
            return _settle(task, command)
        case _:
            assert_never(command)


def _claimed(task: Task, by: str) -> Claimed:
    if task.fresh:
        return Claimed(task.id, f"{task.id}.{task.run + 1}", 1, by)
    return Claimed(task.id, task.run_id, task.attempt + 1, by)


def _meaning_of_move(task: Task, dst: Status | None) -> Sequence[TaskEvent]:
    """A user's hand is a command; a move that means nothing here is undone, since the file's place is a projection."""
    for_people = bool(task.spec and not task.spec.handler)
    match task.status, dst:
        case ((Status.PENDING | Status.BLOCKED), None):
            return [Withdrawn(task.id)]
        case ((Status.PENDING | Status.IN_PROGRESS), Status.BLOCKED):
            return [Cancelled(task.id, "moved to blocked/ by hand")]
        case Status.PENDING, Status.IN_PROGRESS if for_people and not task.live:
            return [_claimed(task, by="hand")]
        case ((Status.PENDING | Status.IN_PROGRESS | Status.BLOCKED), Status.COMPLETED) if for_people:
            return [Completed(task.id)]
        case Status.IN_PROGRESS, Status.COMPLETED:
            return [Cancelled(task.id, "moved to completed/ by hand before it was done")]
        case Status.IN_PROGRESS, Status.PENDING:
            return [Requeued(task.id, "moved back to pending/ by hand")]
        case Status.BLOCKED, Status.PENDING:
            return [Requeued(task.id, "moved back to pending/ by hand")]
        case Status.COMPLETED, Status.PENDING:
            return [Requeued(task.id, "moved back to pending/ by hand, to run again", fresh=True)]
        case _:
            return []


def _settle(task: Task, end: Settle) -> Sequence[TaskEvent]:
    """Turns the end of an attempt into what the task does next. A durable outcome is never run again."""
    ending = type(end.outcome).__name__.lower() if end.outcome else "stopped" if end.asked else "crashed"
    exited = Exited(task.id, task.run_id, task.attempt, ending, end.code, end.signal, end.seconds, end.max_rss_bytes)
    if task.status is not Status.IN_PROGRESS:
        return [exited]
    assert task.spec is not None  # a task in progress was submitted
    match end.outcome:
        case contract.Completed(metrics, artifacts):
            met = tuple(str(c) for c in task.spec.criteria if c.met(metrics))
            missed = [c for c in task.spec.criteria if not c.met(metrics)]
            if not missed:
                return [exited, Completed(task.id, metrics, artifacts, met)]
            figures = "; ".join(f"`{c}` but {c.metric} is {_figure(metrics, c.metric)}" for c in missed)
            needs = "look at the run's report, change the task or the criterion, and move the file back to pending/"
            return [exited, Blocked(task.id, f"success criteria not met: {figures}", needs, metrics, met)]
        case contract.Blocked(reason, needs, metrics):
            return [exited, Blocked(task.id, reason, needs, metrics)]
        case contract.Failed(reason):
            return [exited, Blocked(task.id, f"the handler failed: {reason}", f"see `cai logs {task.id}`")]
        case contract.Requeue(checkpoint) if end.asked:
            return [
                exited,
                Requeued(task.id, f"stopped on request{f', checkpoint {checkpoint}' if checkpoint else ''}"),
            ]
        case None if end.asked:  # while it still imported its libraries, or it took longer than its time of grace
            return [exited, Requeued(task.id, "stopped on request, before it could leave a checkpoint")]
        case contract.Requeue() | None:  # one that stops of itself is no further than one that crashes
            how = f"signal {end.signal}" if end.signal else f"exit code {end.code}" if end.code is not None else "lost"
            what = "stopped though nobody had asked it to" if end.outcome else f"ended without an outcome ({how})"
            tail = f"; its last words: {end.stderr_tail}" if end.stderr_tail else ""
            reason = f"attempt {task.attempt} {what}{tail}"
            crashes = task.crashes + 1
            if crashes >= end.limits.max_crashes:
                needs = f"see `cai logs {task.id}`; move the file back to pending/ to try again"
                return [exited, Blocked(task.id, f"{crashes} crashes in a row; {reason}", needs)]
            wait_s = end.limits.backoff_s * 2 ** (crashes - 1)
            return [exited, Requeued(task.id, reason, crashed=True, not_before=end.now + wait_s)]
        case _:
            assert_never(end.outcome)


def _figure(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:g}" if name in metrics else "not measured"


# ------------------------------------------------------------------ evolution


def evolve(task: Task | None, event: TaskEvent, seq: int) -> Task:
    """Gives the task as it is after an event. `seq` is the event's place in the log."""
    task = task or Task(event.task_id)
    before = task.spec
    match event:
        case Submitted(_, text, spec):
            return replace(
                task,
                seq=seq,
                spec=spec,
                text=text,
                status=Status.PENDING,
                place=Status.PENDING,
                reason="",
                fresh=True,
                asked=False,
                approved=False,
            )
        case Rejected(_, faults, text, stays):
            status = Status.IGNORED if stays else Status.BLOCKED
            return replace(
                task,
                seq=seq,
                spec=None,
                text=text,
                status=status,
                place=Status.PENDING,
                reason="; ".join(faults),
                asked=False,
            )
        case Edited(_, text, spec):
            anew = before is None or _work_of(before) != _work_of(spec)
            return replace(
                task,
                text=text,
                spec=spec,
                fresh=task.fresh or anew,
                asked=False,
                approved=task.approved and not anew,
            )
        case Withdrawn():
            return replace(task, status=Status.WITHDRAWN, reason="", asked=False)
        case Claimed(_, run_id, attempt, by):
            return replace(
                task,
                status=Status.IN_PROGRESS,
                reason="",
                run=int(run_id.rpartition(".")[2]),
                attempt=attempt,
                fresh=False,
                live=by == "daemon",
                spawned=False,
                offset=0,
                charged_s=0.0,
            )
        case Completed(_, metrics, artifacts):
            return replace(task, status=Status.COMPLETED, reason="", metrics=metrics, artifacts=artifacts, crashes=0)
        case Blocked(_, reason, _, metrics):
            return replace(task, status=Status.BLOCKED, reason=reason, metrics=metrics, crashes=0, asked=False)
        case Requeued(_, _, crashed, not_before, fresh):
            return replace(
                task,
                status=Status.PENDING,
                reason="",
                crashes=task.crashes + 1 if crashed else 0,
                not_before=not_before,
                fresh=task.fresh or fresh,
            )
        case Cancelled(_, reason):
            return replace(task, status=Status.BLOCKED, reason=f"cancelled: {reason}", crashes=0, asked=False)
        case Moved(_, _, dst):
            return replace(task, place=dst)
        case External(_, _, dst):
            return replace(task, place=dst)
        case Spawned():
            return replace(task, spawned=True)
        case Reported(_, _, _, kind, offset):
            return replace(task, offset=offset, crashes=0 if kind == "checkpointed" else task.crashes)
        case Proposed(_, _, _, offset, name):
            proposed = tuple(dict.fromkeys((*task.proposed, name.removesuffix(".md"))))
            return replace(task, offset=offset, proposed=proposed)
        case Exited():
            return replace(task, live=False, spawned=False, offset=0)
        case ReviewRequested(_, reviewer, number):
            return replace(task, reviews=number, reviewer=reviewer, asked=True)
        case ReviewAnswered():
            return replace(task, asked=False, approved=event.approves)
        case CostAccrued(_, _, _, seconds, usd):
            return replace(task, usd=task.usd + usd, charged_s=task.charged_s + seconds)
        case _:
            assert_never(event)


def _work_of(spec: Spec) -> tuple[object, ...]:
    """Gives what makes a run another run, and a review another review."""
    return spec.handler, spec.stage, spec.params, spec.review
