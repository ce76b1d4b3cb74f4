"""The life of a task: given events, when a command, then events."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Rejected,
    Reported,
    Requeued,
    ReviewRequested,
    Spawned,
    Submitted,
    TaskEvent,
    Withdrawn,
)
from daemon.lifecycle import (
    AnswerReview,
    AskReview,
    Block,
    Claim,
    Command,
    Edit,
    Limits,
    Refused,
    Reject,
    Relocate,
    Settle,
    Submit,
    decide,
    evolve,
)
from daemon.task import Criterion, Issue, Spec, Status, Task
from handlers import contract

ID = "20260105_090000_P1_x"
ACTING, PERSONAL = Spec(handler="act"), Spec(assignee="ada")
LIMITS = Limits(max_crashes=3, backoff_s=2.0)
PENDING, IN_PROGRESS, COMPLETED, BLOCKED = Status.PENDING, Status.IN_PROGRESS, Status.COMPLETED, Status.BLOCKED


def fold(*events: TaskEvent) -> Task:
    """Replays events."""
    task = None
    for seq, event in enumerate(events, 1):
        task = evolve(task, event, seq)
    assert task
    return task


def when(task: Task | None, *commands: Command) -> tuple[Task, list[TaskEvent]]:
    """Carries commands out; gives the state and all events."""
    happened: list[TaskEvent] = []
    for command in commands:
        for event in decide(task, ID, command):
            task = evolve(task, event, 1)
            happened.append(event)
    assert task
    return task, happened


def given_status(status: Status, spec: Spec) -> Task:
    """A task of each status, by the events that lead there."""
    begun: list[TaskEvent] = [Submitted(ID, "text", spec)]
    by = "daemon" if spec.handler else "hand"
    ends: dict[Status, list[TaskEvent]] = {
        PENDING: [],
        IN_PROGRESS: [Claimed(ID, f"{ID}.1", 1, by), Moved(ID, PENDING, IN_PROGRESS)],
        COMPLETED: [Claimed(ID, f"{ID}.1", 1, by), Exited(ID, f"{ID}.1", 1, "completed"), Completed(ID),
                    Moved(ID, PENDING, COMPLETED)],
        BLOCKED: [Blocked(ID, "why"), Moved(ID, PENDING, BLOCKED)],
        Status.WITHDRAWN: [External(ID, PENDING, None), Withdrawn(ID)],
        Status.IGNORED: [Rejected(ID, ("file: a symbolic link",), stays=True)],
    }  # fmt: skip
    return fold(*begun, *ends[status])


def settle(outcome: contract.Outcome | None, now: float = 100.0, **more: object) -> Settle:
    """The end of an attempt."""
    return Settle(outcome, now, LIMITS, **more)  # type: ignore[arg-type]


# ------------------------------------------------------------------ a user's hand

TO = (PENDING, IN_PROGRESS, COMPLETED, BLOCKED, None)
MEANS = {  # a move by hand to:   pending/   in_progress/  completed/  blocked/    away
    ("act", PENDING):            (None,      None,         None,       Cancelled,  Withdrawn),
    ("act", IN_PROGRESS):        (Requeued,  None,         Cancelled,  Cancelled,  None),
    ("act", COMPLETED):          (Requeued,  None,         None,       None,       None),
    ("act", BLOCKED):            (Requeued,  None,         None,       None,       Withdrawn),
    ("act", Status.WITHDRAWN):   (None,      None,         None,       None,       None),
    ("act", Status.IGNORED):     (None,      None,         None,       None,       None),
    ("ada", PENDING):            (None,      Claimed,      Completed,  Cancelled,  Withdrawn),
    ("ada", IN_PROGRESS):        (Requeued,  None,         Completed,  Cancelled,  None),
    ("ada", COMPLETED):          (Requeued,  None,         None,       None,       None),
    ("ada", BLOCKED):            (Requeued,  None,         Completed,  None,       Withdrawn),
    ("ada", Status.WITHDRAWN):   (None,      None,         None,       None,       None),
    ("ada", Status.IGNORED):     (None,      None,         None,       None,       None),
}  # fmt: skip


@pytest.mark.parametrize(("who", "status"), MEANS)
def test_a_move_by_hand_means_what_the_table_says(who: str, status: Status) -> None:
    """Every status × every place that a hand can move the file to has one meaning, and none is forgotten."""
    assert {status for _, status in MEANS} == set(Status)
    for dst, meaning in zip(TO, MEANS[who, status], strict=True):
        task = given_status(status, ACTING if who == "act" else PERSONAL)
        after, events = when(task, Relocate(dst))
        assert events[0] == External(ID, task.place, dst)
        assert [type(e) for e in events[1:]] == ([meaning] if meaning else [])
        assert after.place is dst
        assert meaning or after.status is status, "a move that means nothing changes no status, so it is undone"


def test_completed_work_moved_back_to_pending_begins_a_new_run() -> None:
    """Going on with a completed run would find everything done; moving its file back asks for all of it again."""
    task, events = when(given_status(COMPLETED, ACTING), Relocate(PENDING), Claim())
    assert events[-1] == Claimed(ID, f"{ID}.2", 1)
    assert task.status is IN_PROGRESS


def test_blocked_work_moved_back_to_pending_goes_on_with_its_run() -> None:
    """What a blocked run has left on disk is used by its next attempt."""
    task = fold(
        Submitted(ID, "", ACTING), Claimed(ID, f"{ID}.1", 1), Exited(ID, f"{ID}.1", 1, "blocked"), Blocked(ID, "why"),
        Moved(ID, PENDING, BLOCKED),
    )  # fmt: skip
    _, events = when(task, Relocate(PENDING), Claim())
    assert events[-1] == Claimed(ID, f"{ID}.1", 2)


# ------------------------------------------------------------------ submitting, editing, claiming


def test_a_new_file_is_submitted_with_its_text() -> None:
    """The text of a task stands in the log from the moment it is seen."""
    assert decide(None, ID, Submit("text", ACTING)) == [Submitted(ID, "text", ACTING)]


@pytest.mark.parametrize("status", [PENDING, IN_PROGRESS, COMPLETED, BLOCKED])
def test_a_name_is_submitted_once(status: Status) -> None:
    """A name that is taken is refused, with the status that it has."""
    with pytest.raises(Refused, match=str(status)):
        decide(given_status(status, ACTING), ID, Submit("other", ACTING))


def test_a_withdrawn_name_may_be_submitted_again() -> None:
    """Deleting a file frees its name."""
    task, _ = when(given_status(Status.WITHDRAWN, ACTING), Submit("new", ACTING))
    assert (task.status, task.text, task.place) == (PENDING, "new", PENDING)


def test_a_refused_file_may_be_mended_and_submitted() -> None:
    """A file that was refused is no task yet, so its name is free."""
    task = fold(Rejected(ID, ("bad",)), Moved(ID, PENDING, BLOCKED))
    assert decide(task, ID, Submit("good", ACTING)) == [Submitted(ID, "good", ACTING)]


def test_a_file_left_where_it_lies_is_reported_once() -> None:
    """Looking at the same unfit file again logs nothing; a new reason is logged."""
    task = given_status(Status.IGNORED, ACTING)
    assert decide(task, ID, Reject(("file: a symbolic link",), stays=True)) == []
    assert decide(task, ID, Reject(("file: too large",), stays=True)) != []


def test_an_edit_that_changes_nothing_is_no_event() -> None:
    """Saving a file as it is does not make history."""
    assert decide(given_status(PENDING, ACTING), ID, Edit("text", ACTING)) == []


@pytest.mark.parametrize("status", [IN_PROGRESS, COMPLETED, BLOCKED, Status.WITHDRAWN, Status.IGNORED])
def test_only_pending_tasks_are_claimed(status: Status) -> None:
    """A claim of anything else is refused."""
    with pytest.raises(Refused, match=status.value):
        decide(given_status(status, ACTING), ID, Claim())


def test_a_task_whose_attempt_is_alive_is_not_claimed() -> None:
    """There is one live attempt a task: who moves a running task back waits for its end."""
    task, _ = when(given_status(IN_PROGRESS, ACTING), Relocate(PENDING))
    assert task.unwanted
    with pytest.raises(Refused):
        decide(task, ID, Claim())


def test_commands_for_no_task_are_refused() -> None:
    """There is nothing to claim, move, edit, block or settle where there is no task."""
    for command in (Claim(), Relocate(None), Edit("", ACTING), Block("", ""), settle(None)):
        with pytest.raises(Refused, match="no such task"):
            decide(None, ID, command)


def test_changed_parameters_begin_a_new_run() -> None:
    """What a run with other parameters has left must not be mixed with the new ones."""
    ran = given_status(BLOCKED, ACTING)
    ran = evolve(ran, Requeued(ID, "again"), 9)
    ran, _ = when(ran, Claim(), settle(contract.Requeue()))
    _, events = when(ran, Edit("text 2", Spec(handler="act", params={"do": "fail"})), Claim())
    assert events[-1] == Claimed(ID, f"{ID}.2", 1)


def test_a_changed_text_goes_on_with_the_run() -> None:
    """A typing error that is mended costs no work."""
    ran, _ = when(given_status(PENDING, ACTING), Claim(), settle(contract.Requeue()))
    _, events = when(ran, Edit("text 2", ACTING), Claim())
    assert events[-1] == Claimed(ID, f"{ID}.1", 2)


@pytest.mark.parametrize(
    "change",
    [
        [Relocate(PENDING), Edit("2", Spec(handler="act", params={"do": "fail"}))],
        [Relocate(BLOCKED), Relocate(None), Submit("2", ACTING)],
        [Edit("2", PERSONAL), Relocate(COMPLETED), Relocate(PENDING)],
    ],
    ids=["edited", "withdrawn and submitted again", "completed by hand and sent back"],
)
def test_a_live_attempt_keeps_its_name_until_it_ends(change: list[Command]) -> None:
    """Whatever becomes of the task, the daemon must find the process that is still alive: its run and attempt stay."""
    running = given_status(IN_PROGRESS, ACTING)
    task, _ = when(running, *change)
    assert task.live
    assert (task.run_id, task.attempt) == (running.run_id, running.attempt)
    task, _ = when(task, settle(contract.Requeue()), Edit("3", ACTING), Claim())
    assert (task.run_id, task.attempt) == (f"{ID}.2", 1)


def test_editing_completed_work_leaves_its_run_to_its_dependants() -> None:
    """Dependants read the data of the run that completed, whatever somebody writes into the file later."""
    done = given_status(COMPLETED, ACTING)
    after, _ = when(done, Edit("2", Spec(handler="act", params={"do": "fail"})))
    assert after.run_id == done.run_id


def test_a_task_given_to_a_person_wants_no_process() -> None:
    """Who takes the handler out of a running task's file stops the run."""
    task, _ = when(given_status(IN_PROGRESS, ACTING), Edit("2", PERSONAL))
    assert task.unwanted


