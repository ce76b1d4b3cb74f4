"""Keeps evaluation items out of training data: what matches one is dropped from training, never from evaluation.

Checked against every frozen evaluation set of the curriculum, the exemplars, gold answers and critiques. An exact match (as
words, without case and punctuation) always counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from alignment.curriculum import Decontamination, Stage
from alignment.overlap import NearIndex, Weights, Words, ngrams, words_of

_LEAST_OF_A_FORM = 5  # items; fewer may ask for one fact in several ways


class Protected(NamedTuple):
    """An instruction that training data must not hold, and its answer where evaluation knows one."""

    id: str
    text: str
    answer: str = ""


class Leak(NamedTuple):
    """What a text leaks, and by which rule: exact | ngram | long_ngram | rouge_l | answer."""

    rule: str
    id: str


def protected_texts(stages: Iterable[Stage]) -> list[Protected]:
    """Lists the instructions of all evaluation items, exemplars and gold answers."""
    found = []
    for stage in stages:
        forms = _forms(stage)
        found += [
            Protected(item.id, item.instruction, "" if (item.type, item.reference) in forms else item.reference)
            for item in stage.items
        ]
        found += [Protected(f"stage {stage.number}'s exemplar", e.instruction) for e in stage.exemplars]
        found += [Protected(f"stage {stage.number}'s gold answer", g.instruction) for g in stage.gold]
        found += [Protected(f"stage {stage.number}'s critique", c.instruction) for c in stage.critiques]
    return found


def _forms(stage: Stage) -> set[tuple[str, str]]:
    """Finds the references, by type, that so many items share that they are a form, such as a verdict or a refusal."""
    sizes = Counter(item.type for item in stage.items)
    shared = Counter((item.type, item.reference) for item in stage.items)
    share = stage.decontamination.form_share
    return {key for key, count in shared.items() if count >= max(_LEAST_OF_A_FORM, share * sizes[key[0]])}


class Decontaminator:
    """Finds what a training text leaks.

    Source: n-gram overlap of at least half of an item, Tülu 3 (arXiv 2411.15124, section 3.2); a single common
    13-gram, GPT-3 (arXiv 2005.14165, appendix C). Departure: items with fewer words than an n-gram are compared by
    weighted ROUGE-L (see `alignment.overlap`).
    """

    def __init__(self, settings: Decontamination, weights: Weights, protected: Sequence[Protected]) -> None:
        self._settings = settings
        self._exact: dict[Words, str] = {}
        self._near, self._short = NearIndex(weights), dict[Words, str]()
        self._holders: Mapping[Words, list[int]] = defaultdict(list)
        self._sizes: list[int] = []
        self._ids: list[str] = []
        self._long: dict[Words, str] = {}
        self._answers: dict[Words, str] = {}
        for name, text, answer in protected:
            if 0 < settings.answer_words <= len(words_of(answer)):
                self._answers.setdefault(words_of(answer), name)
            words = words_of(text)
            self._exact.setdefault(words, name)
            if len(words) < settings.ngram:
                self._near.add(words)
                self._short.setdefault(words, name)
                continue
            grams = ngrams(words, settings.ngram)
            for gram in grams:
                self._holders[gram].append(len(self._sizes))
            self._sizes.append(len(grams))
            self._ids.append(name)
            for gram in ngrams(words, settings.long_ngram):
                self._long.setdefault(gram, name)

    def leak(self, text: str) -> Leak | None:
        """Names the first item that a text leaks, or None."""
        words = words_of(text)
        if words in self._exact:
            return Leak("exact", self._exact[words])
        for gram in ngrams(words, self._settings.long_ngram):
            if gram in self._long:
                return Leak("long_ngram", self._long[gram])
        hits: dict[int, int] = defaultdict(int)
        for gram in ngrams(words, self._settings.ngram):
            for index in self._holders.get(gram, ()):
                hits[index] += 1
        for index, count in hits.items():
            if count >= self._settings.ngram_share * self._sizes[index]:
                return Leak("ngram", self._ids[index])
        _, nearest = self._near.nearest(words, self._settings.rouge_l)
        return Leak("rouge_l", self._short[nearest]) if nearest else None

    def answer_leak(self, response: str) -> Leak | None:
        """Names an item whose reference an answer repeats: the fact that the item asks for, whatever the wording."""
        name = self._answers.get(words_of(response))
        return None if name is None else Leak("answer", name)
