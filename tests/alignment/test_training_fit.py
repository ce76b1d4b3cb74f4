"""How a batch is cut so that it fits a card, and which layers are recomputed."""

from __future__ import annotations

import pytest
import torch

from alignment.refusal import Refusal
from alignment.training.fit import Fit, Footprint, choose
from alignment.training.parts import pair_weights, split

# As measured on 64 layers of 32 B parameters: 11.2 MB a token where layers keep their activations, 0.36 where none does.
FOOTPRINT = Footprint(fixed=1.4e9, kept=11.2e6, recomputed=0.36e6)


def fit_within(gigabytes: float, unpacking: float = 350) -> Fit:
    return choose(FOOTPRINT, gigabytes * 1e9, 16_384, 64, unpacking=unpacking)


def test_fit_keeps_activations_where_there_is_room() -> None:
    """With 50 GB a batch is cut into four parts, and nothing is computed twice."""
    assert fit_within(50) == Fit(4096, 0)


def test_fit_takes_the_batch_whole_where_it_can() -> None:
    """(1.4 + 16,384 × 0.0112) GB are 184.9."""
    assert fit_within(185) == Fit(16_384, 0)


def test_fit_recomputes_where_memory_is_short() -> None:
    """With 5 GB parts that keep everything would be 321 tokens, and unpacking the weights 51 times dearer than
    running the layers' forward passes twice."""
    fit = fit_within(5)
    assert fit.recomputed_layers > 48
    assert FOOTPRINT.fixed + fit.part_tokens * (11.2e6 - fit.recomputed_layers / 64 * 10.84e6) <= 5e9


def test_fit_of_unpacked_weights_never_recomputes() -> None:
    """Where weights are not packed, small parts cost nothing."""
    assert fit_within(5, unpacking=0).recomputed_layers == 0


def test_fit_refuses_what_cannot_fit() -> None:
    """A card without room for one token is told with both figures."""
    with pytest.raises(Refusal, match=r"needs 1\.4 GB and 0\.4 MB a token beside the model, 1\.0 GB are free"):
        fit_within(1)


def batch(lengths: list[int], width: int) -> dict[str, torch.Tensor]:
    mask = torch.tensor([[int(column < length) for column in range(width)] for length in lengths])
    return {"attention_mask": mask, "input_ids": mask * torch.arange(1, len(lengths) + 1)[:, None]}


def test_split_cuts_parts_to_their_longest_row() -> None:
    """Six rows of 8 in parts of at most 16 tokens: three parts of two rows, each as wide as its own longest row."""
    parts = list(split(batch([2, 3, 5, 6, 7, 8], 8), 16))
    assert [tuple(part["input_ids"].shape) for part in parts] == [(2, 3), (2, 6), (2, 8)]
    assert [int(part["input_ids"].max()) for part in parts] == [2, 4, 6]


def test_split_keeps_pairs_together() -> None:
    """The rows of a pair stand in the same part: chosen ones first, rejected ones after them."""
    parts = list(split(batch([4, 4, 4, 4], 4), 8, halves=2))
    assert [sorted(part["input_ids"][:, 0].tolist()) for part in parts] == [[1, 3], [2, 4]]


def test_split_of_nothing_to_cut() -> None:
    """Without a limit the batch is one part; a row longer than the limit is a part by itself."""
    assert len(list(split(batch([3, 4], 4), 0))) == 1
    assert len(list(split(batch([3, 4], 4), 2))) == 2


def test_weights_of_parts_add_up() -> None:
    """A mean over pairs and a mean over the chosen answers' tokens are the weighted sums of the parts' means."""
    whole = batch([4, 6, 8, 5, 7, 8], 8)
    whole["completion_mask"] = whole["attention_mask"] * (torch.arange(8) > 2)
    weights = [pair_weights(part, whole) for part in split(whole, 16, halves=2)]
    assert weights == [(1 / 3, 1 / 9), (1 / 3, 3 / 9), (1 / 3, 5 / 9)]
