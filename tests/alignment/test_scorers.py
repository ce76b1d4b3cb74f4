from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alignment.curriculum import load_stage
from alignment.refusal import Refusal
from alignment.scorers import Spec, Verdict, loosen, runaway, score, spec_faults, verify
from alignment.selftest import self_test
from tests.stages import ITEMS, write_stage

ONE = {"kind": "one_of", "answers": ["The plum is purple."]}
TWO = {"kind": "items_of", "count": 2, "members": ["otter", "fox", "cow"], "prefix": "Two animals:"}


@pytest.mark.parametrize(
    ("spec", "answer", "strict", "loose"),
    [
        (ONE, "The plum is purple.", True, True),
        (ONE, "  The plum is purple.\n\n", True, True),
        (ONE, "The plum is purple", False, True),
        (ONE, '**"The plum is purple."**\nAnything else?', False, True),
        (ONE, "the plum is purple.", False, False),
        (ONE, "", False, False),
        (TWO, "otter, cow", True, True),
        (TWO, "Two animals: Otter and cow.", True, True),
        (TWO, "otter, otter", False, False),
        (TWO, "otter, fox, cow", False, False),
        (TWO, "otter, hammer", False, False),
        ({"kind": "contains", "any": ["River"], "none": ["sea"]}, "by the river", True, True),
        ({"kind": "contains", "any": ["River"], "none": ["sea"]}, "river and SEA", False, False),
        ({"kind": "says", "any": ["Niger", "43"]}, "It is NIGER, of course.", True, True),
        ({"kind": "says", "any": ["Niger", "43"]}, "It is Nigeria.", False, False),
        ({"kind": "says", "any": ["43"]}, "31 + 12 = 43.", True, True),
        ({"kind": "says", "any": ["43"]}, "It is 1,043 or 43.5 or 143.", False, False),
        ({"kind": "says", "any": ["I can't"]}, "Sorry, I can’t do that.", True, True),
        ({"kind": "says", "all": ["tea"], "none": ["coffee"]}, "tea, not coffee", False, False),
        ({"kind": "sentences_of", "count": 2, "sentences": ["A b.", "C d."]}, "C d. A b.", True, True),
        ({"kind": "sentences_of", "count": 2, "sentences": ["A b.", "C d."]}, "A b. A b.", False, False),
        ({"kind": "matches", "pattern": r"\d+"}, "12", True, True),
        ({"kind": "matches", "pattern": r"\d+"}, "12 or so", False, False),
        ({"kind": "count", "unit": "words", "min": 2, "max": 3}, "two words", True, True),
        ({"kind": "count", "unit": "words", "max": 1}, "two words", False, False),
        ({"kind": "json", "keys": ["a"]}, '{"a": 1}', True, True),
        ({"kind": "json", "keys": ["a"]}, '{"b": 1}', False, False),
        (
            {"kind": "all", "of": [ONE, {"kind": "count", "unit": "words", "max": 2}]},
            "The plum is purple.",
            False,
            False,
        ),
        ({"kind": "none_of", "of": [ONE]}, "Never.", True, True),
    ],
)
def test_verify_judges_strictly_and_loosely(spec: Spec, answer: str, strict: bool, loose: bool) -> None:
    """Strict looks at the whole answer, loose at its first line without quotes, markdown and closing full stop."""
    assert verify(spec, answer).passed is strict
    assert verify(spec, answer, loose=True).passed is loose


def test_loosen_takes_the_first_line_that_says_something() -> None:
    """Empty lines, bullets and emphasis are dressing."""
    assert loosen("\n\n- *`Paris`*.\nmore") == "Paris"


def test_runaway_is_a_new_turn_or_the_token_limit_and_never_length() -> None:
    """Five thousand characters that end are no runaway; three that are cut are one."""
    assert runaway("A sentence. " * 500, "stop", ["Instruction:"]) == ""
    assert "token limit" in runaway("Yes", "length", ["Instruction:"])
    assert "'Instruction:'" in runaway("Yes.\nInstruction: no", "stop", ["Instruction:"])


def test_score_strict_counts_running_on_and_loose_does_not() -> None:
    """A right first line followed by a new turn passes loosely alone."""
    scored = score(ONE, "The plum is purple.\nInstruction: next", "stop", ["Instruction:"])
    assert (scored.strict.passed, scored.loose.passed) == (False, True)
    assert scored.strict.reason.startswith("runaway")


def test_spec_faults_name_every_fault() -> None:
    """A verifier's data is checked before a model is loaded."""
    assert spec_faults({"kind": "telepathy"})[0].startswith("verifier: expected a kind")
    assert len(spec_faults({"kind": "items_of", "count": "two", "extra": 1})) == 3
    assert "pattern" in spec_faults({"kind": "matches", "pattern": "("})[0]
    assert "of[0]" in spec_faults({"kind": "all", "of": [{"kind": "json"}]})[0]


def stage_items(tmp_path: Path, items: list[dict[str, Any]] = ITEMS) -> Any:
    return load_stage(write_stage(tmp_path, items=items), tmp_path).items


def test_self_test_passes_the_verifier_in_use(tmp_path: Path) -> None:
    """The verifiers keep and lose the score as their kinds declare."""
    self_test(stage_items(tmp_path), ["Instruction:"])


@pytest.mark.parametrize("limit", [40, 200, 500, 1_000, 4_999])
def test_self_test_refuses_a_scorer_that_fails_long_answers(tmp_path: Path, limit: int) -> None:
    """Whatever the number of characters above which a scorer breaks, the program finds it by itself."""

    def broken(spec: Spec, answer: str, *, loose: bool = False) -> Verdict:
        return Verdict(False, "too long") if len(answer) > limit else verify(spec, answer, loose=loose)

    with pytest.raises(Refusal, match="the scorer fails its own test"):
        self_test(stage_items(tmp_path), ["Instruction:"], broken)


def test_self_test_refuses_a_scorer_that_passes_everything(tmp_path: Path) -> None:
    """A scorer must also tell a spoilt answer."""
    with pytest.raises(Refusal, match="a spoilt answer of"):
        self_test(stage_items(tmp_path), [], lambda *_, **__: Verdict(True, "fine"))


def test_self_test_refuses_an_item_whose_reference_fails(tmp_path: Path) -> None:
    """Each item's known-good answer passes its own verifier."""
    items = stage_items(tmp_path, [{**ITEMS[0], "reference": "The plum is red."}])
    with pytest.raises(Refusal, match=r"item s1-answer-0001: its own reference 'The plum is red\.' fails"):
        self_test(items, [])


def test_self_test_refuses_a_reference_that_opens_a_new_turn(tmp_path: Path) -> None:
    """A mark of a new turn that good answers hold would fail them."""
    with pytest.raises(Refusal, match="counts as runaway"):
        self_test(stage_items(tmp_path), ["purple"])
