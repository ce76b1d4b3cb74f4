"""Whose turn it is, and what the others wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.schedule import MAX_BACKOFF_S, ancestors, cycle_through, next_task, waits_for
from daemon.task import Spec, Status, Task
from daemon.taskfile import order


def tasks(*listed: Task) -> dict[str, Task]:
    """Gives tasks by name."""
    return {task.id: task for task in listed}


def a_task(name: str = "20260105_090000_P1_x", depends_on: tuple[str, ...] = (), **more: Any) -> Task:
    """A task that is free to start."""
    return Task(name, **{"spec": Spec(handler="act", depends_on=depends_on), **more})


def turn(*listed: Task, now: float = 0.0) -> str | None:
    """Gives the name of the task whose turn it is."""
    found = next_task(tasks(*listed), now, order)
    return found.id if found else None


def test_priority_comes_first_then_the_name_s_time_then_the_order_of_submission() -> None:
    """P0 before P1, older before newer, earlier seen before later seen."""
    order_wanted = [
        a_task("20260109_090000_P0_late", seq=9),
        a_task("20260101_090000_P1_early", seq=8),
        a_task("20260102_090000_P1_a", seq=3),
        a_task("20260102_090000_P1_Z", seq=4),
        a_task("20250102_090000_P3_old", seq=1),
    ]
    left = list(reversed(order_wanted))
    for wanted in order_wanted:
        assert turn(*left) == wanted.id
        left.remove(wanted)
    assert turn() is None


@pytest.mark.parametrize(
    "change",
    [
        {"status": Status.IN_PROGRESS},
        {"status": Status.BLOCKED},
        {"status": Status.COMPLETED},
        {"live": True},
        {"place": Status.BLOCKED},
        {"spec": None},
        {"spec": Spec(assignee="ada")},
        {"not_before": 1.0},
    ],
)
def test_only_pending_tasks_that_lie_there_for_a_handler_are_taken(change: dict[str, Any]) -> None:
    """What runs, is done, is stopped, is on its way, is for a person or backs off has no turn."""
    assert turn(a_task()) is not None
    assert turn(replace(a_task(), **change)) is None


def test_a_back_off_ends() -> None:
    """A crashed task is taken again when its time has come."""
    assert turn(a_task(not_before=10.0), now=9.9) is None
    assert turn(a_task(not_before=10.0), now=10.0) is not None


def test_a_clock_that_jumped_back_does_not_freeze_a_task() -> None:
    """A back-off further away than any back-off can be is not waited for."""
    assert turn(a_task(not_before=1e9), now=1e9 - MAX_BACKOFF_S - 1) is not None


def test_dependencies_must_be_completed() -> None:
    """A dependant says for each dependency what it waits for, with the reason of a blocked one."""
    needs = ("20260105_080000_P1_a", "20260105_080000_P1_b", "20260105_080000_P1_c", "20260105_080000_P1_d")
    task = a_task(depends_on=needs)
    others = [
        a_task(needs[0], status=Status.COMPLETED),
        a_task(needs[1], status=Status.IN_PROGRESS),
        a_task(needs[2], status=Status.BLOCKED, reason="no data\nmore"),
    ]
    assert waits_for(task, tasks(task, *others)) == (
        f"{needs[1]} (in progress), {needs[2]} (blocked: no data), {needs[3]} (nobody has submitted it)"
    )
    assert turn(task, *others[:1]) is None
    done = [a_task(name, status=Status.COMPLETED) for name in needs]
    assert turn(task, *done) == task.id


def test_a_cycle_is_found_through_any_of_its_tasks() -> None:
    """Three tasks in a circle are named in order; who only depends on the circle is not on it."""
    a, b, c, d = (f"20260105_08000{n}_P1_x" for n in range(4))
    known = tasks(a_task(a, (b,)), a_task(b, (d, c)), a_task(c, (a,)), a_task(d, ()))
    assert cycle_through(a, known) == [a, b, c]
    assert cycle_through(c, known) == [c, a, b]
    assert cycle_through(d, known) == []
    outside = a_task("20260105_090000_P1_outside", (a,))
    assert cycle_through(outside.id, known | tasks(outside)) == []


def test_a_task_that_waits_for_itself_is_a_cycle() -> None:
    """The shortest circle has one task."""
    assert cycle_through("x", tasks(a_task("x", ("x",)))) == ["x"]


def test_a_long_chain_of_dependencies_is_no_trouble() -> None:
    """Ten thousand tasks may wait for one another in a row."""
    chain = [a_task(str(n), (str(n + 1),)) for n in range(10_000)]
    assert cycle_through("0", tasks(*chain)) == []
    circle = [*chain, a_task("10000", ("0",))]
    assert len(cycle_through("0", tasks(*circle))) == 10_001


def test_a_long_chain_of_proposals_is_no_trouble() -> None:
    """Each round may propose the next one, as often as a stage needs."""
    rounds = [a_task(str(n), proposed=(str(n + 1),), status=Status.COMPLETED) for n in range(3000)]
    last = a_task("last", ("0",))
    assert waits_for(last, tasks(*rounds, last)) == "3000 (nobody has submitted it)"


def test_ancestors_come_nearest_first_and_once() -> None:
    """A handler sees everything that its task builds on."""
    known = tasks(a_task("a"), a_task("b", ("a",)), a_task("c", ("b", "a")), a_task("d", ("c", "b", "unknown")))
    assert [task.id for task in ancestors(known["d"], known)] == ["c", "b", "a"]
