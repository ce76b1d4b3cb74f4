"""Whether a merged model is as good as the unmerged one: both answer the same frozen items, greedily."""

from __future__ import annotations

from dataclasses import dataclass

from alignment.assessment import Asked, Row, answers, evenly
from alignment.checkpoint import Checkpoint, load_tokenizer
from alignment.curriculum import Stage
from alignment.engines.padded import PaddedModel
from alignment.engines.text import TextEngine
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

    Both are computed by transformers in this process, whatever engine the profile names for other work.

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
    # Not through open_engine: this process has the device already, and no server may load a model beside it.
    engine = TextEngine(load_tokenizer(checkpoint.base), PaddedModel.load(settings, checkpoint), {})
    asked = Asked(stage, arms(stage, 1)["raw"], evenly(stage.items, items), CHUNK_ITEMS)
    rows = [row for chunk in answers(engine, [asked]) for row in chunk]
    engine.close()
    return rows
