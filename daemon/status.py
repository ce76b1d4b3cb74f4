"""One screen that tells where the queue stands: what runs, how far, what waits for what, what is blocked, what it cost.

Reads the log's views; it loads nothing heavy, so that `cai status` answers at once.
"""

from __future__ import annotations

import datetime
import sqlite3
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon import schedule, workspace
from daemon.task import Spec, Status, Task
from daemon.workspace import Workspace

SHOWN = {Status.IN_PROGRESS: 8, Status.PENDING: 6, Status.BLOCKED: 6, Status.COMPLETED: 4}  # on one screen


@dataclass(frozen=True, slots=True)
class PastRun:
    """What a run of one handler took, as the median of the past ones."""

    seconds: float
    usd: float
    tokens: float

    @property
    def estimate(self) -> str:
        """The time, as people write it."""
        return duration(self.seconds)


def duration(seconds: float) -> str:
    """Writes a time as people do."""
    minutes = seconds / 60
    return f"{seconds:.0f}s" if minutes < 2 else f"{minutes:.0f}m" if minutes < 120 else f"{minutes / 60:.1f}h"


def past_runs(connection: sqlite3.Connection, profile: str) -> dict[str, PastRun]:
    """Gives what each handler's completed tasks of a profile have taken."""
    rows = connection.execute(
        """
        SELECT t.handler, c.seconds, c.usd,
               (SELECT coalesce(sum(m.value), 0) FROM metrics m
                WHERE m.task_id = t.task_id AND m.measured_at = '{"at": "end"}'
                  AND m.name IN ('prompt_tokens', 'completion_tokens'))
        FROM tasks t
        JOIN (SELECT task_id, sum(seconds) AS seconds, sum(usd) AS usd FROM costs GROUP BY task_id) c USING (task_id)
        WHERE t.status = 'completed' AND t.handler IS NOT NULL
          AND coalesce((SELECT e.data ->> '$.spec.params.profile' FROM events e
                        WHERE e.task_id = t.task_id AND e.type IN ('task.submitted', 'task.edited')
                        ORDER BY e.seq DESC LIMIT 1), 'micro') = ?
        """,
        [profile],
    )
    by_handler: dict[str, list[tuple[float, float, float]]] = {}
    for handler, *figures in rows:
        by_handler.setdefault(handler, []).append((figures[0], figures[1], figures[2]))
    return {
        handler: PastRun(*(statistics.median(column) for column in zip(*runs, strict=True)))
        for handler, runs in by_handler.items()
    }


def picture(connection: sqlite3.Connection, where: Workspace, now: datetime.datetime) -> dict[str, Any]:
    """Gathers where the queue stands at a moment, in UTC, as plain data."""
    import json

    specs = {
        task_id: Spec.from_dict(json.loads(spec))
        for task_id, spec in connection.execute(
            "SELECT task_id, data -> '$.spec' FROM events WHERE type IN ('task.submitted', 'task.edited') ORDER BY seq"
        )
    }
    proposed: dict[str, tuple[str, ...]] = {}
    for task_id, name in connection.execute(
        "SELECT task_id, data ->> '$.name' FROM events WHERE type = 'run.proposed'"
    ):
        proposed[task_id] = (*proposed.get(task_id, ()), name.removesuffix(".md"))
    reviews = dict(connection.execute("SELECT task_id, number FROM reviews_open"))
    known: dict[str, Task] = {}
    tasks: list[dict[str, Any]] = []
    costs = dict(connection.execute("SELECT task_id, sum(usd) FROM costs GROUP BY task_id"))
    seconds = dict(connection.execute("SELECT task_id, sum(seconds) FROM costs GROUP BY task_id"))
    columns = "task_id, status, handler, stage, reason, needs, changed_at"
    for row in connection.execute(f"SELECT {columns} FROM tasks ORDER BY substr(task_id, 17, 2), task_id"):
        task = dict(zip(columns.split(", "), row, strict=True))
        known[task["task_id"]] = Task(
            task["task_id"],
            spec=specs.get(task["task_id"]),
            status=Status(task["status"]),
            reason=task["reason"] or "",
            proposed=proposed.get(task["task_id"], ()),
            reviews=reviews.get(task["task_id"], 0),
            approved=task["task_id"] not in reviews,
        )
        tasks.append({**task, "usd": costs.get(task["task_id"], 0.0), "seconds": seconds.get(task["task_id"], 0.0)})
    for task in tasks:
        spec = specs.get(task["task_id"])
        if task["status"] == Status.PENDING and spec:
            task["waits_for"] = schedule.waits_for(known[task["task_id"]], known)
        if task["status"] == Status.IN_PROGRESS:
            task["progress"] = _latest_progress(connection, task["task_id"])
            task["seconds"] = max(
                task["seconds"], (now - datetime.datetime.fromisoformat(task["changed_at"])).total_seconds()
            )
    paused = where.pause.exists()
    holder = workspace.holder_of(where.lock)
    return {
        "workspace": str(where.root),
        "daemon": holder,
        "paused": paused,
        "tasks": tasks,
        "usd": sum(costs.values()),
        "to_come": _to_come(connection, tasks, specs),
    }


