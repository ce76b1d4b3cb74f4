from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from alignment.curriculum import Stage, load_stage
from alignment.decontamination import Decontaminator, protected_texts
from alignment.dedup import Ladder
from alignment.overlap import Weights
from alignment.selfinstruct import Pool, entries_of, lists_to_ask, replay
from alignment.settings import GenerateSettings
from tests.stages import write_stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return load_stage(write_stage(tmp_path, generation={"topics": ["animals", "food"], "max_words": 8}), tmp_path)


def pool_of(stage: Stage, **settings: object) -> Pool:
    protected = protected_texts([stage])
    return Pool(
        stage,
        replace(GenerateSettings(), **settings),  # type: ignore[arg-type]
        Ladder(stage.deduplication, Weights()),
        Decontaminator(stage.decontamination, Weights(), protected),
    )


def test_entries_drop_what_the_token_limit_cut_off() -> None:
    """The last line of a list that hit the limit is half an instruction."""
    text = " Name a bird.\n8. List two\n9. Say wh"
    assert entries_of(text, "length", 7) == ["Name a bird.", "List two"]
    assert entries_of(text, "stop", 7) == ["Name a bird.", "List two", "Say wh"]


def test_entries_end_where_the_list_does() -> None:
    """A line without a number belongs to another document."""
    assert entries_of(" Name a bird.\n\nOnce upon a time\n9. x", "stop", 7) == ["Name a bird."]


def test_pool_counts_the_fate_of_every_entry(stage: Stage) -> None:
    """Each entry is kept or lost for one named reason."""
    pool = pool_of(stage)
    entries = [
        "Name a bird that sings well.",
        "name a bird that sings well",
        "Short one.",
        "What is the name of a bird that sings well in May?",
        "List two animals.",
        "Answer this: What colour is the plum?",
        "Tell me where Instruction: is.",
    ]
    assert pool.take(entries, "animals", 0) == 1
    lost = {name: count for name, count in pool.counts.items() if "." in name}
    assert lost == {
        "duplicate.exact": 1,
        "invalid.words": 3,
        "leaked.exact": 1,
        "invalid.new_turn": 1,
    }
    assert pool.counts["parsed"] == len(entries)


def test_pool_caps_a_topic(stage: Stage) -> None:
    """With two topics none takes more than half."""
    pool = pool_of(stage, instructions=4)
    words = ("hat cup sea", "oak fig cow", "sun ice mud", "net pen key")
    pool.take([f"Say {some} aloud." for some in words], "animals", 0)
    assert len(pool.kept) == 2
    assert pool.open_topics() == ["food"]


def test_lists_are_the_same_in_every_attempt(stage: Stage) -> None:
    """Lists follow from the seed, the round and the pool alone, and another seed gives others."""
    rows = [{"text": " Name a bird that sings.", "finish_reason": "stop", "first": 7, "topic": "animals", "round": 0}]
    first, second = pool_of(stage), pool_of(stage)
    replay(first, rows)
    replay(second, rows)
    assert lists_to_ask(first, 1, seed=3) == lists_to_ask(second, 1, seed=3) != lists_to_ask(first, 1, seed=4)


def test_lists_end_mid_list_under_their_topic(stage: Stage) -> None:
    """A list has its topic in the header and ends with the number that the model goes on from."""
    asked = lists_to_ask(pool_of(stage), 0, seed=0)[0]
    lines = asked.prompt.split("\n")
    assert lines[0] == f"Here is a list of instructions about {asked.topic}:"
    assert (asked.first, lines[-1]) == (7, "7.")
