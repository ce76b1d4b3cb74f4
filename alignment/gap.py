"""Whether the untrained model lacks the skill: the verdict without which nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from alignment.assessment import ArmTally, Row


@dataclass(frozen=True, slots=True)
class GapVerdict:
    """The verdict with its evidence."""

    verdict: Literal["gap", "saturated", "underpowered"]
    reason: str
    best_arm: str  # of the counted ones
    best_accuracy: float
    low: float
    high: float
    best_elicited_arm: str  # of all arms: what the model can be brought to do without training
    best_elicited_accuracy: float
    counted_arms: tuple[str, ...]
    gate: float
    saturation: float
    noise_floor: float
    items: int

    def as_figures(self) -> dict[str, Any]:
        """Gives the verdict as JSON."""
        return asdict(self)


def noise_floor(first: Sequence[Row], second: Sequence[Row]) -> float:
    """Measures how far two runs of one arm differ: the share of items whose strict verdict changed.

    It bounds the difference of the accuracies from above, so no smaller gain can be told from batch effects.
    """
    before = {row["item"]: row["strict"] for row in first}
    changed = sum(before[row["item"]] != row["strict"] for row in second)
    return changed / len(second) if second else 0.0


def judge_gap(
    tallies: Mapping[str, ArmTally],
    counted: Sequence[str],
    *,
    gate: float,
    saturation: float,
    noise_floor: float,
    short: Mapping[str, Sequence[str]] | None = None,
) -> GapVerdict:
    """Decides whether there is something to teach.

    saturated: the best counted arm reaches `saturation`, and the gate's other figures. gap: its interval lies below the
    gate, by more than the noise floor, or one of the other figures is not reached. underpowered: neither can be said
    with this many items.

    Args:
        tallies: by arm; only arms that ran.
        counted: the arms that decide.
        gate: the accuracy that a trained model must reach, 0 … 1.
        short: by arm, which other figures of the gate it does not reach, in words.
    """
    present = tuple(arm for arm in counted if arm in tallies)
    best = max(present, key=lambda arm: tallies[arm].whole.accuracy)
    elicited = max(tallies, key=lambda arm: tallies[arm].whole.accuracy)
    whole = tallies[best].whole
    figures = f"best counted arm {best}: {_percent(whole.accuracy)} {_interval(whole.interval)} of {whole.n} items"
    verdict: Literal["gap", "saturated", "underpowered"]
    missing = list((short or {}).get(best, ()))
    if whole.accuracy >= saturation and missing:
        verdict, reason = "gap", f"{figures}, but {'; '.join(missing)}"
    elif whole.accuracy >= saturation:
        verdict, reason = "saturated", f"{figures}, from {_percent(saturation)} there is nothing to teach"
    elif whole.interval.high < gate and gate - whole.accuracy > noise_floor:
        verdict, reason = "gap", f"{figures}, below the gate of {_percent(gate)}"
    else:
        verdict, reason = "underpowered", f"{figures}, too near the gate of {_percent(gate)} to tell: take more items"
    return GapVerdict(
        verdict=verdict,
        reason=reason,
        best_arm=best,
        best_accuracy=whole.accuracy,
        low=whole.interval.low,
        high=whole.interval.high,
        best_elicited_arm=elicited,
        best_elicited_accuracy=tallies[elicited].whole.accuracy,
        counted_arms=present,
        gate=gate,
        saturation=saturation,
        noise_floor=noise_floor,
        items=whole.n,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(interval: tuple[float, float]) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
