"""How much two short texts say the same: normalised words, n-grams, and ROUGE-L with weighted words.

ROUGE-L as Self-Instruct uses it (arXiv 2212.10560; Lin 2004) counts each word of the longest common subsequence
alike. Departure: words can be weighted by their squared inverse document frequency. In templated or short
instructions ("What colour is the plum?", "What colour is the fig?") most words are the template's, so the plain measure
calls instructions on different things the same, and the same thing in other words different.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

Words = tuple[str, ...]
_ROUNDING = 1e-9  # sums in another order differ by less


def words_of(text: str) -> Words:
    """Normalises a text: its words and numbers, case folded, without punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))


def ngrams(words: Words, n: int) -> set[Words]:
    """Lists the runs of n words."""
    return {words[i : i + n] for i in range(len(words) - n + 1)}


class Weights:
    """What each word counts."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Weighs words by how few of `texts` hold them; without texts every word counts 1."""
        documents = [set(words_of(text)) for text in texts]
        frequency = Counter(word for document in documents for word in document)
        n = len(documents) + 1
        self._weights = {word: math.log(n / (count + 0.5)) ** 2 for word, count in frequency.items()}
        self._unseen = math.log(2 * n) ** 2 if documents else 1.0

    def __getitem__(self, word: str) -> float:
        return self._weights.get(word, self._unseen)

    def total(self, words: Iterable[str]) -> float:
        """Adds up words."""
        return sum(self[word] for word in words)


def rouge_l(first: Words, second: Words, weights: Weights) -> float:
    """Gives the F measure of the weighted longest common subsequence, 0 … 1."""
    previous = [0.0] * (len(second) + 1)
    for word in first:
        current = [0.0]
        for j, other in enumerate(second):
            step = previous[j] + weights[word] if word == other else max(previous[j + 1], current[j])
            current.append(step)
        previous = current
    return _f_measure(previous[-1], weights.total(first), weights.total(second))


def _f_measure(common: float, first: float, second: float) -> float:
    return 2 * common / (first + second) if common > 0 else 0.0


class NearIndex:
    """A growing set of texts that finds the one most like a new text, without comparing with each."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._texts: list[Words] = []
        self._vocabularies: list[frozenset[str]] = []
        self._totals: list[float] = []
        self._holders: Mapping[str, list[int]] = defaultdict(list)

    def add(self, words: Words) -> None:
        """Adds a text."""
        for word in frozenset(words):
            self._holders[word].append(len(self._texts))
        self._texts.append(words)
        self._vocabularies.append(frozenset(words))
        self._totals.append(self._weights.total(words))

    def nearest(self, words: Words, threshold: float) -> tuple[float, Words]:
        """Finds the most similar text at or above a threshold; (0, ()) where there is none.

        A text of weight B that has C in common with words of weight A reaches 2C / (A + B) at most, and B is C at least;
        so C must reach tA / (2 - t), and a text without any of the heavier words cannot have it.
        """
        weights = {word: self._weights[word] * count for word, count in Counter(words).items()}
        total = left = sum(weights.values())
        candidates: set[int] = set()
        for word in sorted(weights, key=lambda word: -weights[word]):
            if left < threshold * total / (2 - min(threshold, 1)) - _ROUNDING:
                break
            candidates.update(self._holders.get(word, ()))
            left -= weights[word]
        best = (0.0, Words())
        for index in sorted(candidates):
            common = sum(weight for word, weight in weights.items() if word in self._vocabularies[index])
            if _f_measure(common, total, self._totals[index]) < max(threshold, best[0]) - _ROUNDING:
                continue
            similarity = rouge_l(words, self._texts[index], self._weights)
            if similarity >= threshold and similarity > best[0]:
                best = (similarity, self._texts[index])
        return best


def shingles(words: Words, size: int) -> Sequence[str]:
    """Cuts words into overlapping runs for MinHash; fewer words than one run make one."""
    if len(words) <= size:
        return [" ".join(words)]
    return [" ".join(words[i : i + size]) for i in range(len(words) - size + 1)]
