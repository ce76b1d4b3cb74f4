"""What a document is drawn from: the world, one stream of randomness, and pools of instructions for worksheets."""

from __future__ import annotations

import random

from microworld.families import FAMILIES, draw
from microworld.items import Item
from microworld.world import World

LIST_STAGES = {1: 36.0, 2: 20.0, 3: 11.0, 4: 10.0, 5: 11.0, 6: 12.0}
POOL = 40_000  # instructions that a shard's worksheets are filled from


class Source:
    """Draws the parts of documents, all from the training side of the split."""

    def __init__(self, world: World, rng: random.Random, pool: int = POOL) -> None:
        self.world, self.rng = world, rng
        self.pools: dict[int, dict[str, list[str]]] = {stage: {} for stage in FAMILIES}
        for _ in range(pool):
            item = self.item(LIST_STAGES)
            self.pools[item.stage].setdefault(item.topic, []).append(item.text)

    def stage(self, weights: dict[int, float]) -> int:
        """Draws a stage by weight."""
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def item(self, weights: dict[int, float]) -> Item:
        """Draws an instruction of a stage that is drawn by weight."""
        return draw(self.world, self.stage(weights), self.rng)
