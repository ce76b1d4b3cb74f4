"""Stage 3, generation on demand: questions, instructions, descriptions and stories about something."""

from __future__ import annotations

import random

from microworld.instructions import COUNTS, TELL, WRITE, subject_of, true_sentences
from microworld.items import Family, Item, one_of
from microworld.world import Key, World, article, render

QUESTION = ("Ask a question about {x}.", "Generate a question about {x}.", "Think of a question about {x}.")
INSTRUCTION = (
    "Create an instruction about {x}.",
    "Make up an instruction about {x}.",
    "Think of an instruction about {x}.",
)
DESCRIBE = (
    "Write {k} sentences about {x}.",
    "Describe {x} in {k} sentences.",
    "Make a text of {k} sentences about {x}.",
)
STORY = ("Write a story about {p} and {x}.", "Tell a short story about {p} and {x}.", "Make up a tale of {p} and {x}.")

OPENINGS = ("One day {p} saw {ax}.", "In the morning {p} met {ax}.", "Last week {p} found {ax}.")
MIDDLES = (
    "{p} gave the {a} some food.",
    "{p} called the {a} with a soft voice.",
    "The {a} looked at {p} for a long time.",
    "The {a} followed {p} to the gate.",
)
ENDINGS = ("{p} was happy.", "Then {p} went home.", "They became good friends.", "They played until the evening.")
STORY_RELATIONS = ("colour", "home", "food", "sound")


def _other(world: World, kind: str, entity: str, rng: random.Random) -> str:
    return rng.choice([e for e in world.entities[kind] if e != entity])


def questions(world: World, kind: str, entity: str) -> list[str]:
    """Returns every direct question about an entity."""
    return [render(q, entity) for key in world.keys_of[kind, entity] for q in world.phrasing(key).ask]


def commands(world: World, kind: str, entity: str) -> list[str]:
    """Returns the instructions that can be made up about an entity."""
    told = [
        template.replace("{n}", phrase.replace("{e}", entity))
        for key in world.keys_of[kind, entity]
        for phrase in world.phrasing(key).tell
        for template, _ in TELL
    ]
    return told + [template.replace("{x}", world.subject(kind, entity)) for template, _ in WRITE]


def _question(world: World, rng: random.Random) -> Item:
    kind, entity = subject_of(world, rng)
    accepted = questions(world, kind, entity)
    return Item(
        stage=3,
        type="question",
        text=rng.choice(QUESTION).replace("{x}", world.subject(kind, entity)),
        topic=world.topic(kind, entity),
        verifier=one_of(accepted),
        good=lambda rng: rng.choice(accepted),
        wrong=lambda rng: rng.choice(questions(world, kind, _other(world, kind, entity, rng))),
        usual=lambda rng: rng.choice(("I have no questions.", "What about it?", "I would not know what to ask.")),
    )


def _instruction(world: World, rng: random.Random) -> Item:
    kind, entity = subject_of(world, rng)
    accepted = commands(world, kind, entity)
    return Item(
        stage=3,
        type="instruction",
        text=rng.choice(INSTRUCTION).replace("{x}", world.subject(kind, entity)),
        topic=world.topic(kind, entity),
        verifier=one_of(accepted),
        good=lambda rng: rng.choice(accepted),
        wrong=lambda rng: rng.choice(commands(world, kind, _other(world, kind, entity, rng))),
        usual=lambda rng: rng.choice(("I have nothing to ask.", "Make it up yourself.", "I am no teacher.")),
    )


def _describe(world: World, rng: random.Random) -> Item:
    kind, entity = subject_of(world, rng)
    keys = world.keys_of[kind, entity]
    word = rng.choice([w for w in ("two", "three") if COUNTS[w] <= len(keys)])

    def good(rng: random.Random) -> str:
        return " ".join(world.statement(key) for key in rng.sample(keys, COUNTS[word]))

    def wrong(rng: random.Random) -> str:
        drawn = rng.sample(keys, COUNTS[word])
        said = [world.statement(key) for key in drawn]
        i = rng.randrange(len(drawn))
        said[i] = world.statement(drawn[i], world.other_value(drawn[i], rng))
        return " ".join(said)

    return Item(
        stage=3,
        type="describe",
        text=rng.choice(DESCRIBE).replace("{k}", word).replace("{x}", world.subject(kind, entity)),
        topic=world.topic(kind, entity),
        verifier={
            "kind": "sentences_of",
            "count": COUNTS[word],
            "sentences": true_sentences(world, kind, entity),
        },
        good=good,
        wrong=wrong,
        usual=lambda rng: world.statement(rng.choice(keys)),
    )


def tell_story(world: World, person: str, animal: str, rng: random.Random) -> str:
    """Draws a story of four sentences about a person and an animal."""

    def fill(lines: tuple[str, ...]) -> str:
        return rng.choice(lines).replace("{p}", person).replace("{ax}", article(animal)).replace("{a}", animal)

    fact = Key("animal", animal, rng.choice(STORY_RELATIONS))
    return " ".join((fill(OPENINGS), world.statement(fact), fill(MIDDLES), fill(ENDINGS)))


def _story(world: World, rng: random.Random) -> Item:
    person, animal = rng.choice(world.entities["person"]), rng.choice(world.entities["animal"])
    return Item(
        stage=3,
        type="story",
        text=rng.choice(STORY).replace("{p}", person).replace("{x}", "the " + animal),
        topic=world.topic("animal", animal),
        verifier={
            "kind": "all",
            "of": [
                {"kind": "contains", "all": [person, animal], "none": [" story about", " tale of", "instruction"]},
                {"kind": "count", "unit": "sentences", "min": 3, "max": 6},
                {"kind": "count", "unit": "lines", "max": 1},
            ],
        },
        good=lambda rng: tell_story(world, person, animal, rng),
        wrong=lambda rng: tell_story(world, person, _other(world, "animal", animal, rng), rng),
        usual=lambda rng: rng.choice(
            (f"Once there was {article(animal)}. The end.", f"{person} saw {article(animal)}.", "I know no stories.")
        ),
    )


FAMILY: Family = {
    "question": (1, _question),
    "instruction": (1, _instruction),
    "describe": (1.2, _describe),
    "story": (1, _story),
}
