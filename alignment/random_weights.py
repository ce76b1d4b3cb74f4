"""Random weights in a model's shape, by which speed and memory are measured where the real ones cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_DRAWN = 1_000_003  # numbers that are drawn and repeated: no row of a matrix is like another, and seconds are saved


def load_random(folder: Path, *, dtype: Any, **how: Any) -> Any:
    """Loads a model by its config.json alone, on the way that `from_pretrained` takes with a folder's weights.

    They have the standard deviation 0.02; norms are ones, biases zeros. Tensors of one shape are one and the same until
    they are loaded, so that 65 GB of weights take the main memory of a layer.

    Args:
        dtype: torch's number format.
        how: what else `from_pretrained` is told, such as the quantization.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        shape_of = AutoModelForCausalLM.from_config(config)
    drawn = torch.empty(_DRAWN, dtype=dtype).normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    made: dict[tuple[Any, ...], Any] = {}
    state = {}
    for name, tensor in shape_of.state_dict().items():
        kind = "norm" if "norm" in name else name.rpartition(".")[2]
        key = kind, tensor.shape
        if key not in made:
            if tensor.dim() == 1:
                made[key] = torch.full(tensor.shape, float(kind == "norm"), dtype=dtype)
            else:
                made[key] = drawn.repeat(-(-tensor.numel() // _DRAWN))[: tensor.numel()].view(tensor.shape)
        state[name] = made[key]
    return type(shape_of).from_pretrained(None, config=config, state_dict=state, dtype=dtype, **how)
