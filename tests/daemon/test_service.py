"""Whole tasks through real child processes, from the dropped file to the folder where it ends."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from daemon import log, workers
from daemon.lifecycle import Block, Claim
from daemon.task import Status
from daemon.workspace import Lock, Locked, Workspace, holder_of
from tests.conftest import ACT, Queue, acting, name_of

PENDING, IN_PROGRESS, COMPLETED, BLOCKED = Status.PENDING, Status.IN_PROGRESS, Status.COMPLETED, Status.BLOCKED
X, Y = name_of("x"), name_of("y")


def running(queue: Queue, name: str = X) -> None:
    """Steps until a task's handler is at work."""
    queue.until(lambda: queue.find(name) and queue.task(name).spawned and queue.task(name).place is IN_PROGRESS)
    queue.until(lambda: queue.starts(name) > 0)


def types_of_life(queue: Queue, name: str) -> list[str]:
    """Gives a task's events without the reports of its handler."""
    return [t for t in queue.types(name) if not t.startswith(("run.progressed", "run.measured"))]


# ------------------------------------------------------------------ the ordinary way


def test_a_task_completes(queue: Queue) -> None:
    """From drop to completed/: claim, move, spawn, exit, completion, move; each in the log, the gist in the file."""
    queue.drop(X, acting(seconds=0.1) + "- [ ] `figure >= 1`\n")
    queue.until_status(X, COMPLETED)
    queue.settle()
    assert types_of_life(queue, X) == [
        "task.submitted", "task.claimed", "file.moved", "run.spawned", "run.exited", "cost.accrued", "task.completed",
        "file.moved",
    ] or sorted(types_of_life(queue, X)) == sorted([
        "task.submitted", "task.claimed", "file.moved", "run.spawned", "cost.accrued", "run.exited", "task.completed",
        "file.moved",
    ])  # fmt: skip
    text = queue.text(X)
    assert "- [x] `figure >= 1`" in text
    assert f"Started, attempt 1, run {X}.1" in text
    assert "Completed: figure 1" in text
    assert queue.starts(X) == 1
    assert queue.task(X).metrics == {"figure": 1.0}


def test_a_missed_criterion_blocks_with_the_figure(queue: Queue) -> None:
    """The file in blocked/ says what was wanted and what came."""
    queue.drop(X, acting(figure=0.5) + "- [ ] `figure >= 1`\n")
    queue.until_status(X, BLOCKED)
    queue.settle()
    assert "`figure >= 1` but figure is 0.5" in queue.text(X)
    assert "- [ ] `figure >= 1`" in queue.text(X)


@pytest.mark.parametrize(
    ("do", "said"),
    [("block", "Blocked: the data is missing. To do: bring the data"), ("fail", "the handler failed: a defect")],
)
def test_a_task_blocks_with_what_a_person_can_do(queue: Queue, do: str, said: str) -> None:
    """Outcomes that need a person are not retried."""
    queue.drop(X, acting(do))
    queue.until_status(X, BLOCKED)
    queue.settle()
    assert said in queue.text(X)
    assert queue.starts(X) == 1


def test_a_retry_by_hand_goes_on_in_the_same_run(queue: Queue) -> None:
    """The second attempt finds the first one's data, and the file tells of both."""
    queue.drop(X, acting("block"))
    queue.until_status(X, BLOCKED)
    queue.move(X, BLOCKED, PENDING)
    queue.until(lambda: queue.starts(X) == 2)
    queue.until_status(X, BLOCKED)
    queue.settle()
    assert "attempt 2" in queue.text(X)
    assert (queue.workspace.data_dir(f"{X}.1") / "starts.txt").read_text() == "1\n2\n"


def test_the_handler_is_given_a_snapshot(queue: Queue) -> None:
    """request.json says what the task asked for when it was claimed, and what its dependencies left."""
    queue.drop(X, acting(figure=3.0))
    queue.drop(Y, acting(more=f"depends_on: [{X}]\nstage: 2\n"))
    queue.until_status(Y, COMPLETED)
    request = json.loads((queue.workspace.attempt_dir(f"{Y}.1", 1) / "request.json").read_text())
    assert (request["stage"], request["attempt"], request["params"]) == (2, 1, {"do": "complete"})
    assert request["inputs"] == [
        {"task_id": X, "run_id": f"{X}.1", "handler": "act", "stage": None, "metrics": {"figure": 3.0}, "artifacts": [],
         "data_dir": str(queue.workspace.data_dir(f"{X}.1"))}
    ]  # fmt: skip


