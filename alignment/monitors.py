"""Signs that a model degenerates while it is trained (LESSONS: chosen log-probabilities fell, then repetition).

Pure functions over texts and figures; what measures them on a model is alignment/training/probe.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a fixed probe measures of a model.

    Args:
        chosen_logp: mean log-probability a token of the probe's chosen answers, nats.
        eos_rate: share of greedy answers that end by themselves.
        repetition: share of 4-grams that repeat one of the same answer, mean over the answers.
        distinct_2: distinct bigrams among all bigrams of the answers.
    """

    chosen_logp: float
    eos_rate: float
    repetition: float
    distinct_2: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a run is stopped.

    Args:
        chosen_fall: tolerated fall of the chosen log-probability, as a share of its value at step 0.
        chosen_slack: nats a token that it may fall in any case; near 0, a share of it is noise.
        eos_rate: rate below which a model that had reached it has unlearned to stop.
        repetition: tolerated rise of 4-gram repetition.
        distinct_2: least share that is left of distinct-2.
        patience: probes in a row that must breach before the run is stopped.
    """

    chosen_fall: float = 0.15
    chosen_slack: float = 0.05
    eos_rate: float = 0.95
    repetition: float = 0.15
    distinct_2: float = 0.5
    patience: int = 2


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """Lists the n-grams of a text's words."""
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def repetition(texts: Sequence[str], n: int = 4) -> float:
    """Gives the mean share of n-grams that repeat an earlier one of the same text; short texts repeat nothing."""
    shares = [1 - len(set(grams)) / len(grams) if (grams := ngrams(text, n)) else 0.0 for text in texts]
    return sum(shares) / len(shares) if shares else 0.0


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Gives the distinct n-grams among all of the texts' n-grams; 1 where there are none.

    Source:
        Li et al. 2016, arXiv 1510.03055, section 4.2 (distinct-n).
    """
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 1.0


def breaches(now: Vitals, earlier: Sequence[Vitals], target: Vitals, limits: Limits) -> list[str]:
    """Lists what is out of band at one probe.

    The chosen log-probability is held against step 0. The other signs are held against the training rows' own, or
    against the best that the model has shown where it has not got there yet: a base model that runs on and repeats
    itself is young, not sick.

    Args:
        now: the probe at this step.
        earlier: the probes before it, from step 0 on.
        target: the training rows' own repetition and distinct-2.
        limits: where the bands end.
    """
    found = []
    first = earlier[0].chosen_logp
    tolerated = max(limits.chosen_fall * abs(first), limits.chosen_slack)
    if first - now.chosen_logp > tolerated:
        found.append(
            f"chosen log-probability fell by {first - now.chosen_logp:.3f} nats a token, from {first:.3f} "
            f"to {now.chosen_logp:.3f} (tolerated {tolerated:.3f})"
        )
    if now.eos_rate < limits.eos_rate <= max(vitals.eos_rate for vitals in earlier):
        found.append(f"{now.eos_rate:.1%} of answers end by themselves (at least {limits.eos_rate:.1%})")
    most = max(target.repetition, min(vitals.repetition for vitals in earlier)) + limits.repetition
    if now.repetition > most:
        found.append(f"4-gram repetition is {now.repetition:.2f} (at most {most:.2f})")
    least = min(target.distinct_2, max(vitals.distinct_2 for vitals in earlier)) * limits.distinct_2
    if now.distinct_2 < least:
        found.append(f"distinct-2 is {now.distinct_2:.2f} (at least {least:.2f})")
    return found


@dataclass(frozen=True, slots=True)
class Signs:
    """What a set of answers shows of the model that gave them; see `Vitals`."""

    eos_rate: float
    repetition: float
    distinct_2: float


def signs_of(texts: Sequence[str], ended: Sequence[bool]) -> Signs:
    """Reads the signs off answers and whether each of them ended by itself."""
    return Signs(sum(ended) / len(ended) if ended else 1.0, repetition(texts), distinct(texts))


def collapse(now: Signs, before: Signs, limits: Limits) -> list[str]:
    """Lists how answers are worse than others to the same instructions, by more than the limits tolerate.

    Args:
        now: of the model that is judged.
        before: of the earlier model, or of known-good answers.
        limits: where the bands end.
    """
    found = []
    if now.eos_rate < limits.eos_rate <= before.eos_rate:
        found.append(f"{now.eos_rate:.1%} of answers end by themselves (at least {limits.eos_rate:.1%})")
    if now.repetition > before.repetition + limits.repetition:
        most = before.repetition + limits.repetition
        found.append(f"4-gram repetition is {now.repetition:.2f} (at most {most:.2f})")
    if now.distinct_2 < before.distinct_2 * limits.distinct_2:
        found.append(f"distinct-2 is {now.distinct_2:.2f} (at least {before.distinct_2 * limits.distinct_2:.2f})")
    return found
