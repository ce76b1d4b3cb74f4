"""A trained model against an untrained arm, and the verdict of the gate."""

from __future__ import annotations

from typing import Any

import pytest

from alignment.assessment import Row, tally
from alignment.comparison import Comparison, Verdict, compare, judge
from alignment.settings import EvaluateSettings

SETTINGS = EvaluateSettings()


def arm(name: str, passed: int, n: int = 100, types: int = 2) -> list[Row]:
    """An arm of n items in `types` types, of which the first `passed` pass."""
    return [
        {"arm": name, "item": f"i{i:03d}", "type": f"t{i % types}", "strict": i < passed, "loose": i < passed}
        for i in range(n)
    ]


def judged(before: int, after: int, **changes: Any) -> Verdict:
    rows = arm("trained", after)
    facts: dict[str, Any] = {
        "gate": {"accuracy": 0.95},
        "measured": {"accuracy": after / 100},
        "regressions": [],
        "baseline_verdict": "gap",
        "noise_floor": 0.01,
        **changes,
    }
    return judge(
        tally(rows, 0.95),
        compare(arm("raw", before), rows, SETTINGS, seed=0),
        facts["gate"],
        facts["measured"],
        facts["regressions"],
        SETTINGS,
        baseline_verdict=facts["baseline_verdict"],
        noise_floor=facts["noise_floor"],
        collapsed=facts.get("collapsed", ()),
    )


def lost(before: int, after: int) -> Comparison:
    return compare(arm("stage 1", before), arm("stage1", after), SETTINGS, seed=0)


def test_comparison_pairs_by_item() -> None:
    """20 of 100 pass before and 97 after: 77 gained, none lost; p = 2 · 2⁻⁷⁷ = 1.3e-23; the order does not matter."""
    found = compare(arm("raw", 20), arm("trained", 97)[::-1], SETTINGS, seed=0)
    assert (found.gained, found.lost, found.n) == (77, 0, 100)
    assert found.lift == pytest.approx(0.77)
    assert found.p == pytest.approx(2 * 2**-77)
    assert found.lift_interval.low < 0.77 < found.lift_interval.high
    assert set(found.by_type) == {"t0", "t1"}
    assert all(t.p <= t.q for t in found.by_type.values())


def test_comparison_refuses_unpaired_items() -> None:
    """Arms that answered different items cannot be compared."""
    with pytest.raises(ValueError, match="i099"):
        compare(arm("raw", 20), arm("trained", 20, n=99), SETTINGS, seed=0)


def test_verdict_passed_needs_gate_and_gain() -> None:
    """The gate is reached, and the gain is beyond chance and noise."""
    assert judged(20, 97).verdict == "passed"


def test_verdict_failed_names_the_missed_gate() -> None:
    """Below the gate the stage has failed, however large the gain."""
    verdict = judged(20, 90)
    assert verdict.verdict == "failed"
    assert "accuracy is 0.900, the gate asks for at least 0.95" in verdict.evidence


def test_verdict_saturated_is_never_passed() -> None:
    """What the untrained model could do was not taught."""
    assert judged(20, 100, baseline_verdict="saturated").verdict == "saturated"


def test_verdict_inconclusive_below_the_noise_floor() -> None:
    """A gain that batch effects could make is not claimed, whatever its p-value."""
    assert judged(85, 97, noise_floor=0.12).verdict == "inconclusive"


def test_verdict_inconclusive_where_chance_explains_it() -> None:
    """Six gained and none lost: p = 2/2⁶ = 0.031, above 0.01."""
    verdict = judged(91, 97)
    assert verdict.verdict == "inconclusive"
    assert "find" in verdict.evidence[-1]


def test_verdict_failed_where_an_earlier_stage_is_lost() -> None:
    """A new skill is not bought with an old one; a loss within chance is none."""
    assert judged(20, 97, regressions=[lost(98, 80)]).verdict == "failed"
    assert judged(20, 97, regressions=[lost(98, 95)]).verdict == "passed"


def test_verdict_failed_where_the_answers_collapse() -> None:
    """A gate that is reached by a model that repeats itself is not passed."""
    verdict = judged(20, 97, collapsed=["stage 1: 4-gram repetition is 0.40 (at most 0.15)"])
    assert verdict.verdict == "failed"
    assert "repetition" in verdict.evidence[-1]
