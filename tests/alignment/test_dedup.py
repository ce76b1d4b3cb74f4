from __future__ import annotations

from alignment.curriculum import Decontamination, Deduplication
from alignment.decontamination import Decontaminator, Protected
from alignment.dedup import Ladder
from alignment.overlap import Weights

LONG = "Write a short letter to the mayor of the town in which you ask for more trees along the river"
PROTECTED = [
    Protected("s1-1", "What colour is the plum?"),
    Protected("s1-2", LONG),
    Protected("s1-3", "Describe in your own words how a baker makes a loaf of bread"),
]


def test_ladder_names_the_rung_that_catches_a_duplicate() -> None:
    """Exact on normalised text, then MinHash, then ROUGE-L; what passes joins the pool at once."""
    ladder = Ladder(Deduplication(), Weights())
    assert ladder.duplicate(LONG) is None
    assert ladder.duplicate(LONG.upper() + "!") == "exact"
    assert ladder.duplicate(LONG + " please") == "minhash"
    assert (
        ladder.duplicate("Please write a letter to the mayor in which you ask for trees along the river") == "rouge_l"
    )
    assert ladder.duplicate("Name a bird that cannot fly.") is None


def test_ladder_knows_earlier_rounds() -> None:
    """The pool is global: what another round kept is a duplicate."""
    assert Ladder(Deduplication(), Weights(), ["Name a bird."]).duplicate("name a bird") == "exact"


def test_ladder_keeps_near_templates_on_other_subjects() -> None:
    """With weighted words the same template about something else is no duplicate."""
    things = ["plum", "fig", "cow", "otter", "hat", "cup", "sea", "oak"]
    weights = Weights(f"What colour is the {thing}?" for thing in things)
    ladder = Ladder(Deduplication(), weights)
    assert [ladder.duplicate(f"What colour is the {thing}?") for thing in things] == [None] * len(things)


def decontaminator(settings: Decontamination | None = None, weights: Weights | None = None) -> Decontaminator:
    return Decontaminator(settings or Decontamination(), weights or Weights(), PROTECTED)


def test_decontamination_finds_each_kind_of_leak() -> None:
    """Exact, half of an item's 8-grams, one 13-gram of a long item, ROUGE-L of a short one: each names the item."""
    check = decontaminator()
    assert check.leak("what COLOUR is the plum") == ("exact", "s1-1")
    assert check.leak("Now " + " ".join(LONG.split()[2:16]) + " or something else") == ("long_ngram", "s1-2")
    assert check.leak("Please describe in your own words how a baker makes a cake") == ("ngram", "s1-3")
    assert check.leak("So what colour is the plum?") == ("rouge_l", "s1-1")
    assert check.leak("How does a baker spend the day?") is None


def test_decontamination_of_a_templated_world_tells_entities_apart() -> None:
    """Where every item is compared by weighted ROUGE-L, another entity in the template is clean, another wording is not."""
    things = ["plum", "fig", *(f"thing{n}" for n in range(60))]
    weights = Weights(
        [f"What colour is the {t}?" for t in things] + [f"Tell me what colour the {t} has." for t in things]
    )
    check = decontaminator(Decontamination(ngram=100), weights)
    assert check.leak("What colour is the fig?") is None
    assert check.leak("Tell me what colour the plum has.") == ("rouge_l", "s1-1")


def test_decontamination_exact_match_is_always_on() -> None:
    """No setting lets an item itself through."""
    check = decontaminator(Decontamination(ngram=1000, rouge_l=2.0))
    assert check.leak("What colour is the plum?") == ("exact", "s1-1")
