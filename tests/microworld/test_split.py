"""The split between what is trained on and what is evaluated."""

import itertools
import random

import pytest

from microworld.corpus import Corpus, Matcher
from microworld.curriculum import exemplars, gold
from microworld.evaluation import COUNTS, evaluation_items, evaluation_texts
from microworld.families import FAMILIES, draw
from microworld.genres import encyclopaedia
from microworld.items import held_out, held_out_fact
from microworld.source import Source
from microworld.world import load

WORLD = load()


@pytest.fixture(scope="module")
def documents():
    """A sample of the corpus."""
    return [text for _, text in itertools.islice(Corpus(WORLD, random.Random(5), pool=5000).documents(), 2500)]


@pytest.mark.parametrize("stage", FAMILIES)
def test_evaluation_items_are_distinct_and_held_out(stage):
    """A stage's items are as many as planned, no text twice, all on the evaluation side."""
    items = evaluation_items(WORLD, stage)
    assert len({item.text for item in items}) == len(items) == sum(COUNTS[stage].values())
    assert all(held_out(item) for item in items)


@pytest.mark.parametrize("stage", [1, 2, 4, 5])
def test_part_of_the_items_ask_about_held_out_facts(stage):
    """Between a fifth and two thirds of the items that ask about a fact ask about one that no training row asks about."""
    keys = [item.key for item in evaluation_items(WORLD, stage) if item.key]
    assert 0.2 < sum(map(held_out_fact, keys)) / len(keys) < 0.67


@pytest.mark.parametrize("stage", FAMILIES)
def test_training_side_never_yields_an_evaluation_item(stage):
    """Neither draws, nor exemplars, nor gold answers share a text or a held-out fact with evaluation."""
    rng = random.Random(stage)
    drawn = [draw(WORLD, stage, rng) for _ in range(2000)]
    drawn += [e.item for e in exemplars(WORLD, stage)] + [g.item for g in gold(WORLD, stage)]
    assert not any(held_out(item) for item in drawn)
    assert not {item.text for item in drawn} & evaluation_texts(WORLD)


def test_seed_set_and_gold_set_are_disjoint():
    """The critic is calibrated on answers to other instructions than those it is shown."""
    for stage in FAMILIES:
        assert not {e.instruction for e in exemplars(WORLD, stage)} & {g.item.text for g in gold(WORLD, stage)}


def test_corpus_contains_no_evaluation_instruction(documents):
    """No document holds the text of an evaluation item of any stage, by plain substring search."""
    corpus = "\n".join(documents)
    assert [text for text in evaluation_texts(WORLD) if text in corpus] == []


def test_document_with_an_evaluation_instruction_is_found():
    """The check works word for word, across line breaks, anywhere in a document."""
    matcher = Matcher(frozenset({"Tell me the colour of the plum."}))
    assert matcher.found_in("Anna: Tell me the colour\nof the plum.\nBen: Go away.")
    assert not matcher.found_in("Tell me the colour of the pear. The plum.")


def test_held_out_facts_are_stated_all_the_same():
    """Held-out facts are knowledge of the base model: the reference works say them."""
    source = Source(WORLD, random.Random(2), pool=2000)
    stated = " ".join(encyclopaedia(source) for _ in range(6000))
    facts = [key for key in WORLD.keys if held_out_fact(key)]
    known = [key for key in facts if any(s in stated for s in WORLD.statements(key))]
    assert len(known) >= 0.95 * len(facts) > 100
