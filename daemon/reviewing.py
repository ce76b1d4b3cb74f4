"""Reviews as they go on: reviewers are asked when their turn has come, and their answers are taken in as they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from daemon import folders, reviews, schedule, taskfile
from daemon.ledger import Ledger
from daemon.lifecycle import AnswerReview, AskReview
from daemon.task import Task
from daemon.workspace import Workspace


class Reviewing:
    """Asks and listens on the daemon's behalf."""

    def __init__(self, workspace: Workspace, ledger: Ledger, drop: Callable[[str, str], None]) -> None:
        """Prepares.

        Args:
            drop: takes the name and text of a task file for pending/.
        """
        self._workspace, self._ledger, self._drop = workspace, ledger, drop
        self._requested: set[str] = set()  # open reviews whose request is known to be there
        self._responses: dict[str, folders.Mark] = {}

    def attend(self) -> None:
        """Asks reviewers whose turn it is, and takes in their answers."""
        for task_id in [
            name for name in self._ledger.in_review if not self._ledger.tasks[name].asked
        ]:  # answered, or overtaken
            reviews.close_request(self._workspace, self._ledger.tasks[task_id])
            self._ledger.in_review.discard(task_id)
            self._requested.discard(task_id)
        if self._ledger.changed:
            turns = [task.id for task in self._ledger.tasks.values() if schedule.wants_review(task, self._ledger.tasks)]
            self._ledger.commit([(task_id, AskReview()) for task_id in turns])
        for task_id in sorted(self._ledger.in_review):
            task = self._ledger.tasks[task_id]
            if task_id not in self._requested:
                reviews.place_request(self._workspace, task, self._request_text(task))
                self._requested.add(task_id)
            self._read_response(task)

    def _request_text(self, task: Task) -> str:
        manifests = [
            (path, hashlib.sha256((self._workspace.root / path).read_bytes()).hexdigest())
            for other in schedule.ancestors(task, self._ledger.tasks)
            for path in other.artifacts
            if path.endswith("manifest.json") and (self._workspace.root / path).is_file()
        ]
        return reviews.request_text(task, manifests, sum(t.usd for t in self._ledger.tasks.values()))

    def _read_response(self, task: Task) -> None:
        path = self._workspace.reviews / task.reviewer / "responses" / f"{reviews.request_name(task)}.md"
        mark = folders.mark_of(path)
        if mark is None or self._responses.get(task.id) == mark:
            return
        try:
            content, self._responses[task.id] = folders.read(path)
            answer = reviews.parse_response(content)
        except (folders.NotReady, FileNotFoundError):
            return
        except folders.Unfit as error:
            self._responses[task.id] = mark
            reviews.report_faults(path, [str(error)])
            return
        except taskfile.Invalid as error:
            reviews.report_faults(path, error.faults)
            return
        stamp = self._ledger.at()[:19].translate(str.maketrans("T", "_", "-:"))
        tasks = tuple(
            reviews.issue_task(task.id, path.stem, issue, number, stamp)
            for number, issue in enumerate(answer.issues, 1)
        )
        command = AnswerReview(answer.verdict, answer.issues, answer.comment, answer.sha256, tasks)
        self._ledger.commit([(task.id, command)], actor=task.reviewer)
        for name, text in tasks:
            self._drop(name, text)