def test_a_run_in_its_own_folder_is_for_its_owner_alone(queue: Queue) -> None:
    """What a handler prints may hold secrets."""
    queue.drop(X)
    queue.until_status(X, COMPLETED)
    assert queue.workspace.attempt_dir(f"{X}.1", 1).stat().st_mode & 0o077 == 0


# ------------------------------------------------------------------ order


def test_priority_then_time_decides(workspace: Workspace) -> None:
    """With one worker, P0 goes before P1 and the older name before the newer one."""
    queue = Queue(workspace, workers=1)
    wanted = [name_of("z", 0, 9), name_of("b", 1, 1), name_of("a", 1, 2), name_of("old", 3, 0)]
    for name in reversed(wanted):
        queue.drop(name)
    queue.start()
    for name in wanted:
        queue.until_status(name, COMPLETED)
    claimed = [row.task_id for row in queue.rows() if row.type == "task.claimed"]
    assert claimed == wanted
    queue.settle()
    queue.abandon()


def test_no_more_runs_than_workers(workspace: Workspace) -> None:
    """One GPU holds one model: the second task waits for the first."""
    queue = Queue(workspace, workers=1).start()
    queue.drop(X, acting("wait"))
    running(queue)
    queue.drop(Y)
    queue.step(3)
    assert queue.task(Y).status is PENDING
    queue.move(X, IN_PROGRESS, BLOCKED)
    queue.until_status(Y, COMPLETED)
    queue.settle()
    queue.abandon()


def test_dependencies_wait_and_say_so(queue: Queue) -> None:
    """A dependant names what it waits for, with the reason, and starts when that is completed."""
    queue.drop(Y, acting(more=f"depends_on: [{X}]\n"))
    queue.settle()
    assert f"- Waiting: {X} (nobody has submitted it)" in queue.text(Y)
    queue.drop(X, acting("block"))
    queue.until_status(X, BLOCKED)
    queue.settle()
    assert f"- Waiting: {X} (blocked: the data is missing)" in queue.text(Y)
    path = queue.path(X, BLOCKED)
    path.write_text(path.read_text().replace('"block"', '"complete"'))
    queue.move(X, BLOCKED, PENDING)
    queue.until_status(Y, COMPLETED)
    assert "Waiting" not in queue.text(Y)


def test_a_cycle_is_blocked_and_can_be_broken(queue: Queue) -> None:
    """Tasks that wait for one another in a circle say so; without one of the edges they run."""
    names = [name_of(n) for n in "abc"]
    queue.workspace.pause.touch()
    queue.step()
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        queue.drop(name, acting(more=f"depends_on: [{other}]\n"))
    queue.settle()
    for name in names:
        assert queue.lies_in(name) == [BLOCKED]
        assert "a cycle: " in queue.text(name)
    path = queue.path(names[0], BLOCKED)
    path.write_text(path.read_text().replace(f"depends_on: [{names[1]}]", "depends_on: []"))
    for name in names:
        queue.move(name, BLOCKED, PENDING)
    queue.workspace.pause.unlink()
    for name in names:
        queue.until_status(name, COMPLETED)


def test_a_cycle_that_comes_back_unbroken_is_blocked_again(queue: Queue) -> None:
    """Moving the files back as they are does not leave them waiting for one another for ever."""
    queue.drop(X, acting(more=f"depends_on: [{Y}]\n"))
    queue.drop(Y, acting(more=f"depends_on: [{X}]\n"))
    queue.settle()
    for name in (X, Y):
        queue.move(name, BLOCKED, PENDING)
    queue.settle()
    assert queue.lies_in(X) == queue.lies_in(Y) == [BLOCKED]


def test_a_paused_queue_does_not_wait_for_what_backs_off(queue: Queue) -> None:
    """`cai once` ends on a paused queue, however far in the future a clock has put the next attempt."""
    queue.drop(X, acting("crash"))
    queue.until(lambda: queue.starts(X) == 1 and not queue.task(X).live)
    queue.workspace.pause.touch()
    queue.clock.jump(-3000.0)
    queue.settle()
    assert queue.task(X).status is PENDING


