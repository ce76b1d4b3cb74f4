"""Which task is next, and what the others wait for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from daemon.task import Status, Task

MAX_BACKOFF_S = 3600.0  # a later time than this is a clock that jumped, and is not waited for


def waits_for(task: Task, tasks: Mapping[str, Task]) -> str:
    """Says what a pending task waits for, with the reason, or nothing where it is free to start."""
    assert task.spec is not None
    waits = []
    for name in dependencies(task, tasks):
        other = tasks.get(name)
        if other is None or other.status is Status.WITHDRAWN:
            waits.append(f"{name} (nobody has submitted it)")
        elif other.status is Status.BLOCKED:
            waits.append(f"{name} (blocked: {_short(other.reason)})")
        elif other.status is not Status.COMPLETED:
            waits.append(f"{name} ({other.status.value.replace('_', ' ')})")
    if not waits and task.spec.review and not task.approved:
        answer = f"reviews/{task.spec.review}/responses/{task.id}.review-{max(task.reviews, 1)}.md"
        return f"a review by {task.spec.review} ({answer}, or `cai review approve`)"
    return ", ".join(waits)


def wants_review(task: Task, tasks: Mapping[str, Task]) -> bool:
    """Tells whether it is a task's reviewer's turn: all else is there, and nobody has been asked."""
    if task.status is not Status.PENDING or not task.spec or not task.spec.review or task.approved or task.asked:
        return False
    needed = dependencies(task, tasks)
    return all(name in tasks and tasks[name].status is Status.COMPLETED for name in needed)


def dependencies(task: Task, tasks: Mapping[str, Task]) -> list[str]:
    """Gives the names that a task waits for, nearest first: its dependencies, and the tasks that those have proposed.

    An evaluation that calls for another round is not the end of its stage: whoever depends on it waits for that round.
    """
    found: list[str] = []
    entered = {task.id}
    stack = [(name, False) for name in reversed(task.spec.depends_on if task.spec else ())]
    while stack:
        name, follow_ups_done = stack.pop()
        if follow_ups_done:
            found.append(name)
        elif name not in entered:
            entered.add(name)
            stack.append((name, True))
            follow_ups = tasks[name].proposed if name in tasks else ()
            if task.id not in follow_ups:
                stack += [(f, False) for f in follow_ups if f not in tasks or tasks[f].status is not Status.WITHDRAWN]
    return found


def _short(reason: str, limit: int = 160) -> str:
    line = reason.splitlines()[0] if reason else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"


def next_task(tasks: Mapping[str, Task], now: float, order: Callable[[str], tuple[str, str]]) -> Task | None:
    """Gives the task whose turn it is: by priority, then the name's timestamp, then the order of submission.

    Args:
        tasks: all tasks by name.
        now: seconds since the epoch.
        order: gives (priority, timestamp) of a task's name.
    """
    ready = (
        task
        for task in tasks.values()
        if task.status is Status.PENDING
        and task.place is Status.PENDING
        and not task.live
        and task.spec
        and task.spec.handler
        and not 0 < task.not_before - now <= MAX_BACKOFF_S
        and not waits_for(task, tasks)
    )
    return min(ready, key=lambda task: (*order(task.id), task.seq), default=None)


def cycle_through(task_id: str, tasks: Mapping[str, Task]) -> list[str]:
    """Gives the names on a cycle of dependencies that a task lies on, in order, or an empty list."""
    needed_by: dict[str, str] = {}
    frontier = [task_id]
    while frontier:
        name = frontier.pop()
        task = tasks.get(name)
        for dependency in task.spec.depends_on if task and task.spec else ():
            if dependency == task_id:
                circle = [name]
                while circle[-1] != task_id:
                    circle.append(needed_by[circle[-1]])
                return circle[::-1]
            if dependency not in needed_by:
                needed_by[dependency] = name
                frontier.append(dependency)
    return []


def ancestors(task: Task, tasks: Mapping[str, Task]) -> Iterator[Task]:
    """Gives the completed tasks that a task builds on, nearest first, each once."""
    seen: set[str] = set()
    frontier = dependencies(task, tasks)
    while frontier:
        name = frontier.pop(0)
        if name not in seen and name in tasks:
            seen.add(name)
            yield tasks[name]
            frontier += dependencies(tasks[name], tasks)
