"""Unsloth's way to load a model for training: 4-bit NF4 on one NVIDIA GPU, with its own kernels.

Unsloth patches transformers, PEFT and TRL as it is imported, so it comes first in the process and only where the
profile asks for it.
"""

from __future__ import annotations

from typing import Any

from alignment.checkpoint import Checkpoint
from alignment.settings import TrainSettings

# PEFT's "all-linear" by the names that Unsloth patches.
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def load(checkpoint: Checkpoint, settings: TrainSettings, seed: int) -> tuple[Any, Any]:
    """Loads a base with a new adapter, or with its last adapter to be trained on."""
    from unsloth import FastLanguageModel  # isort: skip

    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(checkpoint.adapters[-1] if checkpoint.adapters else checkpoint.base),
        max_seq_length=settings.max_length,
        load_in_4bit=checkpoint.quantization == "nf4",
    )
    if not checkpoint.adapters:
        model = FastLanguageModel.get_peft_model(
            model,
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            target_modules=LINEAR,
            use_gradient_checkpointing="unsloth" if settings.gradient_checkpointing else False,
            random_state=seed,
        )
    return model, tokenizer
