"""The signs of degeneration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alignment.monitors import Limits, Signs, Vitals, breaches, collapse, distinct, repetition, signs_of

HEALTHY = Vitals(chosen_logp=-0.6, eos_rate=1.0, repetition=0.0, distinct_2=0.8)
LIMITS = Limits()


def judged(earlier: Vitals = HEALTHY, **now: float) -> list[str]:
    return breaches(replace(HEALTHY, **now), [earlier], HEALTHY, LIMITS)


def test_repetition_counts_repeated_four_grams() -> None:
    """ "a b c d a b c d" has five 4-grams, of which the last repeats the first: 1/5; a short text repeats nothing."""
    assert repetition(["a b c d a b c d"]) == pytest.approx(0.2)
    assert repetition(["a b c d a b c d", "a"]) == pytest.approx(0.1)
    assert repetition([]) == 0


def test_distinct_counts_over_all_texts() -> None:
    """ "a b a b" has the bigrams ab, ba, ab: two of three are distinct; twice the text, two of six."""
    assert distinct(["a b a b"]) == pytest.approx(2 / 3)
    assert distinct(["a b a b"] * 2) == pytest.approx(2 / 6)
    assert distinct(["a"]) == 1


def test_healthy_model_breaches_nothing() -> None:
    """A model like at the start, or better, is left alone."""
    assert judged() == []
    assert judged(chosen_logp=-0.1) == []


@pytest.mark.parametrize(("chosen_logp", "stops"), [(-0.689, False), (-0.691, True)])
def test_chosen_logp_may_fall_by_its_share(chosen_logp: float, stops: bool) -> None:
    """15 % of −0.6 nats is 0.09: the band ends at −0.69."""
    assert bool(judged(chosen_logp=chosen_logp)) is stops


def test_chosen_logp_near_zero_may_wobble() -> None:
    """From −0.01 nats a fall of 15 % is noise: it may fall by the slack of 0.05."""
    first = replace(HEALTHY, chosen_logp=-0.01)
    assert judged(first, chosen_logp=-0.05) == []
    assert judged(first, chosen_logp=-0.07)


def test_eos_rate_counts_once_it_was_reached() -> None:
    """A base model does not stop yet; a model that did and no longer does has unlearned it."""
    assert judged(replace(HEALTHY, eos_rate=0.1), eos_rate=0.2) == []
    assert "end by themselves" in judged(eos_rate=0.94)[0]


def test_repetition_and_distinct_are_held_against_the_rows() -> None:
    """The bands are set by what the rows themselves look like, not by a literal."""
    assert "repetition" in judged(repetition=0.16)[0]
    assert "distinct-2" in judged(distinct_2=0.39)[0]


def test_base_model_that_repeats_itself_is_young() -> None:
    """A model that has never been in the band is stopped only when it gets worse than it was."""
    young = replace(HEALTHY, repetition=0.3, distinct_2=0.06)
    assert judged(young, repetition=0.4, distinct_2=0.05) == []
    assert len(judged(young, repetition=0.5, distinct_2=0.02)) == 2


def test_collapse_holds_answers_against_others_to_the_same_instructions() -> None:
    """Three signs, each against the earlier model's own; what has always been so is no collapse."""
    limits = Limits(eos_rate=0.95, repetition=0.15, distinct_2=0.5)
    young = signs_of(["a b c d e f", "g h i j k l"], [True, True])
    assert young == Signs(1.0, 0.0, 1.0)
    assert collapse(young, young, limits) == []
    sick = signs_of(["a b a b a b a b", "a b a b a b a b"], [True, False])
    assert sick == Signs(0.5, 0.6, 1 / 7)  # 5 4-grams, 2 distinct; 14 bigrams, 2 distinct
    assert [line.split()[0] for line in collapse(sick, young, limits)] == ["50.0%", "4-gram", "distinct-2"]
    assert collapse(sick, sick, limits) == []


def test_real_collapse_is_seen() -> None:
    """DPO without its SFT term, at four times its learning rate: after a good start the model ran on, and answered
    20.2 % of 485 items, fewer than untrained. These are its probes; from the third on it is out of band."""
    probes = [
        Vitals(-0.377, 0.0625, 0.466, 0.059),
        Vitals(-0.152, 0.7813, 0.017, 0.723),
        Vitals(-0.478, 0.0625, 0.123, 0.456),
        Vitals(-0.422, 0.0938, 0.111, 0.472),
    ]
    found = [breaches(now, probes[:i], HEALTHY, LIMITS) for i, now in enumerate(probes) if i]
    assert found[0] == []
    assert all("chosen log-probability" in signs[0] and "end by themselves" in signs[1] for signs in found[1:])
