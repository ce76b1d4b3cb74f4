"""Who loads a model for training: transformers and PEFT, or Unsloth on an NVIDIA GPU.

Both leave a model that the recipe trains: a base that gets a new adapter, or a PEFT model whose last adapter is
trained on. Training an adapter further keeps every model at one base and one adapter.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from alignment.checkpoint import Checkpoint, load_model, load_tokenizer, ready_process, set_environment
from alignment.refusal import Refusal
from alignment.resources import has_gpu
from alignment.settings import EngineSettings, TrainSettings
from alignment.training.methods import METHODS


def choose_backend(settings: TrainSettings) -> tuple[str, str]:
    """Picks the backend, and says why. It imports nothing: Unsloth must come before torch's other users.

    Raises:
        Refusal: Unsloth was asked for and is not installed.
    """
    if settings.backend == "unsloth" and find_spec("unsloth") is None:
        raise Refusal(
            "train.backend: unsloth is not installed",
            "pip install -e '.[gpu]' on a machine with an NVIDIA GPU, or set backend: trl in the profile",
        )
    if settings.backend != "auto":
        return settings.backend, "the profile names it"
    return "trl", "the fastest that was measured (docs/gpu.md)" if has_gpu() else "there is no NVIDIA GPU"


def import_libraries(backend: str, method: str) -> None:
    """Imports what a training is made of: 14 s on a rented machine, in which another process may still have the device."""
    # One growing segment instead of many of fixed sizes: batches of many widths leave no holes between them.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    set_environment()
    if backend == "unsloth":
        from alignment.training.unsloth_backend import import_unsloth

        import_unsloth()
    METHODS[method].trainer()


def load_for_training(
    backend: str, checkpoint: Checkpoint, settings: TrainSettings, engine: EngineSettings, seed: int
) -> tuple[Any, Any]:
    """Loads a model to be trained, and its tokenizer.

    Returns:
        The base model without an adapter, or a PEFT model with a trainable one; and the tokenizer.
    """
    import_libraries(backend, settings.method)
    if backend == "unsloth":
        from alignment.training.unsloth_backend import load

        return load(checkpoint, settings, seed)
    return _load(checkpoint, engine)


def _load(checkpoint: Checkpoint, engine: EngineSettings) -> tuple[Any, Any]:
    device = ready_process(engine)
    tokenizer = load_tokenizer(checkpoint.base)
    if not checkpoint.adapters:
        return load_model(checkpoint, device), tokenizer
    *below, last = checkpoint.adapters
    if below and checkpoint.quantization != "none":
        raise Refusal(
            f"model: {len(checkpoint.adapters)} adapters on a base in 4 bits, of which only the last can be trained",
            "merge them first (merge: true at the end of the run that makes them)",
        )
    from peft import PeftModel

    model = load_model(replace(checkpoint, adapters=tuple(below)), device)
    return PeftModel.from_pretrained(model, last, is_trainable=True), tokenizer
