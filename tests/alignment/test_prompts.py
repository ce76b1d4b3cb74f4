from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from alignment.assessment import evenly
from alignment.curriculum import Item, Stage, load_stage
from alignment.prompts import arms, fill, spread
from tests.stages import write_stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return load_stage(write_stage(tmp_path), tmp_path)


def test_fill_leaves_braces_inside_values_alone() -> None:
    """A text that looks like a place is no place."""
    filled = fill("{instruction} -> {response}; {other}", instruction="say {response}", response="{instruction}")
    assert filled == "say {response} -> {instruction}; {other}"


def test_arms_ask_in_the_stage_s_formats(stage: Stage) -> None:
    """Raw is the bare instruction, cue adds the cue, few-shot puts answered exemplars in front of the cue."""
    built = arms(stage, few_shot=2)
    assert built["raw"].prompt("Say hello.") == "Say hello.\n"
    assert built["cue"].prompt("Say hello.") == "Instruction: Say hello.\nResponse:"
    assert built["few_shot"].prompt("Say hello.") == (
        "Instruction: Say the number 0.\nResponse: The number 0.\n\n"
        "Instruction: Say the number 8.\nResponse: The number 8.\n\n"
        "Instruction: Say hello.\nResponse:"
    )
    assert (built["raw"].stop, built["cue"].stop) == ((), ("\n",))


def test_spread_never_repeats_an_exemplar(stage: Stage) -> None:
    """Asked for more than there are, it gives those that there are."""
    assert len({e.instruction for e in spread(stage.exemplars, 99)}) == len(stage.exemplars)


def test_evenly_takes_the_types_alike_and_always_the_same_items() -> None:
    """A part of the items holds each type as often as it can, in the file's order."""
    items = [Item(str(n), "ab"[n % 5 == 0], "i", "r", {}) for n in range(50)]
    taken = evenly(items, 12)
    assert Counter(item.type for item in taken) == {"a": 6, "b": 6}
    assert taken == evenly(items, 12)
    assert [int(item.id) for item in taken] == sorted(int(item.id) for item in taken)
    assert evenly(items, 0) == items