def _to_come(
    connection: sqlite3.Connection, tasks: Sequence[Mapping[str, Any]], specs: Mapping[str, Spec]
) -> dict[str, float]:
    """Estimates what the open tasks will still take, from what completed ones of their handler and profile took."""
    past: dict[str, dict[str, PastRun]] = {}
    seconds, usd, known, unknown = 0.0, 0.0, 0, 0
    for task in tasks:
        spec = specs.get(task["task_id"])
        if task["status"] not in (Status.PENDING, Status.IN_PROGRESS) or not spec or not spec.handler:
            continue
        profile = str(spec.params.get("profile", "micro"))
        if profile not in past:
            past[profile] = past_runs(connection, profile)
        if run := past[profile].get(spec.handler):
            left = (
                1 - min(1.0, task["seconds"] / run.seconds)
                if task["status"] == Status.IN_PROGRESS and run.seconds
                else 1.0
            )
            seconds, usd, known = seconds + left * run.seconds, usd + left * run.usd, known + 1
        else:
            unknown += 1
    return {"seconds": seconds, "usd": usd, "known": known, "unknown": unknown}


def _latest_progress(connection: sqlite3.Connection, task_id: str) -> str:
    found = connection.execute(
        "SELECT data ->> '$.report.done', data ->> '$.report.total', data ->> '$.report.unit', data ->> '$.report.note' "
        "FROM events WHERE task_id = ? AND type = 'run.progressed' ORDER BY seq DESC LIMIT 1",
        [task_id],
    ).fetchone()
    return f"{found[0]}/{found[1]} {found[2]}" + (f", {found[3]}" if found[3] else "") if found else ""


def text(picture: dict[str, Any]) -> str:
    """Writes the picture for one screen of a terminal."""
    holder = picture["daemon"]
    state = (
        f"daemon: pid {holder.get('pid')} since {holder.get('since')}" if holder else "daemon: not running (`cai up`)"
    )
    if holder and holder.get("degraded"):
        state += f"; DEGRADED: {holder['degraded']}"
    lines = [f"{picture['workspace']}  {state}{'; PAUSED' if picture['paused'] else ''}"]
    if stages := _stages(picture["tasks"]):
        lines.append(stages)
    for status, shown in SHOWN.items():
        group = [task for task in picture["tasks"] if task["status"] == status]
        if group:
            lines += ["", f"{status.value.replace('_', ' ')} ({len(group)})"]
        lines += [_line(task) for task in (group[-shown:] if status is Status.COMPLETED else group[:shown])]
        if len(group) > shown:
            lines.append(f"  … and {len(group) - shown} more")
    if not picture["tasks"]:
        lines.append("the queue is empty; drop a task file into tasks/pending/")
    lines += ["", f"spent: {picture['usd']:.2f} USD, {duration(sum(t['seconds'] for t in picture['tasks']))} of runs"]
    if come := _outlook(picture["to_come"]):
        lines.append(come)
    return "\n".join(lines)


def _stages(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Tells in a line how far each stage is, where there are several."""
    statuses: dict[int, list[tuple[str, str]]] = {}
    for task in tasks:
        if task["stage"] and task["status"] in SHOWN:
            statuses.setdefault(task["stage"], []).append((task["status"], task["handler"] or "a person's task"))
    told = []
    for stage, pairs in sorted(statuses.items()):
        seen = {status for status, _ in pairs}
        running = [handler for status, handler in pairs if status == Status.IN_PROGRESS]
        how = (
            ", ".join(running) if running else "BLOCKED" if Status.BLOCKED in seen
            else "done" if seen == {Status.COMPLETED} else "waits"
        )  # fmt: skip
        told.append(f"{stage} {how}")
    return f"stages: {' | '.join(told)}" if len(told) > 1 else ""


def _outlook(come: Mapping[str, float]) -> str:
    """Tells what the open tasks will cost, as far as past runs can tell."""
    if not come["known"]:
        return "to come: no past runs to estimate by" if come["unknown"] else ""
    but = f"; nothing known of {come['unknown']:.0f} more" if come["unknown"] else ""
    return f"to come: {come['usd']:.2f} USD, {duration(come['seconds'])} of runs, by past ones, without further rounds{but}"


def _line(task: dict[str, Any]) -> str:
    stage = f" stage {task['stage']}" if task["stage"] else ""
    line = f"  {task['task_id']}  {task['handler'] or ''}{stage}"
    if task["seconds"]:
        line += f"  {duration(task['seconds'])}" + (f"  {task['usd']:.2f} USD" if task["usd"] else "")
    for note in (task.get("progress"), task.get("waits_for") and f"waits for {task['waits_for']}"):
        if note:
            line += f"\n      {note}"
    if task["status"] == Status.BLOCKED:
        line += f"\n      {task['reason'].splitlines()[0] if task['reason'] else ''}"
        if task["needs"]:
            line += f"\n      to do: {task['needs']}"
    return line