def test_pause_starts_nothing_new_and_lets_runs_go_on(queue: Queue) -> None:
    """Paused over a restart too, until it is taken back."""
    queue.drop(X, acting(seconds=0.5))
    running(queue)
    queue.workspace.pause.touch()
    queue.drop(Y)
    queue.until_status(X, COMPLETED)
    queue.restart()
    queue.step(3)
    assert queue.task(Y).status is PENDING
    queue.workspace.pause.unlink()
    queue.until_status(Y, COMPLETED)
    notes = [row.type for row in queue.rows() if row.type.startswith("queue.")]
    assert notes == ["queue.paused", "queue.resumed"]


# ------------------------------------------------------------------ money


def test_a_spent_budget_stops_the_run(workspace: Workspace) -> None:
    """The run is asked to stop, the task blocks with the figure, and a raised budget lets it go on."""
    queue = Queue(workspace, usd_per_hour=3.6e6).start()
    queue.drop(X, acting("wait", more="budget: {usd: 0.5}\n"))
    running(queue)
    from daemon import runs

    before, runs.CHARGE_EVERY_S = runs.CHARGE_EVERY_S, 0.01
    try:
        queue.until_status(X, BLOCKED)
    finally:
        runs.CHARGE_EVERY_S = before
    assert "its budget of 0.50 USD is spent" in queue.text(X)
    spent = queue.task(X).usd
    assert spent > 0.5
    connection = log.connect_readonly(workspace.log)
    assert connection.execute("SELECT sum(usd) FROM costs").fetchone()[0] == pytest.approx(spent)
    connection.close()
    queue.move(X, BLOCKED, PENDING)
    queue.settle()
    assert queue.lies_in(X) == [BLOCKED]
    assert queue.starts(X) == 1
    queue.abandon()


def test_every_second_of_an_attempt_is_charged_once(workspace: Workspace) -> None:
    """The cost is the exit's seconds times the price, over attempts and restarts."""
    queue = Queue(workspace, usd_per_hour=3600.0).start()
    queue.drop(X, acting(seconds=0.3))
    queue.until_status(X, COMPLETED)
    (exited,) = [row.payload for row in queue.rows(X) if row.type == "run.exited"]
    assert queue.task(X).usd == pytest.approx(exited["seconds"])
    queue.abandon()


# ------------------------------------------------------------------ handlers that misbehave


@pytest.mark.parametrize(
    ("do", "said"),
    [("crash", "exit code 3); its last words: about to crash"), ("exit0", "exit code 0)"), ("segfault", "signal 11)"),
     ("sigkill", "signal 9)")],
)  # fmt: skip
def test_a_poison_task_stops(queue: Queue, do: str, said: str) -> None:
    """Three crashes in a row, each later than the one before, then blocked with how it ended."""
    queue.drop(X, acting(do))
    queue.until(lambda: queue.starts(X) == 1 and not queue.task(X).live)
    queue.step(3)
    assert queue.starts(X) == 1, "the second attempt backs off"
    queue.clock.advance(2.1)
    queue.until(lambda: queue.starts(X) == 2 and not queue.task(X).live)
    queue.clock.advance(2.1)
    queue.step(3)
    assert queue.starts(X) == 2, "the third one waits twice as long"
    queue.clock.advance(2.0)
    queue.until_status(X, BLOCKED)
    queue.settle()
    assert queue.starts(X) == 3
    assert "3 crashes in a row" in queue.text(X)
    assert said in queue.text(X)


def test_a_run_that_gets_further_each_time_is_no_poison(workspace: Workspace) -> None:
    """A checkpoint between crashes gives new credit."""
    queue = Queue(workspace, backoff_s=0.0).start()
    queue.drop(X, acting("checkpoint"))
    queue.until(lambda: queue.starts(X) >= 5)
    queue.move(X, queue.lies_in(X)[0], BLOCKED)
    queue.until_status(X, BLOCKED)
    queue.settle()
    queue.abandon()


