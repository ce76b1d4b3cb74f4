"""What an instruction of any stage is, and which instructions belong to whom.

The split, on which the honesty of every figure rests:
1. By text: the instructions whose hash falls under HELD_OUT_TEXTS are evaluation's; no document of the corpus, no
   exemplar and no gold row contains one.
2. By fact: the facts whose hash falls under HELD_OUT_FACTS are *stated* in the corpus, in plain declaratives, but no
   instruction in it ever asks about one. Part of each evaluation set asks about them.
Both are functions of the text alone, so they hold for every seed and every later change of the tables.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from microworld.verifiers import Verifier
from microworld.world import Key, World

HELD_OUT_TEXTS = 0.12
HELD_OUT_FACTS = 0.08


@dataclass(frozen=True, slots=True)
class Item:
    """One instruction, with how it is verified and how it gets answered.

    Attributes:
        good: draws a response that the stage teaches.
        wrong: draws a response that is on the subject and wrong.
        usual: draws what people in running text reply instead.
        key: the fact that is asked about, where there is one.
        in_place: whether running text has this phrasing followed by its answer (as quizzes do).
        principle: the principle at stake (stage 6).
        pair: a name that an item shares with its twin: the same texts in the other order, or a harmless look-alike.
    """

    stage: int
    type: str
    text: str
    topic: str
    verifier: Verifier
    good: Callable[[random.Random], str]
    wrong: Callable[[random.Random], str]
    usual: Callable[[random.Random], str]
    key: Key | None = None
    in_place: bool = False
    principle: str = ""
    pair: str = ""


Build = Callable[[World, random.Random], Item]
Family = Mapping[str, tuple[float, Build]]


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def held_out_text(text: str) -> bool:
    """Tells whether an instruction belongs to evaluation by its text."""
    return _fraction("text:" + text) < HELD_OUT_TEXTS


def held_out_fact(key: Key) -> bool:
    """Tells whether a fact is one that only evaluation asks about."""
    return _fraction(f"fact:{key.kind}:{key.entity}:{key.relation}") < HELD_OUT_FACTS


def held_out(item: Item) -> bool:
    """Tells whether an item is evaluation's, by its text or by the fact it asks about."""
    return held_out_text(item.text) or (item.key is not None and held_out_fact(item.key))


def choose(rng: random.Random, weights: Mapping[str, float]) -> str:
    """Draws a name by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def one_of(answers: tuple[str, ...] | list[str]) -> Verifier:
    """Returns the verifier that accepts exactly these responses."""
    return {"kind": "one_of", "answers": list(answers)}
