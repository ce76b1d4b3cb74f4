from __future__ import annotations

import itertools
import math

import pytest

from alignment.overlap import NearIndex, Weights, ngrams, rouge_l, shingles, words_of

TEXTS = [
    "What colour is the plum?",
    "What colour is the fig?",
    "Tell me the colour of the fig.",
    "List three animals that live in the forest.",
    "Write a sentence about the otter.",
]


def test_rouge_l_with_equal_weights_is_the_published_one() -> None:
    """Without weights the measure is the F measure that Self-Instruct's package computes."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer, equal = RougeScorer(["rougeL"]), Weights()
    for first, second in itertools.product(TEXTS, TEXTS):
        expected = scorer.score(first, second)["rougeL"].fmeasure
        assert math.isclose(rouge_l(words_of(first), words_of(second), equal), expected, abs_tol=1e-9)


def test_rouge_l_weights_tell_a_template_from_its_subject() -> None:
    """Two subjects in one template are less alike than one subject in two templates; plainly counted it is the reverse."""
    corpus = [f"What colour is the {thing}?" for thing in ["plum", "fig", "cow", "otter", "hat", "cup", "sea", "oak"]]
    corpus += [
        f"Tell me the colour of the {thing}." for thing in ["plum", "fig", "cow", "otter", "hat", "cup", "sea", "oak"]
    ]
    plum, fig, told = (words_of(text) for text in TEXTS[:3])
    weighted, equal = Weights(corpus), Weights()
    assert rouge_l(fig, told, weighted) > rouge_l(fig, plum, weighted)
    assert rouge_l(fig, told, equal) < rouge_l(fig, plum, equal) == pytest.approx(0.8)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7, 1.0, 1.1])
def test_near_index_finds_what_a_full_comparison_finds(threshold: float) -> None:
    """The index leaves out comparisons, never results."""
    weights = Weights(TEXTS)
    index = NearIndex(weights)
    for text in TEXTS[1:]:
        index.add(words_of(text))
    for probe in [*TEXTS, "What colour is the forest?", "nothing alike"]:
        expected = max(rouge_l(words_of(probe), words_of(text), weights) for text in TEXTS[1:])
        assert index.nearest(words_of(probe), threshold)[0] == (expected if expected >= threshold else 0.0)


def test_words_drop_case_and_punctuation() -> None:
    """Texts that differ only in dressing are equal."""
    assert words_of("  List THREE animals! ") == words_of("list three animals") == ("list", "three", "animals")


def test_ngrams_and_shingles_of_short_texts() -> None:
    """A text shorter than a run has no n-gram, and one shingle."""
    assert ngrams(("a", "b"), 3) == set()
    assert list(shingles(("a", "b"), 3)) == ["a b"]
    assert list(shingles(("a", "b", "c"), 2)) == ["a b", "b c"]