def test_an_attempt_that_was_claimed_for_nobody_is_over(queue: Queue) -> None:
    """A daemon that dies right after forbidding a launch leaves an attempt that has never run, and is tried again."""
    queue.workspace.pause.touch()
    queue.drop(X)
    queue.settle()
    assert queue.daemon
    queue.daemon.ledger.commit([(X, Claim())])
    workers.forbid(queue.workspace.attempt_dir(f"{X}.1", 1))
    queue.workspace.pause.unlink()
    queue.restart()
    queue.until_status(X, COMPLETED, advance_s=1.0)
    assert queue.types(X).count("run.spawned") == queue.starts(X) == 1


def test_an_attempt_that_nobody_has_launched_is_launched_at_start(queue: Queue) -> None:
    """A daemon that dies between the claim and the launch loses nothing."""
    queue.workspace.pause.touch()
    queue.drop(X)
    queue.settle()
    assert queue.daemon
    queue.daemon.ledger.commit([(X, Claim())])
    queue.restart()
    queue.until_status(X, COMPLETED)
    assert queue.starts(X) == 1


@pytest.mark.parametrize("edit", ["---\nassignee: ada\n---\n", "nothing\n"])
def test_an_attempt_that_is_not_launched_yet_can_be_taken_back(queue: Queue, edit: str) -> None:
    """A claimed task that somebody changes before the daemon is back is not launched, and stops nothing."""
    queue.workspace.pause.touch()
    queue.drop(X)
    queue.settle()
    assert queue.daemon
    queue.daemon.ledger.commit([(X, Claim())])
    queue.abandon()
    queue.path(X).write_text(edit)
    queue.start()
    queue.settle()
    assert queue.starts(X) == 0
    assert queue.task(X).status is (BLOCKED if "nothing" in edit else PENDING)


def test_nothing_of_a_cancelled_run_stays_alive(workspace: Workspace) -> None:
    """A handler that ignores SIGTERM and has a child in a session of its own is gone after the time of grace."""
    queue = Queue(workspace, stop_grace_s=0.3).start()
    queue.drop(X, acting("stubborn"))
    running(queue)
    queue.until(lambda: (queue.workspace.data_dir(f"{X}.1") / "ready").exists())
    queue.move(X, IN_PROGRESS, BLOCKED)
    queue.until_status(X, BLOCKED)
    assert not processes_of(queue.workspace)
    queue.abandon()


def test_a_child_that_a_handler_leaves_behind_dies_with_it(queue: Queue) -> None:
    """Double-forking does not help."""
    queue.drop(X, acting("fork"))
    queue.until_status(X, COMPLETED)
    assert not processes_of(queue.workspace)


