"""Draws instructions of any stage, on either side of the split, and spoils responses to them."""

from __future__ import annotations

import random

from microworld import contexts, instructions, judging, making, principles, revising
from microworld.instructions import refuse_rudely
from microworld.items import Item, choose, held_out
from microworld.verifiers import accepts
from microworld.world import World

FAMILIES = {
    1: instructions.FAMILY,
    2: contexts.FAMILY,
    3: making.FAMILY,
    4: judging.FAMILY,
    5: revising.FAMILY,
    6: principles.FAMILY,
}
# How often each fault is tried; `wrong` and `off_topic` are what a weak model does, the rest what a raw one does.
FAULTS = {"wrong": 38, "off_topic": 18, "evasive": 10, "runaway": 12, "rude": 7, "echo": 6, "ramble": 9}


def draw(world: World, stage: int, rng: random.Random, type: str = "", evaluation: bool = False) -> Item:
    """Draws an instruction of a stage, of one type where one is named.

    Args:
        evaluation: draw from the held-out side of the split instead of the training side.
    """
    family = FAMILIES[stage]
    name = type or choose(rng, {t: weight for t, (weight, _) in family.items()})
    while True:
        item = family[name][1](world, rng)
        if held_out(item) is evaluation:
            return item


def _spoil(world: World, item: Item, fault: str, rng: random.Random) -> str:
    def other(*stages: int) -> Item:
        return draw(world, rng.choice((*stages, item.stage)), rng)

    match fault:
        case "wrong":
            return item.wrong(rng)
        case "off_topic":
            return other(1, 2).good(rng)
        case "evasive":
            return item.usual(rng)
        case "runaway":
            turn = other(1)
            return f"{item.good(rng)} {turn.text if rng.random() < 0.6 else turn.good(rng)}"
        case "rude":
            return refuse_rudely(rng)
        case "echo":
            return item.text if rng.random() < 0.5 else other(1).text
        case "ramble":
            return " ".join(other(1, 1, 2).text for _ in range(rng.randint(2, 3)))
        case _:
            raise ValueError(f"unknown fault {fault!r}; known are {', '.join(FAULTS)}")


def spoil(world: World, item: Item, rng: random.Random, fault: str = "") -> tuple[str, str]:
    """Draws a response that the item's verifier rejects, and the name of its fault."""
    while True:
        drawn = fault or choose(rng, FAULTS)
        response = _spoil(world, item, drawn, rng)
        if not accepts(item.verifier, response):
            return response, drawn
        fault = ""
