from __future__ import annotations

from dataclasses import replace

import pytest

from alignment.pairs import Answer, best_accepted, length_effect, make_pairs, pooled_sigma, raw_share
from alignment.settings import GenerateSettings

SETTINGS = GenerateSettings()


def answer(text: str, margin: float, arm: str = "few_shot", index: int = 0) -> Answer:
    return Answer(text, arm, index, margin, "good" if margin > 0 else "bad")  # type: ignore[arg-type]


def test_best_accepted_ignores_raw_answers_and_undecided_ones() -> None:
    """Training rows come from few-shot answers that the critic accepted."""
    undecided = Answer("maybe", "few_shot", 1, 9.0, "inconsistent")
    assert best_accepted([answer("raw", 8.0, "raw"), undecided, answer("a", 1.0), answer("b", 2.0)]) == answer("b", 2.0)
    assert best_accepted([undecided, answer("c", -1.0)]) is None


def test_pooled_sigma_is_within_groups() -> None:
    """Deviations 1, 1 and 2, 2 over (1 + 1) degrees of freedom: sqrt((2 + 8) / 2)."""
    assert pooled_sigma([[1.0, 3.0], [10.0, 14.0], [5.0]]) == pytest.approx(5**0.5)


def test_pairs_reject_near_two_sigma_below_the_mean() -> None:
    """The worst answer is not the rejected one when another lies nearer to the mean minus two deviations."""
    settings = replace(SETTINGS, pairs_per_instruction=1, pair_margin=0.5)
    good = [answer(f"g{n:03}", 3.0, index=n) for n in range(40)]
    turned_down = [answer("near", -5.0, "raw", 0), answer("worst", -40.0, "raw", 1)]  # mu 1.8, sigma 6.9: sought at -12
    pairs, _ = make_pairs({"x": good + turned_down}, settings)
    assert [pair.rejected.text for pair in pairs] == ["near"]


def test_pairs_need_a_margin_and_a_turned_down_answer() -> None:
    """An accepted answer is never rejected, and a margin below one pooled deviation makes no pair."""
    both_good = {"x": [answer("a", 5.0), answer("b", 1.0)]}
    assert make_pairs(both_good, SETTINGS)[0] == []
    narrow = {"x": [answer("a", 0.1), answer("b", -0.1, "raw")], "y": [answer("a", 9.0), answer("b", -9.0, "raw")]}
    pairs, counts = make_pairs(narrow, SETTINGS)
    assert [pair.instruction for pair in pairs] == ["y"]
    assert counts["dropped.margin"] == 1


def test_pairs_keep_the_raw_share_and_the_cap() -> None:
    """At most two pairs an instruction, and at least 30 % of the rejected answers are raw."""
    judged = {
        str(n): [answer("gggg", 5.0), *(answer(f"b{k}bb", -5.0 - k, index=k) for k in range(4))]
        + ([answer("rrrr", -5.5, "raw")] if n < 2 else [])
        for n in range(10)
    }
    pairs, _ = make_pairs(judged, SETTINGS)
    assert raw_share(pairs) >= 0.3
    assert max(sum(p.instruction == str(n) for p in pairs) for n in range(10)) <= 2


def test_pairs_have_no_length_difference_to_learn() -> None:
    """Pairs whose lengths differ the most are dropped until chosen and rejected answers are alike in length."""
    judged = {
        str(n): [answer("g" * (10 + n % 5), 5.0), answer("r" * (10 + n % 5 + (n % 3) * 10), -5.0, "raw")]
        for n in range(60)
    }
    pairs, counts = make_pairs(judged, SETTINGS)
    assert abs(length_effect(pairs)) < 0.1
    assert 20 <= len(pairs) < 60
    assert counts["dropped.length"] == 60 - len(pairs)
