"""Unsloth's way to load a model for training: 4-bit NF4 on one NVIDIA GPU, with its own kernels.

Unsloth patches transformers, PEFT and TRL as it is imported, so it comes first in the process and only where the
profile asks for it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from alignment.checkpoint import Checkpoint, load_tokenizer
from alignment.refusal import Refusal
from alignment.resources import has_gpu, require_room_to_load
from alignment.settings import TrainSettings

# PEFT's "all-linear" by the names that Unsloth patches.
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def import_unsloth() -> Any:
    """Imports Unsloth, told how to behave; gives its way to load models."""
    # Unsloth writes the trainers that it generates into the working directory unless it is told where.
    if "UNSLOTH_COMPILE_LOCATION" not in os.environ:
        os.environ["UNSLOTH_COMPILE_LOCATION"] = os.path.join(tempfile.mkdtemp(prefix="cai-"), "unsloth")
    # Rows without padding are one long row, in which no mask can be checked; ours stand by length and have little.
    os.environ.setdefault("UNSLOTH_DISABLE_AUTO_PADDING_FREE", "1")
    # Compiling whole layers takes a minute at each start, and again for other widths of batches.
    os.environ.setdefault("UNSLOTH_BLOCK_COMPILE", "0")
    from unsloth import FastLanguageModel  # isort: skip

    return FastLanguageModel


def load(checkpoint: Checkpoint, settings: TrainSettings, seed: int) -> tuple[Any, Any]:
    """Loads a base with a new adapter, or with its last adapter to be trained on."""
    model, tokenizer = load_base(checkpoint, settings)
    return (model if checkpoint.adapters else with_adapter(model, settings, seed)), tokenizer


def load_base(checkpoint: Checkpoint, settings: TrainSettings) -> tuple[Any, Any]:
    """Loads a base, or a PEFT model by its last adapter's folder, which names its base."""
    if checkpoint.weights == "random":
        raise Refusal(
            "model.weights: random, and Unsloth loads files alone", "set backend: trl in the profile's train section"
        )
    require_room_to_load(checkpoint.base, checkpoint.dtype, checkpoint.quantization, "cuda" if has_gpu() else "cpu")
    unsloth_models = import_unsloth()
    import torch

    with tempfile.TemporaryDirectory(prefix="cai-") as folder:
        model, _ = unsloth_models.from_pretrained(
            model_name=str(checkpoint.adapters[-1] if checkpoint.adapters else checkpoint.base),
            tokenizer_name=_padded_otherwise(checkpoint.base, folder),
            max_seq_length=settings.max_length,
            dtype=getattr(torch, checkpoint.dtype),
            load_in_4bit=checkpoint.quantization == "nf4",
            use_gradient_checkpointing=False,  # which layers are recomputed is the trainer's choice
        )
    return model, load_tokenizer(checkpoint.base)


def _padded_otherwise(base: Path, folder: str) -> str:
    """Writes a tokenizer that pads with another token than it ends with.

    Unsloth refuses one where both are the same, since losses that mask by the padding token would never learn to end.
    Ours mask by place and are checked row by row, so the base's own tokenizer is what a run goes on with.
    """
    tokenizer = load_tokenizer(base)
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(int(tokenizer.eos_token_id == 0))
    tokenizer.save_pretrained(folder)
    return folder


def with_adapter(model: Any, settings: TrainSettings, seed: int) -> Any:
    """Puts a new adapter on a base."""
    return import_unsloth().get_peft_model(
        model,
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules=LINEAR,
        use_gradient_checkpointing=False,
        random_state=seed,
    )
