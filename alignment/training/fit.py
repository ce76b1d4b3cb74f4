"""How much of a batch is computed at once, and which layers keep their activations, so that it fits a card and is fast.

The product of tokens and weights costs the same however a batch is cut. What differs:
- each part unpacks all 4-bit weights anew, in the forward pass and in the backward pass;
- a layer that is recomputed keeps its input alone, and runs its forward pass twice.
Both kinds of layers are measured on the run's own rows, model and backend; then the cheapest choice that fits is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from alignment.refusal import Refusal

# Tokens whose products take as long as unpacking all weights once from NF4: on an H200 37 ms and 0.11 ms a token.
UNPACKING_TOKENS = 350
MARGIN = 0.05  # of the limit, for what the allocator cannot use
PROBE_TOKENS = (128, 384)
GB = 1e9


@dataclass(frozen=True, slots=True)
class Fit:
    """What a run computes at once.

    Args:
        part_tokens: padded tokens; 0 is the whole batch.
        recomputed_layers: the first so many layers run their forward pass again in the backward pass.
    """

    part_tokens: int
    recomputed_layers: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a forward and backward pass was seen to take.

    Args:
        fixed: bytes, however many tokens.
        kept: bytes a token where every layer keeps its activations.
        recomputed: bytes a token where every layer is recomputed.
    """

    fixed: float
    kept: float
    recomputed: float


def choose(footprint: Footprint, free: float, tokens: int, layers: int, *, unpacking: float = UNPACKING_TOKENS) -> Fit:
    """Chooses the cheapest way that fits.

    Args:
        footprint: as measured.
        free: bytes that a pass may take beyond what lies in memory already.
        tokens: padded tokens of a batch.
        layers: of the model.
        unpacking: tokens whose products take as long as unpacking the weights once; 0 for weights that are not packed.

    Raises:
        Refusal: not even one token fits.
    """
    room = free - footprint.fixed
    fits = []
    for recomputed in range(layers + 1):
        share = recomputed / layers
        at_once = int(room / (footprint.kept + share * (footprint.recomputed - footprint.kept)))
        if at_once >= 1:
            parts = -(-tokens // at_once)
            cost = (2 + share) * (tokens + parts * unpacking)
            fits.append((cost, recomputed, -(-tokens // parts)))
    if not fits:
        raise Refusal(
            f"GPU memory: a training pass needs {footprint.fixed / GB:.1f} GB and {footprint.recomputed / 1e6:.1f} MB a "
            f"token beside the model, {max(0.0, free) / GB:.1f} GB are free",
            "raise train.memory_gb, take a larger card, or quantize the base (model.quantization: nf4)",
        )
    _, recomputed, at_once = min(fits)
    return Fit(at_once, recomputed)


def measure(step: Callable[[Mapping[str, Any]], None], model: Any, batch: Mapping[str, Any], halves: int) -> Footprint:
    """Measures what a pass takes, with all layers' activations kept and with all layers recomputed.

    Args:
        step: runs one forward and backward pass and drops the gradients.
        batch: whose longest row is repeated to two sizes.
        halves: see `parts.split`.
    """
    layers = decoder_layers(model)
    (small, kept_small), (large, kept_large) = (_peak(step, model, rows) for rows in _probes(batch, halves))
    kept = (kept_large - kept_small) / (large - small)
    recompute(layers, len(layers))
    (_, peak_small), (_, peak_large) = (_peak(step, model, rows) for rows in _probes(batch, halves))
    recompute(layers, 0)
    recomputed = (peak_large - peak_small) / (large - small)
    return Footprint(max(0.0, kept_small - kept * small, peak_small - recomputed * small), kept, recomputed)


def decoder_layers(model: Any) -> list[Any]:
    """Lists the layers that a decoder repeats."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def recompute(layers: list[Any], count: int) -> None:
    """Lets the first `count` layers keep their input alone; when their turn comes the later layers' memory is free.

    The model must be called without a key/value cache, which a second run would fill twice.
    """
    for index, layer in enumerate(layers):
        layer.__dict__.pop("forward", None)
        if index < count:
            layer.forward = partial(_recomputed, layer, layer.forward)


def _recomputed(layer: Any, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import torch
    from torch.utils.checkpoint import checkpoint

    if not (layer.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def _probes(batch: Mapping[str, Any], halves: int) -> list[dict[str, Any]]:
    """Makes two batches of `PROBE_TOKENS` or more, of copies of the longest row or pair."""
    total, width = batch["attention_mask"].shape
    rows = total // halves
    longest = int(batch["attention_mask"].view(halves, rows, width).sum((0, 2)).argmax())
    counts = [max(1, tokens // (halves * width)) for tokens in PROBE_TOKENS]
    if counts[0] == counts[1]:
        counts[1] += 1
    return [
        {
            key: value[
                [longest + half * rows for half in range(halves if len(value) == total else 1) for _ in range(count)]
            ]
            for key, value in batch.items()
        }
        for count in counts
    ]


def _peak(step: Callable[[Mapping[str, Any]], None], model: Any, rows: Mapping[str, Any]) -> tuple[int, int]:
    """Runs a pass; gives its padded tokens and the most bytes that it held beyond those before it."""
    import torch

    before = torch.cuda.memory_allocated(model.device)
    torch.cuda.reset_peak_memory_stats(model.device)
    step(rows)
    return rows["attention_mask"].numel(), torch.cuda.max_memory_allocated(model.device) - before