def test_an_edit_while_a_review_is_open_asks_anew() -> None:
    """A reviewer approves what they were shown."""
    asked, _ = when(None, Submit("1", REVIEWED), AskReview())
    edited, _ = when(asked, Edit("2", REVIEWED))
    assert not edited.asked
    with pytest.raises(Refused, match="no review"):
        decide(edited, ID, AnswerReview("approve", (), "", "", ()))
    _, events = when(edited, AskReview())
    assert events == [ReviewRequested(ID, "method", 2)]


def test_an_approval_lasts_while_the_work_is_the_same() -> None:
    """Changed parameters need a new review; a changed text does not."""
    approved, _ = when(None, Submit("1", REVIEWED), AskReview(), AnswerReview("approve", (), "", "", ()))
    assert when(approved, Edit("2", REVIEWED))[0].approved
    assert not when(approved, Edit("2", Spec(handler="act", review="method", stage=2)))[0].approved


@pytest.mark.parametrize(
    ("verdict", "issues", "status"),
    [
        ("approve", (), PENDING),
        ("approve", (Issue("LOW", "x"),), PENDING),
        ("approve", (Issue("FATAL", "x"),), BLOCKED),
        ("modify", (Issue("LOW", "x"),), BLOCKED),
        ("reject", (), BLOCKED),
    ],
)
def test_a_review_decides(verdict: str, issues: tuple[Issue, ...], status: Status) -> None:
    """An approval without a fatal issue releases the task; everything else blocks it."""
    task, _ = when(None, Submit("1", REVIEWED), AskReview(), AnswerReview(verdict, issues, "c", "", ()))
    assert (task.status, task.approved, task.asked) == (status, status is PENDING, False)


