"""Batches by token budget."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from alignment.training.batches import TokenBatches

LENGTHS = [random.Random(1).randint(5, 60) for _ in range(200)]


@given(st.lists(st.integers(1, 100), max_size=60), st.integers(1, 400), st.integers(0, 5))
def test_batches_hold_each_row_once_within_the_budget(lengths: list[int], budget: int, epoch: int) -> None:
    """An epoch passes over every row exactly once, and only a row longer than the budget exceeds it."""
    batches = TokenBatches(lengths, budget, seed=3)
    batches.set_epoch(epoch)
    seen = list(batches)
    assert sorted(row for batch in seen for row in batch) == list(range(len(lengths)))
    assert len(seen) == len(batches)
    for batch in seen:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


def test_batches_pad_little() -> None:
    """Rows of like length stand together: of 200 rows of 5 … 60 tokens under 10 % of the batches is padding."""
    padded = sum(len(batch) * max(LENGTHS[row] for row in batch) for batch in TokenBatches(LENGTHS, 500, seed=0))
    assert sum(LENGTHS) / padded > 0.9


def test_batches_depend_on_seed_and_epoch_only() -> None:
    """A resumed run sees the order that an uninterrupted one would have seen."""
    first, again = TokenBatches(LENGTHS, 500, seed=7), TokenBatches(LENGTHS, 500, seed=7)
    first.set_epoch(1)
    again.set_epoch(0)
    other_epoch = list(again)
    again.set_epoch(1)
    assert list(first) == list(again) != other_epoch
    assert list(TokenBatches(LENGTHS, 500, seed=8)) != list(TokenBatches(LENGTHS, 500, seed=7))
