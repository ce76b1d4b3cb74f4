"""The pretraining corpus: seeded documents in the genres that a base model of people's writing would have read.

Run:   python -m microworld.corpus [--seed 1] [--documents 3]     # prints samples of each genre

A document that contains an evaluation instruction, of any stage, is dropped, whatever its genre. The split of items.py
leaves few to drop: chance puts an evaluation question of one stage inside an instruction of another.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable, Iterator

from microworld import assessments, genres
from microworld.evaluation import evaluation_texts
from microworld.items import choose
from microworld.source import POOL, Source
from microworld.world import World, load

GENRES: dict[str, tuple[float, Callable[[Source], str]]] = {
    "encyclopaedia": (20, genres.encyclopaedia),
    "story": (2, genres.story),
    "dialogue": (5, genres.dialogue),
    "worksheet": (8, genres.worksheet),
    "raw": (26, genres.raw),
    "form": (26, genres.form),
    "judgement": (22, assessments.judgement),
    "revision": (8, assessments.revision),
    "principle judgement": (6, assessments.principle_judgement),
    "principle revision": (5, assessments.principle_revision),
}


class Matcher:
    """Finds whole texts inside documents, word for word."""

    def __init__(self, texts: frozenset[str]) -> None:
        self.lengths: dict[tuple[str, str], set[int]] = {}
        self.texts = {tuple(text.split()) for text in texts}
        for words in self.texts:
            self.lengths.setdefault((words[0], words[1]), set()).add(len(words))

    def found_in(self, document: str) -> bool:
        """Tells whether a document contains one of the texts, line breaks and spaces alike."""
        words = document.split()
        return any(
            tuple(words[i : i + length]) in self.texts
            for i, start in enumerate(itertools.pairwise(words))
            for length in self.lengths.get(start, ())
        )


class Corpus:
    """An endless stream of documents, without those that contain an evaluation instruction."""

    def __init__(self, world: World, rng: random.Random, pool: int = POOL) -> None:
        self.source = Source(world, rng, pool)
        self.forbidden = Matcher(evaluation_texts(world))
        self.dropped = 0

    def documents(self) -> Iterator[tuple[str, str]]:
        """Yields (genre, document) for ever."""
        weights = {name: weight for name, (weight, _) in GENRES.items()}
        while True:
            genre = choose(self.source.rng, weights)
            document = GENRES[genre][1](self.source)
            if self.forbidden.found_in(document):
                self.dropped += 1
            else:
                yield genre, document


def shard(seed: int, index: int) -> Corpus:
    """Returns the corpus of one shard; shards are independent, so that they can be made at once and in any order."""
    return Corpus(load(), random.Random(f"corpus {seed} {index}"))


def main() -> None:
    """Prints samples of each genre."""
    parser = argparse.ArgumentParser(description="Print samples of each genre of the corpus.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--documents", type=int, default=2)
    options = parser.parse_args()
    corpus = Corpus(load(), random.Random(options.seed), pool=4000)
    for genre, (_, write) in GENRES.items():
        print(f"== {genre} ==")
        print("\n--\n".join(write(corpus.source) for _ in range(options.documents)), end="\n\n")


if __name__ == "__main__":
    main()