# ------------------------------------------------------------------ settling


def running(spec: Spec = ACTING) -> Task:
    """A task whose first attempt runs."""
    return given_status(IN_PROGRESS, spec)


def test_completed_work_completes_the_task() -> None:
    """Metrics and artifacts of the outcome become the task's."""
    task, events = when(running(), settle(contract.Completed({"loss": 0.5}, ("a",)), code=0, seconds=3.0))
    assert events == [
        Exited(ID, f"{ID}.1", 1, "completed", 0, None, 3.0, 0),
        Completed(ID, {"loss": 0.5}, ("a",), ()),
    ]
    assert (task.status, task.live, task.metrics) == (COMPLETED, False, {"loss": 0.5})


def test_met_criteria_are_named() -> None:
    """The daemon ticks what it has checked."""
    spec = Spec(handler="act", criteria=(Criterion("loss", "<", 1.0),))
    _, events = when(running(spec), settle(contract.Completed({"loss": 0.5})))
    assert events[-1] == Completed(ID, {"loss": 0.5}, (), ("loss < 1",))


def test_missed_criteria_block_with_their_figures() -> None:
    """A criterion that fails, or whose metric was not measured, blocks the task and says the figure."""
    spec = Spec(handler="act", criteria=(Criterion("a", ">=", 2.0), Criterion("b", ">", 0.0), Criterion("c", "==", 1)))
    task, events = when(running(spec), settle(contract.Completed({"a": 1.5, "c": 1.0})))
    assert task.status is BLOCKED
    assert task.reason == "success criteria not met: `a >= 2` but a is 1.5; `b > 0` but b is not measured"
    assert isinstance(events[-1], Blocked)
    assert events[-1].met == ("c == 1",)