def processes_of(workspace: Workspace) -> list[str]:
    """Lists the processes of a workspace's runs."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                if f"CAI_ATTEMPT={workspace.root}".encode() in Path(entry.path, "environ").read_bytes():
                    found.append(Path(entry.path, "cmdline").read_text())
            except (PermissionError, FileNotFoundError, ProcessLookupError):
                continue
    return found


def test_a_flood_of_reports_is_logged_in_order(queue: Queue) -> None:
    """20,000 figures arrive, each once."""
    queue.drop(X, acting("flood"))
    queue.until_status(X, COMPLETED)
    noise = [row.payload["report"]["value"] for row in queue.rows(X) if row.type == "run.measured"]
    assert noise == [float(n) for n in range(20_000)]


def test_garbage_among_the_reports_is_passed_over(queue: Queue) -> None:
    """What is no report, too long or no text does not hide what follows."""
    queue.drop(X, acting("garbage"))
    queue.until_status(X, COMPLETED)
    assert [row.type for row in queue.rows(X) if row.type.startswith("run.m")] == ["run.measured"]


ODD_REPORTS = {
    "lone surrogate": r'{"type": "progressed", "done": 1, "total": 2, "unit": "x", "note": "\ud800"}',
    "surrogate proposal": r'{"type": "proposed", "name": "20300101_000000_P1_p", "text": "\ud800"}',
    "not a number": '{"type": "measured", "name": "loss", "value": NaN, "at": {}}',
    "infinity": '{"type": "measured", "name": "loss", "value": 1e999, "at": {}}',
    "huge number": '{"type": "progressed", "done": 1' + "0" * 400 + ', "total": 2' + "0" * 400 + ', "unit": "x"}',
    "deep": '{"type": "measured", "at": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "deepish": '{"type": "measured", "name": "a", "value": 1, "at": ' + "[" * 600 + "]" * 600 + "}",
    "odd evidence": '{"type": "judged", "verdict": 3, "evidence": 4}',
    "no path": '{"type": "produced", "path": ["a"], "kind": {"b": {"c": 1}}}',
    "no type": '{"done": 1}',
    "type of another kind": '{"type": ["progressed"]}',
    "NUL": r'{"type": "progressed", "done": 1, "total": 2, "unit": "x", "note": "a\u0000b\nc"}',
    "garbage of 6 MB": "x" * 1000,  # repeated by the test
}


@pytest.mark.parametrize("kind", ODD_REPORTS)
def test_odd_reports_do_no_harm(queue: Queue, kind: str) -> None:
    """Whatever a handler writes into events.jsonl, the daemon goes on and hears what comes after; views stay readable."""
    raw = ODD_REPORTS[kind]
    queue.drop(X, acting("say", raw=raw))
    if kind == "garbage of 6 MB":
        queue.drop(Y, acting("wait"))
        running(queue, Y)
        with open(queue.workspace.attempt_dir(f"{Y}.1", 1) / "events.jsonl", "a") as stream:
            stream.write((raw + "\n") * 6000 + '{"type": "measured", "name": "after", "value": 1, "at": {}}\n')
        queue.until(lambda: "run.measured" in queue.types(Y))
        queue.move(Y, IN_PROGRESS, BLOCKED)
        queue.until_status(Y, BLOCKED)
    queue.until_status(X, COMPLETED)
    queue.restart()
    queue.settle()
    connection = log.connect_readonly(queue.workspace.log)
    after = connection.execute("SELECT value FROM metrics WHERE name = 'after' AND task_id = ?", [X]).fetchall()
    for view in log.VIEWS:
        connection.execute(f"SELECT * FROM {view}").fetchall()
    connection.close()
    assert after == [(1.0,)]


ODD_OUTCOMES = {
    "no JSON": "{",
    "empty": "",
    "not a number": '{"outcome": "completed", "metrics": {"figure": NaN}}',
    "text for a number": '{"outcome": "completed", "metrics": {"figure": "much"}}',
    "null for a number": '{"outcome": "completed", "metrics": {"figure": null}}',
    "no metrics": '{"outcome": "completed", "metrics": null}',
    "unknown": '{"outcome": "splendid"}',
    "unknown key": '{"outcome": "completed", "colour": "red"}',
    "a number for a reason": '{"outcome": "blocked", "reason": 3}',
    "lone surrogate": r'{"outcome": "blocked", "reason": "\ud800"}',
    "a list": "[]",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("kind", ODD_OUTCOMES)
def test_an_odd_outcome_is_a_defect_of_its_handler(queue: Queue, kind: str) -> None:
    """An outcome that cannot be read is durable all the same: it blocks the task at once and is never run again."""
    queue.drop(X, acting("leave", raw=ODD_OUTCOMES[kind]) + "- [ ] `figure >= 1`\n")
    queue.until_status(X, BLOCKED)
    queue.restart()
    queue.settle()
    assert queue.starts(X) == 1
    assert "outcome.json" in queue.task(X).reason


def test_a_handler_may_propose_tasks(queue: Queue) -> None:
    """A proposal becomes a file in pending/ once, also over restarts; a name that is no task's is nobody's file."""
    queue.drop(X, acting("propose"))
    proposed = "20300101_000000_P1_proposed"
    queue.until_status(proposed, COMPLETED)
    queue.path(proposed, COMPLETED).unlink()
    queue.settle()
    queue.restart()
    queue.settle()
    assert queue.types(proposed).count("task.submitted") == 1
    assert queue.lies_in(proposed) == []
    assert not list(queue.workspace.root.parent.glob("escape*"))
    assert not list(queue.workspace.tasks.rglob("*escape*"))


# ------------------------------------------------------------------ the user's hand on a run


def test_a_deleted_running_file_is_restored(queue: Queue) -> None:
    """Deleting is not cancelling; the file comes back with every line, and says how to cancel."""
    queue.drop(X, acting("wait") + "Mine.\n")
    running(queue)
    queue.path(X, IN_PROGRESS).unlink()
    queue.until(lambda: queue.lies_in(X) == [IN_PROGRESS] and "restored" in queue.text(X), advance_s=1.0)
    assert "Mine." in queue.text(X)
    assert "Started, attempt 1" in queue.text(X)
    assert "move it to blocked/" in queue.text(X)
    queue.move(X, IN_PROGRESS, BLOCKED)
    queue.until_status(X, BLOCKED)
    assert queue.starts(X) == 1


def test_every_save_of_an_editor_during_a_run_survives(queue: Queue) -> None:
    """A user who edits a running task's file again and again loses no word and no status line."""
    queue.drop(X, acting(seconds=1.5))
    running(queue)
    for number in range(15):
        path = queue.path(X, queue.lies_in(X)[0])
        path.write_text(path.read_text().replace("# Act\n", f"# Act\nword {number}\n"))
        queue.step()
        queue.clock.advance(0.3)
    queue.until_status(X, COMPLETED)
    queue.settle()
    assert all(f"word {number}\n" in queue.text(X) for number in range(15))
    assert "Completed" in queue.text(X)
    assert queue.starts(X) == 1


