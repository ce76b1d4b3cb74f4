"""Signs that a model degenerates while it is trained (LESSONS: chosen log-probabilities fell, then repetition).

Pure functions over texts and figures; what measures them on a model is alignment/training/probe.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# What a model that has not reached the limit yet may lose of its rate of ended answers: half of all answers (proposal).
EOS_LOST = 0.5


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
        chosen_fall: tolerated fall of the chosen log-probability, as a share of the best that was seen, step 0 included.
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

    Everything is held against the best that the model has shown, step 0 included; repetition and distinct-2 against
    the training rows' own where the model has got there. A base model that runs on and repeats itself is young, not
    sick.

    Args:
        now: the probe at this step.
        earlier: the probes before it, from step 0 on.
        target: the training rows' own repetition and distinct-2.
        limits: where the bands end.
    """
    found = []
    best = max(vitals.chosen_logp for vitals in earlier)
    tolerated = max(limits.chosen_fall * abs(best), limits.chosen_slack)
    if best - now.chosen_logp > tolerated:
        found.append(
            f"chosen log-probability fell by {best - now.chosen_logp:.3f} nats a token, from {best:.3f} "
            f"to {now.chosen_logp:.3f} (tolerated {tolerated:.3f})"
        )
    shown = Signs(
        eos_rate=max(vitals.eos_rate for vitals in earlier),
        repetition=max(target.repetition, min(vitals.repetition for vitals in earlier)),
        distinct_2=min(target.distinct_2, max(vitals.distinct_2 for vitals in earlier)),
    )
    return found + collapse(Signs(now.eos_rate, now.repetition, now.distinct_2), shown, limits)


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
    least = limits.eos_rate if before.eos_rate >= limits.eos_rate else before.eos_rate - EOS_LOST
    if now.eos_rate < least:
        found.append(f"{now.eos_rate:.1%} of answers end by themselves (at least {least:.1%})")
    if now.repetition > before.repetition + limits.repetition:
        most = before.repetition + limits.repetition
        found.append(f"4-gram repetition is {now.repetition:.2f} (at most {most:.2f})")
    if now.distinct_2 < before.distinct_2 * limits.distinct_2:
        found.append(f"distinct-2 is {now.distinct_2:.2f} (at least {before.distinct_2 * limits.distinct_2:.2f})")
    return found
