"""Batches by token budget: rows of like length together, so that little of a batch is padding."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


class TokenBatches:
    """A batch sampler whose batches hold at most `budget` padded tokens.

    The batches are formed once, from rows sorted by length; each epoch draws their order anew from the seed and the
    epoch's number, so that a resumed run sees the order of an uninterrupted one. A row longer than the budget is a
    batch of its own.

    Args:
        lengths: padded tokens that each row asks for, by row index.
        budget: padded tokens a batch may hold.
        seed: draws the order of rows of equal length, and of the batches in each epoch.
    """

    def __init__(self, lengths: Sequence[int], budget: int, seed: int) -> None:
        order = list(range(len(lengths)))
        random.Random(seed).shuffle(order)
        order.sort(key=lambda row: lengths[row])
        self._seed = seed
        self._epoch = 0
        self._batches: list[list[int]] = []
        for row in order:
            # Rows come in by length, so this one sets the width that the whole batch is padded to.
            if self._batches and (len(self._batches[-1]) + 1) * lengths[row] <= budget:
                self._batches[-1].append(row)
            else:
                self._batches.append([row])

    def set_epoch(self, epoch: int) -> None:
        """Selects the epoch whose order is drawn next; the trainer calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        batches = list(self._batches)
        random.Random(f"{self._seed}/{self._epoch}").shuffle(batches)
        return iter(batches)