def test_blocked_work_blocks_with_what_it_needs() -> None:
    """A reason that a person can act on reaches the person."""
    _, events = when(running(), settle(contract.Blocked("no data", "bring it", {"rows": 0.0})))
    assert events[-1] == Blocked(ID, "no data", "bring it", {"rows": 0.0})


def test_failed_work_blocks_at_once() -> None:
    """A defect that reported itself would do so again: it is not retried."""
    task, events = when(running(), settle(contract.Failed("index out of range")))
    assert task.status is BLOCKED
    assert "index out of range" in task.reason
    assert isinstance(events[-1], Blocked)
    assert "cai logs" in events[-1].needs


def test_work_that_stopped_on_request_goes_back() -> None:
    """A checkpointed stop costs no crash and goes on in the same run."""
    task, events = when(running(), settle(contract.Requeue("step 5"), asked=True), Claim())
    assert events[1] == Requeued(ID, "stopped on request, checkpoint step 5")
    assert (task.crashes, task.run_id, task.attempt) == (0, f"{ID}.1", 2)


def test_work_that_stops_though_nobody_asked_it_to_is_poison_in_the_end() -> None:
    """A handler that gives its turn back each time is tried again after 2 s and 4 s, and then blocked."""
    task, waits = running(), []
    while task.status is not BLOCKED:
        task, _ = when(task, settle(contract.Requeue("step 5"), now=100.0))
        if task.status is PENDING:
            waits.append(task.not_before - 100.0)
            task, _ = when(task, Claim())
    assert waits == [2.0, 4.0]
    assert task.reason == "3 crashes in a row; attempt 3 stopped though nobody had asked it to"


def test_work_that_was_stopped_before_it_could_answer_is_no_crash() -> None:
    """Who stops the daemon while a handler still loads its model does not poison the task."""
    task, events = when(running(), settle(None, signal=15, asked=True))
    assert events[0] == Exited(ID, f"{ID}.1", 1, "stopped", None, 15)
    assert (task.status, task.crashes, task.not_before) == (PENDING, 0, 0.0)


def test_crashes_back_off_and_then_block() -> None:
    """A task that crashes is tried again after 2 s and 4 s, and blocked at the third crash with its last words."""
    task = running()
    waits = []
    while task.status is not BLOCKED:
        task, _ = when(task, settle(None, now=100.0, signal=11, stderr_tail="boom"))
        if task.status is PENDING:
            waits.append(task.not_before - 100.0)
            task, _ = when(task, Claim())
    assert waits == [2.0, 4.0]
    assert task.reason == "3 crashes in a row; attempt 3 ended without an outcome (signal 11); its last words: boom"


def test_a_checkpoint_between_crashes_gives_new_credit() -> None:
    """Crashes count in a row: work that gets further each time is not poison."""
    task = running()
    for _ in range(5):
        checkpoint = Reported(ID, task.run_id, task.attempt, "checkpointed", 10, {"path": "x"})
        task, _ = when(evolve(task, checkpoint, 5), settle(None, code=1), Claim())
    assert task.status is IN_PROGRESS


