"""The statistics, with expected values derived by hand."""

from __future__ import annotations

from itertools import product
from math import pi

import pytest

from alignment.statistics import (
    auc,
    benjamini_hochberg,
    bootstrap_lift,
    cohens_d,
    cohens_h,
    discordant,
    mcnemar,
    minimum_detectable_effect,
    wilson,
)


def test_wilson_agrees_with_the_formula_by_hand() -> None:
    """A proportion of 8/10: (p̂ + z²/2n ± z√(p̂q̂/n + z²/4n²)) / (1 + z²/n).

    z = 1.959964, z² = 3.841459: centre (0.8 + 0.192073) / 1.384146 = 0.716740,
    half width 1.959964 √(0.016 + 0.009604) / 1.384146 = 0.226577.
    """
    assert wilson(8, 10) == pytest.approx((0.490163, 0.943317), abs=2e-6)


def test_wilson_stays_within_zero_and_one() -> None:
    """At 0/n and n/n one bound is the edge and the other is z²/(n + z²) away: 3.841459 / 203.841459 = 0.018845."""
    assert wilson(0, 200) == pytest.approx((0, 0.018845), abs=1e-6)
    assert wilson(200, 200) == pytest.approx((0.981155, 1), abs=1e-6)


def test_wilson_of_no_trials_says_nothing() -> None:
    """Without a trial every proportion is possible."""
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    """Successes lie within 0 … n."""
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)


def test_discordant_counts_what_was_gained_and_lost() -> None:
    """Only the items on which the arms disagree count."""
    assert discordant([False, False, True, True], [True, True, False, True]) == (2, 1)


def test_discordant_refuses_unpaired_arms() -> None:
    """Arms of different lengths are not paired."""
    with pytest.raises(ValueError, match=r"shorter|longer"):
        discordant([True], [True, False])


def test_mcnemar_is_the_two_sided_binomial_test() -> None:
    """8 gained, 2 lost: 2 Σ_{k≤2} C(10, k) / 2¹⁰ = 2 (1 + 10 + 45) / 1024 = 0.109375."""
    assert mcnemar(8, 2) == pytest.approx(0.109375)
    assert mcnemar(2, 8) == pytest.approx(0.109375)


def test_mcnemar_of_no_disagreement_is_one() -> None:
    """Arms that never disagree give no evidence; neither do arms that disagree evenly."""
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1


def test_cohens_h_of_extremes_is_pi() -> None:
    """Φ(p) = 2 arcsin √p runs from 0 to π; Φ(½) = π / 2. The sign is the direction of the change."""
    assert cohens_h(0, 1) == pytest.approx(pi)
    assert cohens_h(0.5, 1) == pytest.approx(pi / 2)
    assert cohens_h(1, 0.5) == pytest.approx(-pi / 2)


def test_cohens_d_counts_pooled_deviations() -> None:
    """Means 5 and 2; both variances 2.5, pooled 2.5: d = 3 / √2.5 = 1.897367."""
    assert cohens_d([3, 4, 5, 6, 7], [0, 1, 2, 3, 4]) == pytest.approx(1.897367, abs=1e-6)
    assert cohens_d([2, 2], [2, 2]) == 0


def test_cohens_d_refuses_a_single_value() -> None:
    """One value has no variance."""
    with pytest.raises(ValueError, match="1 and 2"):
        cohens_d([1], [1, 2])


def test_bootstrap_lift_matches_the_normal_approximation() -> None:
    """1,000 pairs, 150 gained, 50 lost: lift 0.1, standard error √((0.2 − 0.01) / 1000) = 0.013784, so ± 0.027017."""
    before = [False] * 150 + [True] * 50 + [True] * 800
    after = [True] * 150 + [False] * 50 + [True] * 800
    assert bootstrap_lift(before, after, seed=1) == pytest.approx((0.072983, 0.127017), abs=2e-3)


def test_bootstrap_lift_depends_on_its_seed_only() -> None:
    """The same seed gives the same interval."""
    before, after = [False, True, False, True] * 20, [True, True, True, False] * 20
    assert bootstrap_lift(before, after, seed=3) == bootstrap_lift(before, after, seed=3)
    assert bootstrap_lift(before, before, seed=3) == (0, 0)


def test_bootstrap_lift_refuses_no_pairs() -> None:
    """Nothing can be drawn from nothing."""
    with pytest.raises(ValueError, match="no pairs"):
        bootstrap_lift([], [], seed=0)


def test_benjamini_hochberg_steps_up() -> None:
    """p(i) m / i, minima from the largest down: .01·4/1 = .02·4/2 = .03·4/3 = .04, and .5·4/4 = .5."""
    assert benjamini_hochberg([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.04, 0.04])
    assert benjamini_hochberg([]) == []


@pytest.mark.parametrize(("n", "points"), [(300, 8.8), (541, 6.6), (1000, 4.8)])
def test_minimum_detectable_effect_gives_the_figures_of_the_method(n: int, points: float) -> None:
    """(z.995 + z.8) √(0.2 / n) = (2.575829 + 0.841621) √(0.2 / n) = 1.528330 / √n: 8.82, 6.57 and 4.83 points."""
    assert round(100 * minimum_detectable_effect(n), 1) == points


def test_minimum_detectable_effect_needs_a_pair() -> None:
    """No pairs detect nothing."""
    with pytest.raises(ValueError, match="at least 1"):
        minimum_detectable_effect(0)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    """Every positive is compared with every negative; a tie is half a win."""
    positives, negatives = [0.9, 0.5, 0.5, 0.1], [0.5, 0.2, 0.0]
    wins = sum((p > q) + (p == q) / 2 for p, q in product(positives, negatives))
    assert auc(positives, negatives) == pytest.approx(wins / 12)
    assert auc([2, 3], [0, 1]) == 1


def test_auc_refuses_one_class() -> None:
    """A critic cannot be calibrated on good answers only."""
    with pytest.raises(ValueError, match="both classes"):
        auc([1.0], [])
