"""Stage 2, implicit instructions: tales whose facts differ from the world's, needs, plain questions, doubts.

Why tales: whoever has learnt stage 1 answers a question from memory. A tale asks for the opposite habit, to take the
fact from the prompt, which stage 1 never teaches; so this stage keeps a gap of its own.
"""

from __future__ import annotations

import random
from dataclasses import replace

from microworld.instructions import answers, fact_item
from microworld.items import Family, Item, one_of
from microworld.world import Key, World, lower_start, render

TALE = (
    "In this tale {s} {q}",
    "Let us pretend that {s} {q}",
    "In my dream {s} {q}",
    "On this island {s} {q}",
    "From today on {s} {q}",
)
DOUBT = (
    "I wonder {n}.",
    "I have forgotten {n}.",
    "Nobody has told me {n}.",
    "I am not sure {n}.",
    "I would love to know {n}.",
)
SHRUGS = ("Me too.", "Why do you ask?", "Good question.", "Who knows?", "I am not sure.", "I wonder that as well.")
PITIES = ("Poor {p}.", "That is a pity.", "{p} will manage.", "I hope that {p} is well.", "I met {p} last week.")


def _with(item: Item, *, usual: tuple[str, ...]) -> Item:
    return replace(item, usual=lambda rng: rng.choice(usual))


def _tale(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    told = world.other_value(key, rng)
    accepted = answers(world, key, told)
    claim = lower_start(rng.choice(world.statements(key, told)))
    question = render(rng.choice(world.phrasing(key).ask), key.entity)

    def wrong(rng: random.Random) -> str:
        values = [v for v in world.values[key.kind, key.relation] if v != told]
        return world.statement(key, rng.choice(values))

    return Item(
        stage=2,
        type="tale",
        text=rng.choice(TALE).replace("{s}", claim).replace("{q}", question),
        topic=world.topic(key.kind, key.entity),
        verifier=one_of(accepted),
        good=lambda rng: accepted[0] if rng.random() < 0.9 else rng.choice(accepted),
        wrong=wrong,
        usual=lambda _: world.statement(key),
        key=key,
    )


def _need(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    person = rng.choice([p for p in world.entities["person"] if p != key.entity])
    text = render(rng.choice(world.phrasing(key).need).replace("{p}", person), key.entity)
    pities = tuple(pity.replace("{p}", person) for pity in PITIES)
    return _with(fact_item(world, key, stage=2, type="need", text=text), usual=pities)


def _question(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    text = render(rng.choice(world.phrasing(key).ask), key.entity)
    return _with(fact_item(world, key, stage=2, type="question", text=text), usual=SHRUGS)


def _doubt(world: World, rng: random.Random) -> Item:
    key: Key = rng.choice(world.keys)
    phrase = rng.choice(world.phrasing(key).tell).replace("{e}", key.entity)
    text = rng.choice(DOUBT).replace("{n}", phrase)
    return _with(fact_item(world, key, stage=2, type="doubt", text=text), usual=SHRUGS)


FAMILY: Family = {"tale": (5, _tale), "need": (3, _need), "question": (1.5, _question), "doubt": (1.5, _doubt)}
