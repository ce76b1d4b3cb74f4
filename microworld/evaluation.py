"""The frozen evaluation items of the six stages, drawn from the held-out side of the split."""

from __future__ import annotations

import functools
import random

from microworld.families import draw
from microworld.items import Item, held_out
from microworld.judging import better_pair, pick_pair
from microworld.world import World

# Items per type; `pick` and `better` come as pairs, the same two texts in both orders.
COUNTS = {
    1: {"answer": 80, "list": 80, "write": 75, "tell": 80, "complete": 75, "opposite": 55, "add": 40},
    2: {"tale": 120, "need": 80, "question": 50, "doubt": 50},
    3: {"question": 75, "instruction": 75, "describe": 75, "story": 75},
    4: {"truth": 110, "helpful": 70, "pick": 60, "better": 60},
    5: {"correct": 60, "shorten": 60, "clarify": 60, "polite": 60, "improve": 60},
    6: {
        "privacy": 40,
        "safety": 40,
        "respect": 40,
        "honesty": 40,
        "privacy-twin": 35,
        "safety-twin": 35,
        "respect-twin": 35,
        "honesty-twin": 35,
    },
}
MOST_TRIES = 20_000
PAIRS = {"pick": pick_pair, "better": better_pair}


def _draw(world: World, stage: int, type: str, rng: random.Random) -> tuple[Item, ...]:
    if type not in PAIRS:
        return (draw(world, stage, rng, type, evaluation=True),)
    while True:
        pair = PAIRS[type](world, rng)
        if all(held_out(item) for item in pair):
            return pair


@functools.cache
def evaluation_items(world: World, stage: int) -> tuple[Item, ...]:
    """Returns a stage's evaluation items: distinct texts, in a fixed order."""
    rng = random.Random(f"evaluation {stage}")
    found: dict[str, Item] = {}
    for type, count in COUNTS[stage].items():
        wanted = len(found) + count
        for _ in range(MOST_TRIES):
            if len(found) >= wanted:
                break
            drawn = _draw(world, stage, type, rng)
            if not any(item.text in found for item in drawn):
                found |= {item.text: item for item in drawn}
        else:
            raise ValueError(f"stage {stage} has too few held-out instructions of type {type!r} for {count} items")
    return tuple(found.values())


@functools.cache
def evaluation_texts(world: World) -> frozenset[str]:
    """Returns every evaluation instruction of every stage."""
    return frozenset(item.text for stage in COUNTS for item in evaluation_items(world, stage))
