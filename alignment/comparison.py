"""A trained model against an untrained arm, item by item, and the verdict of a stage's gate.

Pure functions over rows of completions.jsonl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from alignment.assessment import ArmTally, Row
from alignment.measures import missed
from alignment.settings import EvaluateSettings
from alignment.statistics import (
    Interval,
    benjamini_hochberg,
    bootstrap_lift,
    cohens_h,
    discordant,
    mcnemar,
    minimum_detectable_effect,
)


@dataclass(frozen=True, slots=True)
class TypeComparison:
    """One type of item: what was gained and lost, and the p-value adjusted for the number of types."""

    n: int
    gained: int
    lost: int
    p: float
    q: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms on the same items. The lift is the second's accuracy minus the first's."""

    before: str  # the arms' names
    after: str
    n: int
    accuracy_before: float
    accuracy_after: float
    gained: int
    lost: int
    p: float  # exact McNemar, two-sided
    h: float  # Cohen's
    lift_interval: Interval  # paired bootstrap
    detectable: float  # the minimum detectable effect at this n
    by_type: Mapping[str, TypeComparison]

    @property
    def lift(self) -> float:
        """The gain in accuracy."""
        return self.accuracy_after - self.accuracy_before

    def as_figures(self) -> dict[str, Any]:
        """Gives the comparison as JSON."""
        return {**asdict(self), "lift": self.lift}


def compare(before: Sequence[Row], after: Sequence[Row], settings: EvaluateSettings, seed: int) -> Comparison:
    """Compares two arms on the same items.

    Args:
        before: an arm's rows.
        after: the other arm's rows, of the same items in any order.
        seed: of the bootstrap.

    Raises:
        ValueError: the arms did not answer the same items.
    """
    first = {row["item"]: row for row in before}
    second = {row["item"]: row for row in after}
    if first.keys() != second.keys():
        lone = sorted(first.keys() ^ second.keys())
        raise ValueError(f"{len(lone)} items were answered by one of the arms only, such as {lone[0]}")
    items = sorted(first)
    passed = [first[item]["strict"] for item in items], [second[item]["strict"] for item in items]
    gained, lost = discordant(*passed)
    n = len(items)
    rates = sum(passed[0]) / n, sum(passed[1]) / n
    return Comparison(
        before=before[0]["arm"],
        after=after[0]["arm"],
        n=n,
        accuracy_before=rates[0],
        accuracy_after=rates[1],
        gained=gained,
        lost=lost,
        p=mcnemar(gained, lost),
        h=cohens_h(*rates),
        lift_interval=bootstrap_lift(*passed, seed=seed, confidence=settings.confidence, resamples=settings.resamples),
        detectable=minimum_detectable_effect(
            n, alpha=settings.alpha, power=settings.power, discordance=settings.discordance
        ),
        by_type=_by_type(first, second),
    )


def _by_type(first: Mapping[str, Row], second: Mapping[str, Row]) -> dict[str, TypeComparison]:
    types = sorted({row["type"] for row in first.values()})
    counts = []
    for name in types:
        of_type = [item for item, row in first.items() if row["type"] == name]
        pairs = discordant([first[i]["strict"] for i in of_type], [second[i]["strict"] for i in of_type])
        counts.append((len(of_type), *pairs, mcnemar(*pairs)))
    adjusted = benjamini_hochberg([count[3] for count in counts])
    return {name: TypeComparison(*count, q) for name, count, q in zip(types, counts, adjusted, strict=True)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a stage's gate is passed, with the evidence in words."""

    verdict: Literal["passed", "failed", "saturated", "inconclusive"]
    evidence: tuple[str, ...]


def judge(
    tally: ArmTally,
    against: Comparison,
    gate: Mapping[str, float],
    measured: Mapping[str, float],
    regressions: Sequence[Comparison],
    settings: EvaluateSettings,
    *,
    baseline_verdict: str,
    noise_floor: float,
    collapsed: Sequence[str] = (),
) -> Verdict:
    """Judges a trained model.

    saturated: the untrained model had the skill. failed: a figure of the gate is not reached, an earlier stage is lost,
    or the answers have collapsed. inconclusive: the gate is reached, but not by more than chance and the noise floor.
    passed: all else.

    Args:
        tally: the trained model's.
        against: the trained model against the best counted untrained arm.
        gate: figure by figure, what must be reached.
        measured: the gate's figures as measured.
        regressions: earlier stages' evaluations against this model.
        baseline_verdict: the baseline's own.
        noise_floor: gains up to this cannot be told from batch effects.
        collapsed: what the answers show of a model that degenerates.
    """
    low, high = tally.whole.interval
    evidence = [
        f"{_percent(tally.whole.accuracy)} [{_percent(low)}, {_percent(high)}] of {tally.whole.n} items, untrained arm "
        f"{against.before} {_percent(against.accuracy_before)}: gained {against.gained}, lost {against.lost}, "
        f"McNemar p = {against.p:.2g}, Cohen's h = {against.h:.2f}"
    ]
    if baseline_verdict == "saturated":
        return Verdict("saturated", (*evidence, "the untrained model had the skill: nothing was shown to be taught"))
    short = missed(gate, measured)
    lost = [
        f"{comparison.before} is lost: {_percent(comparison.accuracy_before)} before, "
        f"{_percent(comparison.accuracy_after)} now, p = {comparison.p:.2g}"
        for comparison in regressions
        if regressed(comparison, settings.alpha, noise_floor)
    ]
    if short or lost or collapsed:
        return Verdict("failed", (*evidence, *short, *lost, *collapsed))
    if against.lift <= noise_floor:
        floor = f"the gain of {_points(against.lift)} is not above the noise floor of {_points(noise_floor)}"
        return Verdict("inconclusive", (*evidence, floor))
    if against.p >= settings.alpha:
        chance = (
            f"p = {against.p:.2g} is not below {settings.alpha:g}: {against.n} items find {_points(against.detectable)}"
        )
        return Verdict("inconclusive", (*evidence, chance))
    return Verdict("passed", tuple(evidence))


def regressed(comparison: Comparison, alpha: float, noise_floor: float) -> bool:
    """Tells whether an earlier stage is lost by more than chance and the noise floor."""
    return comparison.p < alpha and -comparison.lift > noise_floor


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
