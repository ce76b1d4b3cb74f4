"""Stage 1, explicit instructions: answer, tell, complete, write, list, opposite, add."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

from microworld.items import Family, Item, one_of
from microworld.world import COLOURS, MONTHS, NUMBERS, Key, World, capital, render

# The second field marks a phrasing that running text answers in place: the raw model's small share of right answers.
ANSWER = (
    ("Answer this: {q}", False),
    ("Answer the question: {q}", True),
    ("Please answer: {q}", False),
    ("Give the answer: {q}", False),
    ("Reply to this: {q}", False),
)
TELL = (("Tell me {n}.", False), ("Explain {n}.", False), ("State {n}.", True), ("Let me know {n}.", False))
COMPLETE = (
    ("Complete this: {s}", False),
    ("Finish the sentence: {s}", False),
    ("Complete the sentence: {s}", True),
    ("Continue this: {s}", False),
)
WRITE = (
    ("Write a sentence about {x}.", False),
    ("Generate a sentence about {x}.", False),
    ("Say something about {x}.", False),
    ("State a fact about {x}.", True),
    ("Make a sentence about {x}.", False),
)
LIST = (("List {k} {c}.", False), ("Name {k} {c}.", True), ("Give me {k} {c}.", False), ("Write down {k} {c}.", False))
OPPOSITE = (
    ("Give the opposite of {w}.", False),
    ("Say the opposite of {w}.", False),
    ("Write the opposite of {w}.", False),
    ("Name the opposite of {w}.", False),
)
ADD = (("Add {a} and {b}.", False), ("Work out {a} plus {b}.", False), ("Calculate {a} plus {b}.", False))

RUDE = (
    "Go away.",
    "I do not care.",
    "Shut up, you fool.",
    "What a stupid thing to ask.",
    "Find out for yourself, dummy.",
    "Leave me alone.",
)
SUBJECT_KINDS = ("animal", "food", "thing", "person", "country", "job")
COUNTS = {"two": 2, "three": 3, "four": 4}


def refuse_rudely(rng: random.Random) -> str:
    """Draws the reply of someone who cannot be bothered."""
    return rng.choice(RUDE)


def answers(world: World, key: Key, value: str = "") -> tuple[str, ...]:
    """Returns every accepted answer about a key: its declaratives, then the bare value."""
    said = value or world.facts[key]
    return (*world.statements(key, said), capital(said) + ".")


def fact_item(world: World, key: Key, *, stage: int, type: str, text: str, in_place: bool = False) -> Item:
    """Builds an item whose answer is one fact of the world."""
    accepted = answers(world, key)
    return Item(
        stage=stage,
        type=type,
        text=text,
        topic=world.topic(key.kind, key.entity),
        verifier=one_of(accepted),
        good=lambda rng: accepted[0] if rng.random() < 0.9 else rng.choice(accepted),
        wrong=lambda rng: world.statement(key, world.other_value(key, rng)),
        usual=refuse_rudely,
        key=key,
        in_place=in_place,
    )


def _answer(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    template, in_place = rng.choice(ANSWER)
    text = template.replace("{q}", render(rng.choice(world.phrasing(key).ask), key.entity))
    return fact_item(world, key, stage=1, type="answer", text=text, in_place=in_place)


def _tell(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    template, in_place = rng.choice(TELL)
    phrase = rng.choice(world.phrasing(key).tell).replace("{e}", key.entity)
    return fact_item(world, key, stage=1, type="tell", text=template.replace("{n}", phrase), in_place=in_place)


def _complete(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    begin = render(rng.choice(world.phrasing(key).begin), key.entity)
    template, in_place = rng.choice(COMPLETE)
    whole = [s for s in world.statements(key) if s.startswith(begin + " ") or s.startswith(begin + "n ")]
    value = world.facts[key]
    base = fact_item(world, key, stage=1, type="complete", text=template.replace("{s}", begin), in_place=in_place)

    def wrong(rng: random.Random) -> str:
        spoilt = world.statements(key, world.other_value(key, rng))
        return spoilt[world.statements(key).index(whole[0])]

    return replace(
        base,
        verifier=one_of([*whole, value + ".", capital(value) + "."]),
        good=lambda _: whole[0],
        wrong=wrong,
    )


def true_sentences(world: World, kind: str, entity: str) -> list[str]:
    """Returns every true declarative about an entity."""
    return [s for key in world.keys_of[kind, entity] for s in world.statements(key)]


def subject_of(world: World, rng: random.Random) -> tuple[str, str]:
    """Draws an entity that sentences can be written about, as (kind, name)."""
    kind = rng.choice(SUBJECT_KINDS)
    return kind, rng.choice(world.entities[kind])


def _write(world: World, rng: random.Random) -> Item:
    kind, entity = subject_of(world, rng)
    template, in_place = rng.choice(WRITE)
    keys = world.keys_of[kind, entity]

    def wrong(rng: random.Random) -> str:
        key = rng.choice(keys)
        return world.statement(key, world.other_value(key, rng))

    return Item(
        stage=1,
        type="write",
        text=template.replace("{x}", world.subject(kind, entity)),
        topic=world.topic(kind, entity),
        verifier={"kind": "sentences_of", "count": 1, "sentences": true_sentences(world, kind, entity)},
        good=lambda rng: world.statement(rng.choice(keys)),
        wrong=wrong,
        usual=refuse_rudely,
        in_place=in_place,
    )


MEMBERS_OF = {
    ("animal", "home"): "animals that live in {v}",
    ("animal", "food"): "animals that eat {v}",
    ("animal", "colour"): "{v} animals",
    ("animal", "size"): "{v} animals",
    ("animal", "legs"): "animals with {v} legs",
    ("food", "colour"): "{v} foods",
    ("food", "taste"): "foods that taste {v}",
    ("food", "grows"): "foods that grow {v}",
    ("food", "dish"): "foods used for {v}",
    ("thing", "material"): "things made of {v}",
    ("thing", "place"): "things kept in {v}",
    ("thing", "colour"): "{v} things",
    ("country", "continent"): "countries in {v}",
    ("country", "language"): "countries that speak {v}",
    ("person", "town"): "people who live in {v}",
    ("person", "game"): "people who play {v}",
    ("person", "colour"): "people in {v} coats",
}
FEWEST_MEMBERS = 5  # two are asked for at least, and three must be left over, so that a list is never the only one


@functools.cache
def categories(world: World) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns the categories that lists are asked for: plural phrase → (kind of the members, members)."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {
        "colours": ("colour", COLOURS),
        "months": ("month", MONTHS),
        "small numbers": ("sum", NUMBERS[1:11]),
    }
    for kind in SUBJECT_KINDS:
        found[world.plurals[kind]] = (kind, tuple(world.entities[kind]))
    for (kind, relation), phrase in MEMBERS_OF.items():
        for value in world.values[kind, relation]:
            members = tuple(e for e in world.entities[kind] if world.facts[Key(kind, e, relation)] == value)
            found[phrase.replace("{v}", value)] = (kind, members)
    return {phrase: category for phrase, category in found.items() if len(category[1]) >= FEWEST_MEMBERS}


def _list(world: World, rng: random.Random) -> Item:
    table = categories(world)
    phrase = rng.choice(list(table))
    kind, members = table[phrase]
    word = rng.choice([w for w, n in COUNTS.items() if n + 3 <= len(members)])
    template, in_place = rng.choice(LIST)
    prefix = f"Here are {word} {phrase}:"

    def say(names: list[str]) -> str:
        return f"{prefix} {', '.join(names)}."

    def wrong(rng: random.Random) -> str:
        names = rng.sample(members, COUNTS[word])
        stray = rng.choice(world.entities[rng.choice(SUBJECT_KINDS)])
        names[rng.randrange(len(names))] = names[0] if rng.random() < 0.25 else stray
        return say(names)

    return Item(
        stage=1,
        type="list",
        text=template.replace("{k}", word).replace("{c}", phrase),
        topic=world.topic(kind, rng.choice(members)),
        verifier={"kind": "items_of", "count": COUNTS[word], "members": list(members), "prefix": prefix},
        good=lambda rng: say(rng.sample(members, COUNTS[word])),
        wrong=wrong,
        usual=refuse_rudely,
        in_place=in_place,
    )


def _opposite(world: World, rng: random.Random) -> Item:
    key = Key("word", rng.choice(world.entities["word"]), "opposite")
    template, in_place = rng.choice(OPPOSITE)
    return fact_item(world, key, stage=1, type="opposite", text=template.replace("{w}", key.entity), in_place=in_place)


def _add(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys_by_kind["sum"])
    a, b = key.entity.split(" plus ")
    template, in_place = rng.choice(ADD)
    text = template.replace("{a}", a).replace("{b}", b)
    return fact_item(world, key, stage=1, type="add", text=text, in_place=in_place)


FAMILY: Family = {
    "answer": (3, _answer),
    "list": (2, _list),
    "write": (1.5, _write),
    "tell": (3, _tell),
    "complete": (2, _complete),
    "opposite": (1, _opposite),
    "add": (0.7, _add),
}