def test_a_task_that_is_sent_back_and_changed_runs_once_at_a_time(queue: Queue) -> None:
    """The old attempt ends before the new one begins, in a run of its own."""
    queue.drop(X, acting("wait"))
    running(queue)
    path = queue.path(X, IN_PROGRESS)
    path.write_text(path.read_text().replace('"wait"', '"complete"'))
    queue.move(X, IN_PROGRESS, PENDING)
    queue.until_status(X, COMPLETED)
    assert queue.task(X).run_id == f"{X}.2"
    order = [row.type for row in queue.rows(X) if row.type in ("run.spawned", "run.exited")]
    assert order == ["run.spawned", "run.exited"] * 2


def test_a_task_that_is_withdrawn_while_it_stops_and_dropped_again_runs_once_at_a_time(queue: Queue) -> None:
    """Its process is found and stopped, whatever has become of its file."""
    queue.drop(X, acting("wait"))
    running(queue)
    queue.move(X, IN_PROGRESS, BLOCKED)
    assert queue.daemon
    queue.daemon._look()
    queue.path(X, BLOCKED).unlink()
    for _ in range(2):
        queue.clock.advance(1.0)
        queue.daemon._look()
    assert (queue.task(X).status, queue.task(X).live) == (Status.WITHDRAWN, True)
    queue.drop(X, acting())
    queue.restart()
    queue.until_status(X, COMPLETED)
    order = [row.type for row in queue.rows(X) if row.type in ("run.spawned", "run.exited")]
    assert order == ["run.spawned", "run.exited"] * 2


def test_a_running_task_that_is_given_to_a_person_stops(queue: Queue) -> None:
    """A handler that is taken out of the file runs no longer, and the daemon goes on, also over a restart."""
    queue.drop(X, acting("wait"))
    running(queue)
    path = queue.path(X, IN_PROGRESS)
    path.write_text("---\nassignee: ada\n---\n# By hand\n")
    queue.step()
    queue.restart()
    queue.until(lambda: not queue.task(X).live)
    queue.settle()
    assert queue.task(X).status is PENDING
    assert queue.lies_in(X) == [PENDING]


def test_an_obstacle_is_named_and_waited_for(queue: Queue) -> None:
    """A file that lies where the task's own belongs is not overwritten; when it is gone, the move is made."""
    queue.drop(X, acting("wait"))
    running(queue)
    queue.path(X, BLOCKED).write_text("somebody's notes\n")
    assert queue.daemon
    queue.daemon.ledger.commit([(X, Block("stop", ""))])
    queue.until(lambda: any("is in the way" in line for line in queue.said))
    queue.step(3)
    assert queue.path(X, BLOCKED).read_text() == "somebody's notes\n"
    queue.path(X, BLOCKED).unlink()
    queue.until_status(X, BLOCKED)
    assert sum("is in the way" in line for line in queue.said) == 1


# ------------------------------------------------------------------ reviews


