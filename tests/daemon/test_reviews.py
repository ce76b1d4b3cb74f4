"""Reviews by files and by commands: asked for when all else is there, answered once, with issues that become tasks."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon import audit, reviews
from daemon.cli import main
from daemon.service import Daemon
from daemon.task import Issue, Status
from daemon.taskfile import Invalid
from daemon.workspace import Settings, Workspace
from tests.actor import KINDS

ACTOR = (sys.executable, str(Path(__file__).parent.parent / "actor.py"))
TASK = "20260105_090000_P1_train"
FILE = "---\nhandler: act\nreview: method\n---\n# Train\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon over an empty workspace, stepped by the test."""
    workspace = Workspace(tmp_path)
    workspace.create()
    ids = (f"id-{number}" for number in itertools.count())
    daemon = Daemon(workspace, Settings(), ids=ids, kinds=KINDS, command=ACTOR, say=lambda _: None)
    daemon.start()
    yield daemon
    daemon.close()
    assert audit.log_faults(workspace.log) == []
    assert audit.disagreements(workspace) == []


def drop(lab: Daemon, text: str = FILE, name: str = TASK) -> None:
    lab.workspace.file(Status.PENDING, name).write_text(text)


def step_until(lab: Daemon, reached: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, {t.id: (t.status, t.reason) for t in lab.tasks.values()}
        lab.step()
        time.sleep(0.005)
    lab.step()


def status(lab: Daemon, name: str = TASK) -> Status | None:
    return lab.tasks[name].status if name in lab.tasks else None


def paths(lab: Daemon) -> tuple[Path, Path]:
    folder = lab.workspace.reviews / "method"
    return folder / "pending" / f"{TASK}.review-1.md", folder / "responses" / f"{TASK}.review-1.md"


def test_review_is_asked_for_before_the_task_runs(lab: Daemon) -> None:
    """A task with `review:` writes a request that tells what will run, says what it waits for, and starts nothing."""
    drop(lab)
    request, _ = paths(lab)
    step_until(lab, request.exists)
    assert status(lab) is Status.PENDING
    assert "handler `act`" in request.read_text()
    assert "- Waiting: a review by method" in lab.workspace.file(Status.PENDING, TASK).read_text()
    assert not lab.workspace.data_dir(f"{TASK}.1").exists()


def test_review_waits_for_the_dependencies_first(lab: Daemon) -> None:
    """A reviewer is asked only when everything that the task builds on is there to be looked at."""
    drop(lab, FILE.replace("review:", "depends_on: [20260105_080000_P1_data]\nreview:"))
    for _ in range(5):
        lab.step()
    assert not paths(lab)[0].exists()
    drop(lab, "---\nhandler: act\n---\n", "20260105_080000_P1_data")
    step_until(lab, paths(lab)[0].exists)


def test_approval_releases_the_task(lab: Daemon) -> None:
    """`verdict: approve` lets the task run, and the request is put away."""
    drop(lab)
    request, response = paths(lab)
    step_until(lab, request.exists)
    response.write_text("---\nverdict: approve\n---\nGo on.\n")
    step_until(lab, lambda: status(lab) is Status.COMPLETED)
    assert not request.exists()
    assert (request.parent.parent / "done" / request.name).exists()
    assert "Review by method: approve" in lab.workspace.file(Status.COMPLETED, TASK).read_text()


def test_answer_given_while_no_daemon_ran_is_taken_up_in_the_first_step(lab: Daemon) -> None:
    """`cai once` looks once before it finds the queue idle, so an answer that lies there must be read in that look."""
    drop(lab)
    request, response = paths(lab)
    step_until(lab, request.exists)
    lab.close()
    response.write_text("---\nverdict: reject\n---\nToo few rows.\n")
    lab.start()
    lab.step()
    assert status(lab) is Status.BLOCKED
    lab.step()  # moves the file


@pytest.mark.parametrize("verdict", ["reject", "modify"])
def test_refusal_blocks_the_task_and_turns_issues_into_tasks(lab: Daemon, verdict: str) -> None:
    """Each issue becomes a task file whose priority is its severity, linked to the review, and named in the task."""
    drop(lab)
    request, response = paths(lab)
    step_until(lab, request.exists)
    answer = f"---\nverdict: {verdict}\nissues:\n  - {{severity: HIGH, text: too few rows}}\n---\n"
    response.write_text(answer)
    step_until(lab, lambda: status(lab) is Status.BLOCKED and len(lab.tasks) == 2)
    issue = next(task for task in lab.tasks.values() if task.id != TASK)
    assert "_P1_review_1_too_few_rows" in issue.id
    assert issue.spec is not None
    assert issue.spec.assignee == "researcher"
    assert f"From the review `{TASK}.review-1`" in issue.text
    assert issue.id in lab.workspace.file(Status.BLOCKED, TASK).read_text()
    assert response.read_text() == answer
    assert not lab.workspace.data_dir(f"{TASK}.1").exists()


def test_fatal_issue_blocks_even_an_approval(lab: Daemon) -> None:
    """An issue of severity FATAL weighs more than the verdict."""
    drop(lab)
    request, response = paths(lab)
    step_until(lab, request.exists)
    response.write_text("---\nverdict: approve\nissues: [{severity: FATAL, text: a leak}]\n---\n")
    step_until(lab, lambda: status(lab) is Status.BLOCKED)


def test_blocked_review_is_asked_for_again_after_a_retry(lab: Daemon) -> None:
    """A task that comes back from a refusal gets a review of its own number; the old response does not count."""
    drop(lab)
    request, response = paths(lab)
    step_until(lab, request.exists)
    response.write_text("---\nverdict: reject\n---\nno\n")
    step_until(lab, lambda: status(lab) is Status.BLOCKED)
    lab.workspace.file(Status.BLOCKED, TASK).rename(lab.workspace.file(Status.PENDING, TASK))
    second = request.with_name(f"{TASK}.review-2.md")
    step_until(lab, second.exists)
    assert status(lab) is Status.PENDING


def test_malformed_response_is_reported_beside_it_and_left_alone(lab: Daemon) -> None:
    """A response that cannot be read is never changed; what is wrong with it stands beside it, and a mended one counts."""
    drop(lab)
    request, response = paths(lab)
    step_until(lab, request.exists)
    response.write_text("---\nverdict: maybe\nissues: [{severity: BAD}]\n---\n")
    beside = response.with_name(response.name + reviews.FAULTS_SUFFIX)
    step_until(lab, beside.exists)
    assert "'maybe' is not one of approve, modify, reject" in beside.read_text()
    assert "issues[1]" in beside.read_text()
    assert status(lab) is Status.PENDING
    response.write_text("---\nverdict: approve\n---\n")
    step_until(lab, lambda: status(lab) is Status.COMPLETED)


def test_response_written_while_the_daemon_was_away_is_read_at_start(tmp_path: Path) -> None:
    """Nobody has to watch: what a reviewer wrote in the meantime is taken up."""
    workspace = Workspace(tmp_path)
    workspace.create()

    def begin() -> Daemon:
        ids = (f"{time.monotonic_ns()}-{number}" for number in itertools.count())
        daemon = Daemon(workspace, Settings(), ids=ids, kinds=KINDS, command=ACTOR, say=lambda _: None)
        daemon.start()
        return daemon

    first = begin()
    drop(first)
    step_until(first, paths(first)[0].exists)
    first.close()
    assert main(["-w", str(tmp_path), "review", "approve", TASK]) == 0
    second = begin()
    step_until(second, lambda: status(second) is Status.COMPLETED)
    second.close()


def test_commands_list_show_and_answer(lab: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """`cai review` does from the terminal what files do, and refuses what is no answer."""
    drop(lab)
    step_until(lab, paths(lab)[0].exists)
    where = ["-w", str(lab.workspace.root), "review"]
    assert main([*where, "list"]) == 0
    assert f"{TASK}  waits for method" in capsys.readouterr().out
    assert main([*where, "show", "train"]) == 0
    assert "May this run?" in capsys.readouterr().out
    assert main([*where, "reject", TASK]) == 2
    assert "a rejection needs a reason" in capsys.readouterr().err
    assert main([*where, "reject", TASK, "--issue", "HIGH: too few rows"]) == 0
    step_until(lab, lambda: status(lab) is Status.BLOCKED)
    assert main([*where, "approve", TASK]) == 2
    assert "no review of" in capsys.readouterr().err


def test_response_round_trips() -> None:
    """What the command writes is what the daemon reads."""
    issues = (Issue("HIGH", "too few: rows"), Issue("LOW", "a typo"))
    found = reviews.parse_response(reviews.response_text("modify", issues, "see there").encode())
    assert (found.verdict, found.issues, found.comment) == ("modify", issues, "see there")


def test_response_without_front_matter_is_refused() -> None:
    """A response begins with its front matter."""
    with pytest.raises(Invalid, match="front matter"):
        reviews.parse_response(b"approve\n")
