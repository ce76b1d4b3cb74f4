from __future__ import annotations

import pytest

from alignment.assessment import ArmTally, tally
from alignment.gap import judge_gap, noise_floor


def arm(passed: int, n: int) -> ArmTally:
    return tally([{"type": "t", "strict": i < passed, "loose": i < passed} for i in range(n)], 0.95)


@pytest.mark.parametrize(
    ("raw", "cue", "n", "verdict"),
    [
        (20, 60, 300, "gap"),  # cue 20 % [15.9, 24.9]
        (20, 290, 300, "saturated"),  # cue 96.7 %
        (20, 280, 300, "underpowered"),  # cue 93.3 % [89.9, 95.7] reaches the gate
        (2, 9, 10, "underpowered"),  # cue 90 % [59.6, 98.2]
    ],
)
def test_gap_verdict_follows_the_best_counted_arm(raw: int, cue: int, n: int, verdict: str) -> None:
    """Saturated from 95 %, a gap when the interval lies below the gate, underpowered in between."""
    judged = judge_gap(
        {"raw": arm(raw, n), "cue": arm(cue, n)}, ["raw", "cue"], gate=0.95, saturation=0.95, noise_floor=0.0
    )
    assert (judged.verdict, judged.best_arm) == (verdict, "cue")


def test_gap_keeps_uncounted_arms_as_evidence() -> None:
    """An arm that only shows what can be elicited is named beside the verdict."""
    tallies = {"raw": arm(20, 100), "few_shot": arm(99, 100)}
    judged = judge_gap(tallies, ["raw", "previous"], gate=0.95, saturation=0.95, noise_floor=0.0)
    assert (judged.verdict, judged.best_arm, judged.counted_arms) == ("gap", "raw", ("raw",))
    assert (judged.best_elicited_arm, judged.best_elicited_accuracy) == ("few_shot", 0.99)


def test_gap_smaller_than_the_noise_floor_is_underpowered() -> None:
    """What two runs of one arm differ by is no gap."""
    judged = judge_gap({"raw": arm(880, 1000)}, ["raw"], gate=0.95, saturation=0.95, noise_floor=0.08)
    assert judged.verdict == "underpowered"


def test_noise_floor_counts_changed_verdicts() -> None:
    """One of four items changed its verdict: 0.25, though the accuracies may agree."""
    first = [{"item": str(i), "strict": i < 2} for i in range(4)]
    second = [{"item": str(i), "strict": i < 1} for i in reversed(range(4))]
    assert noise_floor(first, second) == 0.25


def test_gap_can_lie_in_another_figure_of_the_gate() -> None:
    """An arm that answers well enough but goes by position is not saturated."""
    short = {"raw": ["position_consistent is 0.400, the gate asks for at least 0.9"]}
    judged = judge_gap({"raw": arm(96, 100)}, ["raw"], gate=0.9, saturation=0.95, noise_floor=0.0, short=short)
    assert judged.verdict == "gap"
    assert "position_consistent" in judged.reason
