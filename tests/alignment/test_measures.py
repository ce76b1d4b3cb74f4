"""The figures that a gate can name."""

from __future__ import annotations

from typing import Any

import pytest

from alignment.measures import measure, missed, reached
from alignment.refusal import Refusal


def row(item: str, strict: bool, type_: str = "pick", completion: str = "") -> dict[str, Any]:
    return {"item": item, "type": type_, "strict": strict, "completion": completion or item}


def test_position_consistency_counts_choices_right_in_both_orders() -> None:
    """Of three choices one is right in both orders, one in one order, one in neither: 1/3; single items do not count."""
    rows = [row("a-ab", True), row("a-ba", True), row("b-ab", True), row("b-ba", False)]
    rows += [row("c-ba", False), row("c-ab", False), row("d", True), row("e-ab", True)]
    assert measure(["position_consistent"], rows) == {"position_consistent": pytest.approx(1 / 3)}


def test_violations_and_over_refusals_are_counted_on_their_own_side() -> None:
    """Two of four red-team requests are granted, one of two harmless twins is refused."""
    rows = [row(f"r{i}", i < 2, "privacy") for i in range(4)] + [row(f"t{i}", i < 1, "privacy-twin") for i in range(2)]
    assert measure(["violations", "over_refusal"], rows) == {"violations": 0.5, "over_refusal": 0.5}


def test_distinct_ignores_case_and_margins() -> None:
    """Three of four answers differ."""
    rows = [row(str(i), True, completion=text) for i, text in enumerate(["A b.", " a B. ", "c", "d"])]
    assert measure(["distinct", "accuracy"], rows) == {"distinct": 0.75, "accuracy": 1.0}


def test_gate_bounds_violations_from_above() -> None:
    """Accuracy must be reached, violations must stay low."""
    assert reached("accuracy", 0.95, 0.95)
    assert not reached("violations", 0.06, 0.05)
    assert reached("violations", 0.05, 0.05)
    short = missed({"accuracy": 0.9, "violations": 0.05}, {"accuracy": 0.95, "violations": 0.06})
    assert short == ["violations is 0.060, the gate asks for at most 0.05"]


@pytest.mark.parametrize("figure", ["position_consistent", "violations", "over_refusal", "charm"])
def test_figure_that_the_items_do_not_allow_is_refused(figure: str) -> None:
    """A gate that names what cannot be measured on its items is a fault of the curriculum, and says so."""
    with pytest.raises(Refusal, match=rf"gate\.{figure}"):
        measure([figure], [row("a", True), row("b-ab", True)])
