"""Events as lines for people: in the task file's `## Status Updates`, and on the daemon's terminal."""

from __future__ import annotations

from collections.abc import Iterable

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
from daemon.log import Row, decode
from daemon.task import Status

MAX_LENGTH = 2000  # characters of a line; the log has the whole text
MAX_REPORTED = 100  # lines of an attempt's own reports, so that a task file stays one that can be read


def sentence(event: TaskEvent) -> str | None:
    """Says in one line what an event means for the person who watches the task, or None where it means nothing."""
    said = _sentence(event)
    if said and len(said) > MAX_LENGTH:
        said = said[: MAX_LENGTH - 1] + "…"
    return said and "".join(c if c.isprintable() else " " for c in said)


def _sentence(event: TaskEvent) -> str | None:
    match event:
        case Rejected(_, faults):
            return "Refused: " + "; ".join(faults)
        case Claimed(_, run_id, attempt, by):
            return f"Started, attempt {attempt}, run {run_id}" if by == "daemon" else "Started by hand"
        case Edited():
            return "The file was edited"
        case Completed(_, metrics):
            return "Completed" + (f": {_figures(metrics)}" if metrics else "")
        case Blocked(_, reason, needs):
            return f"Blocked: {reason}" + (f". To do: {needs}" if needs else "")
        case Requeued(_, reason):
            return f"Back in the queue: {reason}"
        case Cancelled(_, reason):
            return f"Cancelled: {reason}"
        case Moved(_, None, _):
            return "The file was missing and has been restored from the log; to cancel a task, move it to blocked/"
        case Reported(_, _, _, "progressed", _, report):
            done, total, unit = report.get("done"), report.get("total"), report.get("unit")
            return f"{done}/{total} {unit}" + (f", {report['note']}" if report.get("note") else "")
        case Reported(_, _, _, "checkpointed", _, report):
            return f"Checkpoint {report.get('path')}"
        case Reported(_, _, _, "judged", _, report):
            evidence = report.get("evidence")
            grounds = evidence if isinstance(evidence, list) else [evidence]
            return f"Verdict: {report.get('verdict')}: " + "; ".join(map(str, grounds))
        case Reported(_, _, _, "produced", _, report):
            return f"Produced {report.get('kind')} {report.get('path')}"
        case Proposed(_, _, _, _, name):
            return f"Proposed the task {name}"
        case ReviewRequested(task_id, reviewer, number):
            return f"Review asked for: reviews/{reviewer}/pending/{task_id}.review-{number}.md"
        case ReviewAnswered(_, reviewer, _, verdict, issues, comment, _, tasks):
            became = f"; issues became {', '.join(name for name, _ in tasks)}" if tasks else ""
            found = f", {len(issues)} issues" if issues else ""
            return f"Review by {reviewer}: {verdict}{found}{f'; {comment}' if comment else ''}{became}"
        case External(_, src, dst) if dst and src and dst is not Status.PENDING:
            return f"The file was moved by hand from {src.value}/ to {dst.value}/"
        case Submitted() | Withdrawn() | External() | Moved() | Spawned() | Exited() | CostAccrued() | Reported():
            return None


def _figures(metrics: object) -> str:
    assert isinstance(metrics, dict)
    shown = [f"{name} {value:g}" for name, value in list(metrics.items())[:8]]
    return ", ".join(shown) + (f" and {len(metrics) - 8} more" if len(metrics) > 8 else "")


def status_lines(rows: Iterable[Row]) -> tuple[list[str], tuple[str, ...]]:
    """Gives a task's status lines from its events, and the success criteria that the last run met."""
    lines: list[str] = []
    met: tuple[str, ...] = ()
    reported = 0  # lines that this attempt's handler has caused
    for row in rows:
        event = decode(row)
        text = sentence(event) if event else None
        if isinstance(event, Claimed):
            reported = 0
        if text and isinstance(event, Reported | Proposed):
            reported += 1
            if reported > MAX_REPORTED:
                text = f"More was reported: `cai events --task {row.task_id}`" if reported == MAX_REPORTED + 1 else None
        if text:
            lines.append(f"- [{row.at[:19]}Z] {text}")
        if isinstance(event, Completed | Blocked):
            met = event.met
    return lines, met
