"""A batch computed in parts: one optimizer step over more tokens than fit into memory at once, with the same gradient.

The batch says what a step learns from, the parts only how it is computed. Rows of a batch stand by length, so that a
part is cut to the length of its own longest row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def split(batch: Mapping[str, Any], most_tokens: int, halves: int = 1) -> Iterator[dict[str, Any]]:
    """Cuts a batch into parts of about even size.

    Args:
        batch: tensors with one row for each sequence, padded on the right; `attention_mask` (B, T) is among them.
        most_tokens: padded tokens of a part; a longer row is a part by itself. 0 does not cut.
        halves: 2 where the second half of the rows belongs to the first half, row by row (chosen and rejected).
    """
    rows, width = batch["attention_mask"].shape
    rows //= halves
    at_once = max(1, most_tokens // (width * halves)) if most_tokens else rows
    count = -(-rows // at_once)
    at_once = -(-rows // count)
    for start in range(0, rows, at_once):
        yield _cut(batch, [half * rows for half in range(halves)], start, min(start + at_once, rows))


def _cut(batch: Mapping[str, Any], halves: list[int], start: int, end: int) -> dict[str, Any]:
    import torch

    total, width = batch["attention_mask"].shape

    def rows_of(tensor: Any) -> Any:
        if len(tensor) != total:  # one value for each pair
            return tensor[start:end]
        return (
            torch.cat([tensor[half + start : half + end] for half in halves]) if len(halves) > 1 else tensor[start:end]
        )

    part = {key: rows_of(value) for key, value in batch.items()}
    longest = int(part["attention_mask"].sum(1).max())
    return {
        key: value[:, :longest] if value.dim() == 2 and value.shape[1] == width else value
        for key, value in part.items()
    }


def pair_weights(part: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[float, float]:
    """Weighs a part of a batch of pairs, so that the parts' means add up to the batch's.

    Returns:
        The part's share of the pairs, and of the chosen answers' tokens.
    """

    def counts(mask: Any) -> tuple[int, int]:
        chosen = mask[: len(mask) // 2, 1:]
        return len(chosen), int(chosen.sum())

    (pairs, tokens), (all_pairs, all_tokens) = counts(part["completion_mask"]), counts(batch["completion_mask"])
    return pairs / all_pairs, tokens / all_tokens
