"""The statistics of paired comparisons and of critics, each with its source.

Owns formulas only: it knows nothing of items, arms or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import asin, sqrt
from statistics import NormalDist, fmean, variance
from typing import NamedTuple


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Discordant(NamedTuple):
    """The pairs on which two arms disagree: what the second arm gained over the first, and what it lost."""

    gained: int
    lost: int


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Bounds a proportion by Wilson's score interval.

    Args:
        successes: successes among the trials, 0 … n.
        n: trials; none at all leaves the whole of [0, 1] open.
        confidence: coverage, in (0, 1).

    Raises:
        ValueError: `successes` lies outside 0 … n.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes: {successes} is not within 0 … n = {n}")
    if n == 0:
        return Interval(0.0, 1.0)
    from scipy.stats import binomtest

    bounds = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(float(bounds.low), float(bounds.high))


def discordant(before: Sequence[bool], after: Sequence[bool]) -> Discordant:
    """Counts the items that only one of two paired arms passes.

    Raises:
        ValueError: the arms are not of one length, so they cannot be paired.
    """
    pairs = list(zip(before, after, strict=True))
    return Discordant(sum(b < a for b, a in pairs), sum(b > a for b, a in pairs))


def mcnemar(gained: int, lost: int) -> float:
    """Gives the exact two-sided p-value that gains and losses are equally likely; 1 where there are neither.

    Source:
        McNemar 1947; the exact form is the binomial test of the discordant pairs at ½.
    """
    if gained + lost == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue)


def cohens_h(before: float, after: float) -> float:
    """Measures the distance of two proportions on the arcsine scale: 0.2 small, 0.5 medium, 0.8 large.

    Source:
        Cohen 1988, "Statistical Power Analysis for the Behavioral Sciences", chapter 6.
    """
    return 2 * asin(sqrt(after)) - 2 * asin(sqrt(before))


def cohens_d(first: Sequence[float], second: Sequence[float]) -> float:
    """Measures the distance of two means in pooled standard deviations; 0 where neither sample varies.

    Raises:
        ValueError: a sample has fewer than two values, so it has no variance.

    Source:
        Cohen 1988, chapter 2.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"samples of {len(first)} and {len(second)} values: two of each are needed")
    degrees = len(first) + len(second) - 2
    pooled = ((len(first) - 1) * variance(first) + (len(second) - 1) * variance(second)) / degrees
    return (fmean(first) - fmean(second)) / sqrt(pooled) if pooled else 0.0


def bootstrap_lift(
    before: Sequence[bool], after: Sequence[bool], *, seed: int, confidence: float = 0.95, resamples: int = 10_000
) -> Interval:
    """Bounds the lift in accuracy by resampling the item pairs (percentile bootstrap).

    A pair adds +1, 0 or −1, so a resample of n pairs is one multinomial draw.

    Raises:
        ValueError: there are no pairs, or the arms are not of one length.

    Source:
        Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    import numpy

    gained, lost = discordant(before, after)
    if not (n := len(before)):
        raise ValueError("no pairs to resample")
    draws = numpy.random.default_rng(seed).multinomial(n, [gained / n, lost / n, 1 - (gained + lost) / n], resamples)
    tail = (1 - confidence) / 2
    low, high = numpy.quantile((draws[:, 0] - draws[:, 1]) / n, [tail, 1 - tail])
    return Interval(float(low), float(high))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values so that rejecting those below q keeps the false discovery rate at q.

    Source:
        Benjamini and Hochberg 1995, "Controlling the false discovery rate".
    """
    if not p_values:
        return []
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(p_values, method="bh")]


def minimum_detectable_effect(n: int, *, alpha: float = 0.01, power: float = 0.8, discordance: float = 0.2) -> float:
    """Gives the smallest lift that a paired comparison of n items finds with the given power.

    The lift's standard error under no effect is √(discordance / n); a lift of (z_{1−α/2} + z_power) of them is
    found. Departure: the variance under the alternative, (discordance − lift²) / n, is taken as the null's, which
    asks for a little more than is needed (0.04 points at n = 300).

    Args:
        n: item pairs, at least 1.
        alpha: two-sided significance level.
        power: wanted probability of finding the lift.
        discordance: share of items on which the two arms disagree.

    Source:
        Connor 1987, "Sample size for testing differences in proportions for the paired-sample design".
    """
    if n < 1:
        raise ValueError(f"n: {n} pairs detect nothing; at least 1 is needed")
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * sqrt(discordance / n)


def auc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Gives the probability that a positive scores above a negative, ties counted half.

    Raises:
        ValueError: one of the classes is empty.

    Source:
        Mann and Whitney 1947: U divided by the number of pairs.
    """
    if not positives or not negatives:
        raise ValueError(f"AUC needs both classes: {len(positives)} positives, {len(negatives)} negatives")
    from scipy.stats import rankdata

    ranks = rankdata([*positives, *negatives])
    u = float(ranks[: len(positives)].sum()) - len(positives) * (len(positives) + 1) / 2
    return u / (len(positives) * len(negatives))
