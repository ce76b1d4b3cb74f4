"""Whether a merged model is as good as the unmerged one: both answer the same frozen items, greedily."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

from alignment.assessment import Row, answers, evenly
from alignment.checkpoint import Checkpoint
from alignment.curriculum import Stage
from alignment.engines import open_engine
from alignment.prompts import arms
from alignment.refusal import Refusal
from alignment.settings import EngineSettings
from alignment.statistics import discordant, mcnemar

CHUNK_ITEMS = 64


@dataclass(frozen=True, slots=True)
class MergeCheck:
    """What a merge has cost.

    Args:
        n: items.
        unmerged, merged: of them passed.
        gained, lost: items on which the two disagree.
        p: exact McNemar, two-sided.
    """

    n: int
    unmerged: int
    merged: int
    gained: int
    lost: int
    p: float

    @property
    def points_lost(self) -> float:
        """The fall in accuracy, in percentage points."""
        return 100 * (self.unmerged - self.merged) / self.n


def check_merge(
    unmerged: Checkpoint, merged: Checkpoint, stage: Stage, engine: EngineSettings, items: int, most_points: float
) -> MergeCheck:
    """Compares a merged model with the unmerged one on a stage's items, one model in memory after the other.

    Args:
        items: how many, spread over the types.
        most_points: percentage points that the merged model may lose.

    Raises:
        Refusal: it loses more.
    """
    passed = [
        [row["strict"] for row in _answered(checkpoint, stage, engine, items)] for checkpoint in (unmerged, merged)
    ]
    gained, lost = discordant(*passed)
    check = MergeCheck(len(passed[0]), sum(passed[0]), sum(passed[1]), gained, lost, mcnemar(gained, lost))
    if check.points_lost > most_points:
        raise Refusal(
            f"merging loses {check.points_lost:.1f} points on {check.n} items of stage {stage.number}: the unmerged "
            f"model passes {check.unmerged}, the merged one {check.merged} (lost {lost}, gained {gained}, "
            f"p = {check.p:.2g}; at most {most_points:g} points)",
            "set train.merge: false and go on with the adapter, or allow more in train.merge_points",
        )
    return check


def _answered(checkpoint: Checkpoint, stage: Stage, settings: EngineSettings, items: int) -> list[Row]:
    engine: Any = open_engine(settings, checkpoint)
    arm = arms(stage, 1)["raw"]
    rows = [row for chunk in answers(engine, stage, arm, evenly(stage.items, items), CHUNK_ITEMS) for row in chunk]
    del engine
    gc.collect()
    return rows
