"""Preference pairs: the best accepted answer against one that the critic turned down.

Sources: a rejected answer near mu - 2 sigma beats the worst one (arXiv 2502.16825); rejected answers of the earlier
model's raw arm keep the contrast as the model improves (arXiv 2508.06026). Departure: sigma is pooled within
instructions, because a handful of answers to one instruction gives no deviation of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from alignment.settings import GenerateSettings
from alignment.statistics import cohens_d


@dataclass(frozen=True, slots=True)
class Answer:
    """A judged answer."""

    text: str
    arm: Literal["few_shot", "raw", "revised", "refusal"]
    index: int  # which candidate of its arm, or how often it was revised
    margin: float
    outcome: str  # the critic's: good | bad | abstained | inconsistent


@dataclass(frozen=True, slots=True)
class Pair:
    """A chosen and a rejected answer to one instruction."""

    instruction: str
    chosen: Answer
    rejected: Answer
    principle: str = ""  # by which the margins were read, where the critic judges by principles

    @property
    def margin(self) -> float:
        """How much more the critic likes the chosen one, in nats."""
        return self.chosen.margin - self.rejected.margin


def best_accepted(answers: Iterable[Answer]) -> Answer | None:
    """Picks the accepted few-shot answer that the critic likes best; the earlier one of equals."""
    accepted = [a for a in answers if a.arm == "few_shot" and a.outcome == "good"]
    return max(accepted, key=lambda a: (a.margin, -a.index), default=None)


def pooled_sigma(groups: Iterable[Sequence[float]]) -> float:
    """Pools the standard deviation within groups; 0 where no group has two values."""
    squares, freedom = 0.0, 0
    for group in groups:
        mean = fmean(group) if group else 0.0
        squares += sum((value - mean) ** 2 for value in group)
        freedom += max(0, len(group) - 1)
    return math.sqrt(squares / freedom) if freedom else 0.0


def make_pairs(judged: Mapping[str, Sequence[Answer]], settings: GenerateSettings) -> tuple[list[Pair], Counter[str]]:
    """Makes the pairs of all instructions.

    Args:
        judged: by instruction, its distinct answers.

    Returns:
        The pairs, and how many were formed and dropped, by reason.
    """
    sigma = pooled_sigma([a.margin for a in answers] for answers in judged.values())
    pairs, counts = [], Counter[str]()
    for instruction, answers in judged.items():
        chosen = best_accepted(answers)
        if chosen is None:
            continue
        target = fmean(a.margin for a in answers) + settings.rejected_at * sigma
        turned_down = [a for a in answers if a.outcome == "bad" and a.text != chosen.text]
        wide = [a for a in turned_down if chosen.margin - a.margin >= max(settings.pair_margin * sigma, 1e-9)]
        counts["dropped.margin"] += len(turned_down) - len(wide)
        wide.sort(key=lambda a: (abs(a.margin - target), a.arm, a.index))
        nearest = {a.arm: a for a in reversed(wide)}
        wide.sort(key=lambda a: nearest[a.arm] is not a)  # the nearest of each arm comes before a second of one arm
        pairs += [Pair(instruction, chosen, rejected) for rejected in wide[: settings.pairs_per_instruction]]
        counts["dropped.cap"] += max(0, len(wide) - settings.pairs_per_instruction)
    counts["formed"] = len(pairs)
    while True:
        before = len(pairs)
        pairs = _with_raw_share(pairs, settings.raw_rejected)
        counts["dropped.raw_share"] += before - len(pairs)
        balanced = _with_like_lengths(pairs, settings.length_effect)
        counts["dropped.length"] += len(pairs) - len(balanced)
        if len(balanced) == before:
            return balanced, counts
        pairs = balanced


def raw_share(pairs: Sequence[Pair]) -> float:
    """Gives the share of rejected answers that come from the raw arm."""
    return sum(pair.rejected.arm == "raw" for pair in pairs) / len(pairs) if pairs else 0.0


def length_effect(pairs: Sequence[Pair]) -> float:
    """Gives Cohen's d of the chosen answers' lengths over the rejected ones', in characters."""
    if len(pairs) < 2:
        return 0.0
    chosen, rejected = ([float(len(text)) for text in texts] for texts in zip(*map(_texts, pairs), strict=True))
    return cohens_d(chosen, rejected) if len({*chosen, *rejected}) > 1 else 0.0


def _texts(pair: Pair) -> tuple[str, str]:
    return pair.chosen.text, pair.rejected.text


def _with_raw_share(pairs: list[Pair], least: float) -> list[Pair]:
    """Drops the pairs of least margin whose rejected answer is not raw, until the raw ones hold their share."""
    raw = sum(pair.rejected.arm == "raw" for pair in pairs)
    others = sorted((p for p in pairs if p.rejected.arm != "raw"), key=lambda p: -p.margin)
    allowed = math.floor(raw * (1 - least) / least) if least > 0 else len(others)
    kept = set(map(id, others[:allowed]))
    return [p for p in pairs if p.rejected.arm == "raw" or id(p) in kept]


def _with_like_lengths(pairs: list[Pair], limit: float) -> list[Pair]:
    """Drops as few as will do of the pairs that pull the lengths of chosen and rejected answers apart the most."""
    effect = length_effect(pairs)
    if abs(effect) < limit:
        return pairs
    sign = math.copysign(1, effect)
    ordered = sorted(pairs, key=lambda p: sign * (len(p.chosen.text) - len(p.rejected.text)))
    low, high = 0, len(ordered)  # keeping `low` of them is within the limit, keeping `high` is not
    while high - low > 1:
        middle = (low + high) // 2
        if sign * length_effect(ordered[:middle]) < limit:
            low = middle
        else:
            high = middle
    kept = set(map(id, ordered[:low]))
    return [p for p in pairs if id(p) in kept]
