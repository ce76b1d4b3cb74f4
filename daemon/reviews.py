"""Reviews as files: what a reviewer is asked, and what their answer says.

    reviews/<reviewer>/pending/<task>.review-1.md       the request; moved to in_progress/ by the reviewer if they like
    reviews/<reviewer>/responses/<task>.review-1.md     the answer; never changed
    reviews/<reviewer>/done/                            requests that have been answered

Formats and folders only: what an answer does to its task is `lifecycle`'s business.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import folders, taskfile
from daemon.task import Issue, Task
from daemon.workspace import Workspace

FOLDERS = ("pending", "in_progress", "done", "responses")
VERDICTS = ("approve", "modify", "reject")
PRIORITIES = {"FATAL": 0, "HIGH": 1, "MEDIUM": 2, "LOW": 3}
FAULTS_SUFFIX = ".faults.txt"


@dataclass(frozen=True, slots=True)
class Response:
    """A reviewer's answer."""

    verdict: str
    issues: tuple[Issue, ...]
    comment: str
    sha256: str


def request_name(task: Task) -> str:
    """Names the task's open review, as its request and its response are named."""
    return f"{task.id}.review-{task.reviews}"


def place_request(workspace: Workspace, task: Task, text: str) -> None:
    """Makes sure that the request of a task's open review lies before its reviewer."""
    root = workspace.reviews / task.reviewer
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    name = f"{request_name(task)}.md"
    if not (root / "in_progress" / name).exists():
        with contextlib.suppress(FileExistsError):
            folders.create(root / "pending" / name, text.encode())


def close_request(workspace: Workspace, task: Task) -> None:
    """Moves the request of an answered review to done/."""
    root = workspace.reviews / task.reviewer
    name = f"{request_name(task)}.md"
    for folder in ("pending", "in_progress"):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            folders.move(root / folder / name, root / "done" / name)


def request_text(task: Task, inputs: Iterable[tuple[str, str]], spent_usd: float) -> str:
    """Writes what the reviewer is asked.

    Args:
        task: the task that waits.
        inputs: what the run will work on: path and sha256.
        spent_usd: what all tasks have cost so far.
    """
    assert task.spec is not None
    files = (
        "\n".join(f"- `{path}` sha256 {digest}" for path, digest in inputs) or "- nothing: it builds on no other task"
    )
    budget = f"{task.spec.budget_usd:.2f} USD" if task.spec.budget_usd else "none set"
    params = ", ".join(f"{key}: {value}" for key, value in task.spec.params.items()) or "the defaults"
    name = request_name(task)
    return f"""---
task: {task.id}
review: {task.reviews}
---
# May this run?

The task `{task.id}` waits for your answer.

## What will run
- handler `{task.spec.handler}`{f", stage {task.spec.stage}" if task.spec.stage else ""}; parameters: {params}
- estimate: {task.spec.estimate or "none given"}; budget: {budget}; spent so far by all tasks: {spent_usd:.2f} USD

## What it works on
{files}

## Questions
- Do the figures of the tasks before it support going on?
- Do the files hold what they should? Look at some rows, not only at the counts.
- Is the expected gain worth the cost?

## Checklist
- [ ] the evaluation items are the frozen ones, and none is in the training data
- [ ] the baseline is fair and shows a gap
- [ ] the settings are those that were agreed on

## How to answer
Write `responses/{name}.md` beside this folder:

```markdown
---
verdict: approve            # approve | modify | reject
issues:
  - severity: HIGH          # FATAL | HIGH | MEDIUM | LOW
    text: what is wrong, and what should be done
---
Any comment.
```

or `cai review approve {task.id}`, `cai review reject {task.id} --issue "HIGH: what is wrong"`.
`approve` releases the task, unless an issue is FATAL; `modify` and `reject` block it. Each issue becomes a task file.

## The task file
{_quoted(task.text)}
"""


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def response_text(verdict: str, issues: Sequence[Issue], comment: str) -> str:
    """Writes an answer, as `parse_response` reads it."""
    import yaml

    front = {"verdict": verdict, "issues": [{"severity": i.severity, "text": i.text} for i in issues]}
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{comment}\n"


def parse_response(content: bytes) -> Response:
    """Reads an answer strictly.

    Raises:
        taskfile.Invalid: with every fault.
    """
    text = taskfile.decode(content)
    raw, comment = taskfile.front_matter(text)
    faults = [
        f"{key}: unknown; a response has verdict, issues"
        for key in raw
        if key not in ("verdict", "issues", "task", "review")
    ]
    verdict = raw.get("verdict")
    if verdict not in VERDICTS:
        faults.append(f"verdict: {verdict!r} is not one of {', '.join(VERDICTS)}")
    listed = raw.get("issues") or []
    if not isinstance(listed, list):
        faults.append(f"issues: expected a list, got {listed!r}")
        listed = []
    issues = []
    for number, item in enumerate(listed, 1):
        issue, issue_faults = _issue(item, f"issues[{number}]")
        faults += issue_faults
        issues += [issue] if issue else []
    if verdict == "reject" and not issues and not comment.strip():
        faults.append("issues: a rejection needs a reason: an issue, or a comment below the front matter")
    if faults:
        raise taskfile.Invalid(faults)
    return Response(str(verdict), tuple(issues), comment.strip(), hashlib.sha256(content).hexdigest())


def _issue(item: Any, where: str) -> tuple[Issue | None, list[str]]:
    if not isinstance(item, dict) or not {"severity", "text"} <= item.keys():
        return None, [f"{where}: expected severity and text, got {item!r}"]
    severity, text = item["severity"], item["text"]
    faults = []
    if severity not in PRIORITIES:
        faults.append(f"{where}.severity: {severity!r} is not one of {', '.join(PRIORITIES)}")
    if not isinstance(text, str) or not text.strip():
        faults.append(f"{where}.text: expected a sentence, got {text!r}")
    return (None, faults) if faults else (Issue(severity, text.strip(), str(item.get("assignee") or "researcher")), [])


def issue_task(task_id: str, review: str, issue: Issue, number: int, stamp: str) -> tuple[str, str]:
    """Gives the name and text of the task file that an issue becomes.

    Args:
        stamp: YYYYMMDD_HHMMSS.
    """
    words = re.sub(r"[^a-z0-9]+", "_", issue.text.lower()).strip("_")[:40] or "issue"
    name = f"{stamp}_P{PRIORITIES[issue.severity]}_review_{number}_{words}"
    text = f"""---
assignee: {issue.assignee}
---
# {issue.severity}: {issue.text.splitlines()[0]}

{issue.text}

From the review `{review}` of the task `{task_id}`. When it is done, move this file to `completed/`.
"""
    return name, text


def report_faults(path: Path, faults: Sequence[str]) -> None:
    """Says beside a malformed response what is wrong with it; the response itself is not touched."""
    text = "This response cannot be used; mend it or write another one:\n" + "\n".join(f"- {f}" for f in faults) + "\n"
    beside = path.with_name(path.name + FAULTS_SUFFIX)
    if not beside.exists() or beside.read_text(encoding="utf-8") != text:
        beside.unlink(missing_ok=True)
        folders.create(beside, text.encode())
