"""One screen that tells where the queue stands: what runs, how far, what waits for what, what is blocked, what it cost.

Reads the log's views; it loads nothing heavy, so that `cai status` answers at once.
"""

from __future__ import annotations

import sqlite3
import statistics
from dataclasses import dataclass
from typing import Any

from daemon import schedule, workspace
from daemon.task import Spec, Status, Task
from daemon.workspace import Workspace

SHOWN = 15  # tasks of a status on one screen


@dataclass(frozen=True, slots=True)
class PastRun:
    """What a run of one handler took, as the median of the past ones."""

    seconds: float
    usd: float
    tokens: float

    @property
    def estimate(self) -> str:
        """The time, as people write it."""
        minutes = self.seconds / 60
        return f"{self.seconds:.0f}s" if minutes < 2 else f"{minutes:.0f}m" if minutes < 120 else f"{minutes / 60:.1f}h"


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


def picture(connection: sqlite3.Connection, where: Workspace) -> dict[str, Any]:
    """Gathers where the queue stands, as plain data."""
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
    paused = where.pause.exists()
    holder = workspace.holder_of(where.lock)
    return {
        "workspace": str(where.root),
        "daemon": holder,
        "paused": paused,
        "tasks": tasks,
        "usd": sum(costs.values()),
    }


def _latest_progress(connection: sqlite3.Connection, task_id: str) -> str:
    found = connection.execute(
        "SELECT data ->> '$.report.done', data ->> '$.report.total', data ->> '$.report.unit', data ->> '$.report.note' "
        "FROM events WHERE task_id = ? AND type = 'run.progressed' ORDER BY seq DESC LIMIT 1",
        [task_id],
    ).fetchone()
    return f"{found[0]}/{found[1]} {found[2]}" + (f", {found[3]}" if found[3] else "") if found else ""


def text(picture: dict[str, Any]) -> str:
    """Writes the picture for a terminal."""
    holder = picture["daemon"]
    state = (
        f"daemon: pid {holder.get('pid')} since {holder.get('since')}" if holder else "daemon: not running (`cai up`)"
    )
    if holder and holder.get("degraded"):
        state += f"; DEGRADED: {holder['degraded']}"
    lines = [f"{picture['workspace']}  {state}{'; PAUSED' if picture['paused'] else ''}"]
    for status in (Status.IN_PROGRESS, Status.PENDING, Status.BLOCKED, Status.COMPLETED):
        group = [task for task in picture["tasks"] if task["status"] == status]
        if group:
            lines += ["", f"{status.value.replace('_', ' ')} ({len(group)})"]
        shown = group[-SHOWN:] if status is Status.COMPLETED else group[:SHOWN]
        if len(group) > len(shown):
            lines.append(f"  … and {len(group) - len(shown)} more")
        lines += [_line(task) for task in shown]
    if len(lines) == 1:
        lines.append("the queue is empty; drop a task file into tasks/pending/")
    lines += ["", f"spent: {picture['usd']:.2f} USD, {sum(t['seconds'] for t in picture['tasks']):.0f} s of runs"]
    return "\n".join(lines)


def _line(task: dict[str, Any]) -> str:
    stage = f" stage {task['stage']}" if task["stage"] else ""
    line = f"  {task['task_id']}  {task['handler'] or ''}{stage}"
    if task["seconds"]:
        line += f"  {task['seconds']:.0f} s" + (f"  {task['usd']:.2f} USD" if task["usd"] else "")
    for note in (task.get("progress"), task.get("waits_for") and f"waits for {task['waits_for']}"):
        if note:
            line += f"\n      {note}"
    if task["status"] == Status.BLOCKED:
        line += f"\n      {task['reason'].splitlines()[0] if task['reason'] else ''}"
        if task["needs"]:
            line += f"\n      to do: {task['needs']}"
    return line
