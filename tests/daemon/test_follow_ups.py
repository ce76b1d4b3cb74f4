"""A task that calls for others is not the end of its line: who depends on it waits for them too."""

from __future__ import annotations

from daemon import schedule
from daemon.task import Spec, Status, Task

DONE, TODO = Status.COMPLETED, Status.PENDING


def task(name: str, status: Status, *depends_on: str, proposed: tuple[str, ...] = ()) -> Task:
    return Task(name, spec=Spec(handler="act", depends_on=depends_on), status=status, proposed=proposed)


def test_dependant_waits_for_the_round_that_its_dependency_has_called_for() -> None:
    """Stage 2 depends on the evaluation of stage 1; a failed one that proposes a second round holds it back."""
    first = task("e1", DONE, proposed=("g2", "e2"))
    tasks = {t.id: t for t in (first, task("g2", DONE, "e1"), task("e2", TODO, "g2"), task("next", TODO, "e1"))}
    assert schedule.waits_for(tasks["next"], tasks) == "e2 (pending)"


def test_proposed_task_does_not_wait_for_itself() -> None:
    """The round that an evaluation has called for builds on that evaluation, and may start."""
    tasks = {t.id: t for t in (task("e1", DONE, proposed=("g2", "e2")), task("g2", TODO, "e1"), task("e2", TODO, "g2"))}
    assert schedule.waits_for(tasks["g2"], tasks) == ""
    assert schedule.waits_for(tasks["e2"], tasks) == "g2 (pending)"


def test_rounds_of_rounds_are_waited_for() -> None:
    """A second round that calls for a third holds the dependants of the first back as well."""
    tasks = {
        t.id: t
        for t in (
            task("e1", DONE, proposed=("e2",)),
            task("e2", DONE, "e1", proposed=("e3",)),
            task("e3", TODO, "e2"),
            task("next", TODO, "e1"),
        )
    }
    assert schedule.waits_for(tasks["next"], tasks) == "e3 (pending)"


def test_withdrawn_round_holds_nobody_back() -> None:
    """A person who deletes a proposed task has decided against that round."""
    tasks = {
        t.id: t
        for t in (task("e1", DONE, proposed=("e2",)), task("e2", Status.WITHDRAWN, "e1"), task("next", TODO, "e1"))
    }
    assert schedule.waits_for(tasks["next"], tasks) == ""


def test_inputs_come_from_the_newest_round_first() -> None:
    """What a task builds on is given nearest first, so that it finds the newest round's model before the first one's."""
    tasks = {
        t.id: t
        for t in (
            task("t1", DONE),
            task("e1", DONE, "t1", proposed=("t2", "e2")),
            task("t2", DONE, "e1"),
            task("e2", DONE, "t2"),
            task("next", TODO, "e1"),
        )
    }
    assert [t.id for t in schedule.ancestors(tasks["next"], tasks)] == ["e2", "t2", "e1", "t1"]
