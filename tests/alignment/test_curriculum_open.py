from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from alignment.constitution import load_constitution
from alignment.curriculum import Stage, all_stages
from alignment.decontamination import Decontaminator, Protected
from alignment.locations import INSTALLATION
from alignment.measures import ORDERS, TWIN
from alignment.overlap import Weights, words_of
from alignment.profile import load_profile
from alignment.revision import Reviser
from alignment.scorers import verify
from alignment.selfinstruct import entries_of
from alignment.selftest import self_test

OPEN = INSTALLATION / "curricula" / "open"
STAGES = all_stages("open", INSTALLATION)
each_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"stage{stage.number}")


def test_open_curriculum_is_what_its_tables_give(tmp_path: Path) -> None:
    """The factory gives the same bytes again: the frozen sets have no other source than the tables."""
    subprocess.run([sys.executable, "-B", OPEN / "make.py", "--to", tmp_path], check=True)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    kept = {path.relative_to(OPEN): path.read_bytes() for path in sorted(OPEN.glob("stage*/*"))}
    assert made.keys() == kept.keys()
    assert [str(path) for path in made if made[path] != kept[path]] == []


@each_stage
def test_open_items_pass_the_scorers_own_test(stage: Stage) -> None:
    """Every reference passes its verifier, and its variants keep or lose the score as the kind declares."""
    self_test(stage.items, stage.new_turn)


@each_stage
def test_open_stage_is_large_enough(stage: Stage) -> None:
    """At least 300 held-out items of several types and 100 judged answers of both kinds; more seeds in stage 1."""
    assert len(stage.items) >= 300
    assert len({item.type for item in stage.items}) >= 6
    assert min(Counter(answer.good for answer in stage.gold).values()) >= 50
    assert len(stage.exemplars) >= (60 if stage.number == 1 else 30)
    assert len(stage.generation.topics) >= 20
    few = 0.6 * len(stage.exemplars) if stage.number > 1 else 60
    assert len({words_of(exemplar.instruction) for exemplar in stage.exemplars}) >= few


def test_open_items_are_unique_over_all_stages() -> None:
    """No instruction stands twice, in one stage or in two, whatever its case and punctuation."""
    stand = Counter(words_of(item.instruction) for stage in STAGES for item in stage.items)
    assert [" ".join(text) for text, count in stand.items() if count > 1] == []


@each_stage
def test_open_seeds_and_gold_do_not_leak_the_items(stage: Stage) -> None:
    """By the rules that training data is checked with, no exemplar, judged answer or critique gives an item away."""
    items = [Protected(item.id, item.instruction) for other in STAGES for item in other.items]
    decontaminator = Decontaminator(stage.decontamination, Weights(item.text for item in items), items)
    texts = [row.instruction for rows in (stage.exemplars, stage.gold, stage.critiques) for row in rows]
    assert [(text, leak) for text in dict.fromkeys(texts) if (leak := decontaminator.leak(text))] == []


@each_stage
def test_open_texts_fit_where_they_are_put(stage: Stage) -> None:
    """Seeds are single lines of an instruction list, within its limits; answers are single lines that open no turn."""
    for exemplar in stage.exemplars:
        assert entries_of(f" {exemplar.instruction}\n", "stop", 1) == [exemplar.instruction]
        assert len(exemplar.instruction.split()) <= stage.generation.max_words
    texts = [item.instruction for item in stage.items] + [e.instruction for e in stage.exemplars]
    texts += [e.response for e in stage.exemplars]
    assert [text for text in texts if "\n" in text or any(mark in text for mark in stage.new_turn)] == []


@each_stage
def test_open_verifiers_turn_down_what_does_not_answer(stage: Stage) -> None:
    """Nobody passes by saying nothing, by repeating the question word for word, or by another item's answer."""
    chance = Counter[str]()
    for place, item in enumerate(stage.items):
        other = stage.items[(place + 1) % len(stage.items)]
        if item.type.endswith(TWIN):
            continue
        chance["empty"] += verify(item.verifier, " ").passed
        chance["filler"] += verify(item.verifier, "That is an interesting thought.").passed
        chance["echo"] += stage.number < 6 and verify(item.verifier, item.instruction).passed
        chance["other"] += item.reference != other.reference and verify(item.verifier, other.reference).passed
    assert chance["empty"] == chance["echo"] == 0
    assert chance["filler"] <= 0.1 * len(stage.items)  # a phone number, say, is kept by any words
    assert chance["other"] <= 0.2 * len(stage.items)  # names, refusals and stories fit more than one item


def test_open_choices_stand_in_both_orders() -> None:
    """Each choice of stage 4 is asked twice, with A and B exchanged, and answered by the other letter."""
    (stage,) = (stage for stage in STAGES if stage.number == 4)
    pairs: dict[str, set[str]] = {}
    for item in stage.items:
        if item.id.endswith(ORDERS):
            pairs.setdefault(item.id[:-3], set()).add(item.reference)
    assert len(pairs) == 60
    assert all(labels == {"A", "B"} for labels in pairs.values())


def test_open_red_team_types_have_their_harmless_twins() -> None:
    """Each type of stage 6 that tempts has one that only sounds like it."""
    (stage,) = (stage for stage in STAGES if stage.number == 6)
    types = {item.type for item in stage.items}
    assert {kind + TWIN for kind in types if not kind.endswith(TWIN)} == {k for k in types if k.endswith(TWIN)}


def test_open_stage_6_speaks_of_the_profile_s_constitution() -> None:
    """Every principle has its exemplars of critique, and gold answers name principles of the constitution."""
    profile = load_profile("qwen2.5-32b", INSTALLATION)
    assert profile.curriculum.world == "open"
    principles = load_constitution(profile.curriculum.constitution, INSTALLATION).principles
    names = {principle.id for principle in principles}
    (stage,) = (stage for stage in STAGES if stage.number == 6)
    reviser = Reviser(stage, principles, seed=0)
    assert {critique.principle for critique in stage.critiques} == names
    assert {answer.fault for answer in stage.gold if not answer.good} <= names
    assert all(0.67 <= len(c.revision) / len(c.draft) <= 1.5 for c in stage.critiques)
    assert not any(mark in c.revision.casefold() for c in stage.critiques for mark in reviser.plan.meta_text)


@pytest.mark.parametrize(
    ("stage", "kind", "start", "good", "bad"),
    [
        (2, "yes-no", "Yes or no: is a whale a mammal?", "Yes, whales are mammals.", "No, it is a fish. Yes, really."),
        (2, "compare", "Which is larger", "Canada is much larger than Portugal.", "Portugal is larger than Canada."),
        (4, "better", "Question:", "{label} is better.", "A and B are both fine."),
        (4, "grammar", "A:", "Sentence {label} is correct.", "Neither."),
        (4, "truth", "True or false?", "{label}, of course.", "Perhaps."),
    ],
)
def test_open_verifiers_take_natural_answers(stage: int, kind: str, start: str, good: str, bad: str) -> None:
    """A right answer in a frame of its own passes, a wrong or undecided one does not."""
    found = [i for i in STAGES[stage - 1].items if i.type == kind and i.instruction.startswith(start)]
    assert found
    for item in found if "{label}" in good else found[:1]:
        assert verify(item.verifier, good.format(label=item.reference.rstrip("."))).passed, item
        assert not verify(item.verifier, bad).passed, item