def test_a_person_who_retries_gives_new_credit() -> None:
    """Moving a poisoned task back to pending/ starts the count anew."""
    task = running()
    for _ in range(3):
        task, _ = when(task, settle(None, code=1), *([Claim()] if task.crashes < 2 else []))
    task = evolve(task, Moved(ID, PENDING, BLOCKED), 9)
    task, _ = when(task, Relocate(PENDING), Claim(), settle(None, code=1))
    assert (task.status, task.crashes) == (PENDING, 1)


@pytest.mark.parametrize("status", [PENDING, BLOCKED, Status.WITHDRAWN])
@pytest.mark.parametrize("outcome", [contract.Completed(), contract.Failed("x"), contract.Requeue(), None])
def test_the_end_of_an_unwanted_attempt_changes_no_status(status: Status, outcome: contract.Outcome | None) -> None:
    """Who cancelled or sent back a task is not overruled by what its process still said."""
    moves = {PENDING: [Relocate(PENDING)], BLOCKED: [Relocate(BLOCKED)]}
    task, _ = when(running(), *moves.get(status, [Relocate(BLOCKED), Relocate(None)]))
    after, events = when(task, settle(outcome))
    assert [type(e) for e in events] == [Exited]
    assert (after.status, after.live) == (status, False)


def test_costs_add_up_over_runs() -> None:
    """The task's dollars are the sum of every attempt's; the seconds paid begin anew with each attempt."""
    task = fold(
        Submitted(ID, "", ACTING), Claimed(ID, f"{ID}.1", 1), CostAccrued(ID, f"{ID}.1", 1, 60.0, 0.5, 30.0),
        Requeued(ID, "x"), Claimed(ID, f"{ID}.1", 2), CostAccrued(ID, f"{ID}.1", 2, 30.0, 0.25, 30.0),
    )  # fmt: skip
    assert (task.usd, task.charged_s) == (0.75, 30.0)


# ------------------------------------------------------------------ any history

REVIEWED = Spec(handler="act", review="method")
specs = st.sampled_from([ACTING, PERSONAL, REVIEWED, Spec(handler="act", params={"do": "fail"}, depends_on=("a", "b"))])
texts = st.sampled_from(["", "one", "two"])
outcomes = st.sampled_from(
    [None, contract.Completed({"a": 1.0}), contract.Blocked("r", "n"), contract.Failed("f"), contract.Requeue("c")]
)
commands = st.one_of(
    st.builds(Submit, texts, specs),
    st.builds(Reject, st.just(("fault",)), texts, st.booleans()),
    st.builds(Edit, texts, specs),
    st.builds(Relocate, st.sampled_from(TO)),
    st.builds(Claim),
    st.builds(Block, texts, texts),
    st.builds(settle, outcomes),
    st.builds(AskReview),
    st.builds(AnswerReview, st.sampled_from(["approve", "reject"]), st.just(()), texts, texts, st.just(())),
)


def histories(given_commands: Sequence[Command]) -> list[tuple[Task, TaskEvent]]:
    """Decides commands one after another, skipping what is refused or does not fit a live process."""
    task: Task | None = None
    happened = []
    for command in given_commands:
        if isinstance(command, Settle) and not (task and task.live):
            continue  # only a live attempt ends
        try:
            events = decide(task, ID, command)
        except Refused:
            continue
        for event in events:
            task = evolve(task, event, len(happened) + 1)
            happened.append((task, event))
            if isinstance(event, Claimed) and event.by == "daemon":
                spawned = Spawned(ID, event.run_id, event.attempt, 7, 7, "b")
                task = evolve(task, spawned, len(happened) + 1)
                happened.append((task, spawned))
    return happened


@given(st.lists(commands, max_size=25))
def test_any_sequence_of_decided_events_evolves(given_commands: list[Command]) -> None:
    """`evolve` never fails on what `decide` gave; attempts never overlap; a run and attempt are never used twice."""
    live = False
    claims: list[tuple[str, int]] = []
    for task, event in histories(given_commands):
        if isinstance(event, Claimed):
            assert not live, "an attempt was begun while another one was alive"
            claims.append((event.run_id, event.attempt))
        live = task.live
    assert len(claims) == len(set(claims))


@given(st.lists(commands, max_size=25))
def test_finished_work_is_left_alone_but_by_a_hand(given_commands: list[Command]) -> None:
    """After a task completed, it is claimed again only if a person moved, edited or submitted it in between."""
    completed = touched = False
    for _, event in histories(given_commands):
        match event:
            case Completed():
                completed, touched = True, False
            case External() | Rejected() | Submitted() | Edited():
                touched = True
            case Claimed():
                assert touched or not completed
            case _:
                pass
