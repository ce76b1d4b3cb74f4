"""The task files of one round of a stage: generate, train, evaluate."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from alignment.settings import PlanSettings
from handlers.contract import Request, Run


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A task file to be dropped into pending/."""

    name: str
    handler: str
    text: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What the tasks of a plan have in common."""

    settings: PlanSettings
    profile: str = "micro"
    seed: int = 0
    rounds: int = 1
    estimates: Mapping[str, str] = field(default_factory=dict)  # by handler, as people read them


def task_file(
    name: str,
    handler: str,
    stage: int,
    title: str,
    why: str,
    choices: Choices,
    *,
    after: Iterable[str] = (),
    params: Mapping[str, Any] | None = None,
    criteria: Iterable[str] = (),
    review: str = "",
) -> TaskFile:
    """Writes one task file."""
    front: dict[str, Any] = {"handler": handler, "stage": stage}
    if after := list(after):
        front["depends_on"] = after
    if handler in choices.estimates:
        front["estimate"] = choices.estimates[handler]
    if review:
        front["review"] = review
    front["params"] = {"profile": choices.profile, "seed": choices.seed, **(params or {})}
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", f"# {title}", "", why]
    boxes = [f"- [ ] `{criterion}`" for criterion in criteria]
    if boxes:
        lines += ["", "## Success criteria", *boxes]
    return TaskFile(name, handler, "\n".join([*lines, ""]))


def round_files(stage: int, number: int, prefix: str, after: str, choices: Choices) -> list[TaskFile]:
    """Writes the task files of a round.

    Args:
        stage: from 1.
        number: of the round, from 1.
        prefix: what the names begin with: timestamp and priority.
        after: the task that the round builds on.
    """
    # The same seed would draw the same rows again.
    ours = Choices(
        choices.settings, choices.profile, choices.seed + number - 1, choices.rounds, choices.estimates
    )  # fmt: skip
    stem = f"{prefix}_stage{stage}_round{number}"
    label = f"Stage {stage}, round {number}:"
    methods = choices.settings.methods
    trains = [f"{stem}_train{index}_{method}" for index, method in enumerate(methods, 1)]
    files = [
        task_file(
            f"{stem}_generate", "generate", stage, f"{label} the model writes its own data",
            "Instructions, answers, and the critic's choice among them.", ours, after=[after],
        )
    ]  # fmt: skip
    for index, (method, name) in enumerate(zip(methods, trains, strict=True)):
        files.append(
            task_file(
                name, "train", stage, f"{label} train by {method.upper()}",
                "On the rows that the critic has kept.", ours,
                after=[f"{stem}_generate", *trains[:index]][::-1], params={"method": method},
                review=choices.settings.review_training if (number, index) == (1, 0) else "",
            )
        )  # fmt: skip
    files.append(
        task_file(
            f"{stem}_evaluate", "evaluate", stage, f"{label} was it worth it?",
            "On the frozen items, paired with the baseline. A failed gate with rounds left calls for the next round.",
            choices, after=[trains[-1]], params={"round": number, "rounds": choices.rounds},
        )
    )  # fmt: skip
    return files


def propose_round(request: Request, run: Run, settings: PlanSettings) -> bool:
    """Proposes the task files of the round after a failed evaluation.

    The names derive from this task's, so that a repeated attempt proposes the same files.

    Returns:
        Whether a round was left.
    """
    number, rounds = int(request.params.get("round", 1)) + 1, int(request.params.get("rounds", 1))
    if number > rounds or request.stage is None:
        return False
    choices = Choices(settings, str(request.params.get("profile", "micro")), int(request.params.get("seed", 0)), rounds)
    prefix = "_".join(request.task_id.split("_")[:3])
    for file in round_files(request.stage, number, prefix, request.task_id, choices):
        run.propose(f"{file.name}.md", file.text)
    return True
