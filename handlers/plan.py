"""Writes the task files of whole stages: `python -m handlers.plan WORKSPACE '{"stages": [1], …}'`.

Prints a JSON list of {name, handler, text}; `cai plan` drops them into pending/. Only what exists is planned: a stage
without a curriculum is refused.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from alignment.curriculum import load_stage, stage_folder
from alignment.profile import load_profile
from alignment.refusal import Refusal
from handlers.rounds import Choices, TaskFile, round_files, task_file


def plan(stages: Sequence[int], begin: datetime.datetime, choices: Choices) -> list[TaskFile]:
    """Writes the task files of stages, each stage after the one before.

    Args:
        stages: their numbers, in order.
        begin: the names' timestamps count from here, so that the queue takes the stages in order.
    """
    files: list[TaskFile] = []
    for index, stage in enumerate(stages):
        prefix = f"{begin + datetime.timedelta(seconds=index):%Y%m%d_%H%M%S}_P1"
        baseline = task_file(
            f"{prefix}_stage{stage}_baseline", "baseline", stage, f"Stage {stage}: what can the model do before?",
            "All untrained arms on the frozen items, the raw one twice for the noise floor.", choices,
            after=[files[-1].name] if files else [], criteria=["noise_floor <= 0.02"],
            review=choices.settings.review_promotion if files else "",
        )  # fmt: skip
        files += [baseline, *round_files(stage, 1, prefix, baseline.name, choices)]
    return files


def main(workspace: Path, wish: str) -> int:
    """Prints the plan that a JSON object of stages, profile, rounds, seed, begin and estimates asks for."""
    asked = json.loads(wish)
    try:
        profile = load_profile(asked["profile"], workspace)
        for stage in asked["stages"]:
            load_stage(stage_folder(profile.curriculum.world, stage, workspace), workspace)
        choices = Choices(profile.plan, asked["profile"], asked["seed"], asked["rounds"], asked["estimates"])
    except Refusal as refusal:
        print(f"{refusal.reason}; {refusal.needs}", file=sys.stderr)
        return 2
    begin = datetime.datetime.fromisoformat(asked["begin"])
    print(json.dumps([asdict(file) for file in plan(asked["stages"], begin, choices)]))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