def test_a_reviewed_task_waits_for_its_approval(queue: Queue) -> None:
    """The request lies before the reviewer, their answer starts the task, and the request is put away."""
    queue.drop(X, acting(more="review: method\n"))
    request = queue.workspace.reviews / "method" / "pending" / f"{X}.review-1.md"
    queue.until(request.exists)
    queue.step(2)
    assert queue.task(X).status is PENDING
    answer = queue.workspace.reviews / "method" / "responses" / f"{X}.review-1.md"
    answer.write_text("---\nverdict: approve\n---\n")
    queue.until_status(X, COMPLETED)
    assert not request.exists()
    assert (request.parent.parent / "done" / request.name).exists()


@pytest.mark.parametrize(
    "edit",
    [acting(), "---\nassignee: ada\n---\n", "nothing\n", acting(more="review: ethics\n"),
     acting(more="review: method\n") + "x\n"],
    ids=["without a review", "for a person", "broken", "another reviewer", "another text"],
)  # fmt: skip
def test_an_edit_overtakes_an_open_review(queue: Queue, edit: str) -> None:
    """Whatever the file says now, the old request is put away and the daemon goes on, also over a restart."""
    queue.workspace.pause.touch()
    queue.drop(X, acting(more="review: method\n"))
    request = queue.workspace.reviews / "method" / "pending" / f"{X}.review-1.md"
    queue.until(request.exists)
    queue.path(X).write_text(edit)
    queue.settle()
    assert not request.exists()
    queue.restart()
    queue.settle()
    wants = [r.payload for r in queue.rows(X) if r.type == "review.requested"][1:]
    assert [w["reviewer"] for w in wants] == (
        ["ethics"] if "ethics" in edit else ["method"] if "review" in edit else []
    )


# ------------------------------------------------------------------ trouble


def test_a_full_disk_stops_the_work_and_not_the_daemon(queue: Queue) -> None:
    """Nothing is lost or half done while there is no room, and everything goes on when there is."""
    queue.drop(X, acting("wait"))
    running(queue)
    assert queue.daemon
    (pages,) = queue.daemon.log._db.execute("PRAGMA page_count").fetchone()
    queue.daemon.log._db.execute(f"PRAGMA max_page_count = {pages}")
    queue.drop(Y, ACT + "x" * 50_000)
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            queue.step()
    assert queue.lies_in(Y) == [PENDING]
    queue.daemon.log._db.execute("PRAGMA max_page_count = 1000000")
    queue.until_status(Y, COMPLETED)
    queue.move(X, IN_PROGRESS, BLOCKED)
    queue.until_status(X, BLOCKED)
    assert queue.starts(X) == queue.starts(Y) == 1


def test_a_clock_that_jumps_disturbs_nothing(queue: Queue) -> None:
    """An hour forward or back: events stay in order of seq, back-offs end, status lines are all there."""
    queue.drop(X, acting("crash"))
    for jump in (3600.0, -7200.0, 3600.0):
        queue.until(lambda: queue.find(X) and not queue.task(X).live and queue.starts(X))
        queue.clock.jump(jump)
        queue.clock.advance(10.0)
    queue.until_status(X, BLOCKED, advance_s=10.0)
    queue.settle()
    assert queue.text(X).count("Started, attempt") == 3


def test_one_daemon_a_workspace(queue: Queue) -> None:
    """The second one is told who the first one is; the first one's children do not keep the lock."""
    with pytest.raises(Locked, match=f"pid {os.getpid()} on "):
        Queue(queue.workspace).start()
    queue.drop(X, acting("wait"))
    running(queue)
    queue.abandon()
    queue.start()
    queue.move(X, IN_PROGRESS, BLOCKED)
    queue.until_status(X, BLOCKED)


def test_looking_at_the_lock_does_not_keep_a_daemon_from_starting(workspace: Workspace) -> None:
    """Who looks whether a daemon runs holds its lock for an instant; a daemon that starts then waits that long."""
    Lock(workspace.lock, {"pid": 1}).release()
    looking = os.open(workspace.lock, os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.05, os.close, [looking]).start()
    Lock(workspace.lock, {"pid": 2}).release()
    assert holder_of(workspace.lock) is None
