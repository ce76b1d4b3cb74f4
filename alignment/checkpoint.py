"""A checkpoint: a base model and the adapters on it, resolved to local folders and loaded for inference.

A run that makes a model leaves `model.json` in its data folder, so that the folder can be named as a task's `model`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alignment.hub import snapshot
from alignment.locations import displayed, locate
from alignment.provenance import replace_file
from alignment.random_weights import load_random
from alignment.refusal import Refusal
from alignment.resources import require_room_to_load
from alignment.settings import EngineSettings, ModelSettings

MODEL = "model.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A base model, the adapters that are applied to it in order, and how it is loaded."""

    base: Path
    adapters: tuple[Path, ...]
    dtype: str  # float32 | bfloat16 | float16
    quantization: str  # none | nf4
    weights: str = "files"  # files | random


def resolve_checkpoint(settings: ModelSettings, workspace: Path, model: str | Path | None = None) -> Checkpoint:
    """Finds a checkpoint's folders.

    Args:
        model: a folder with model.json, an adapter's folder or a whole model's, relative to the workspace; None takes
            the profile's base.

    Raises:
        Refusal: a folder is missing or holds no model.
    """
    loaded = settings.dtype, settings.quantization, settings.weights
    if model is None:
        return Checkpoint(_base(settings, workspace), (), *loaded)
    folder = locate(model, workspace)
    if folder is None:
        raise Refusal(
            f"model: {model}: there is no such folder", "name an adapter's or a model's folder in the workspace"
        )
    if (folder / MODEL).exists():
        return _read(folder / MODEL, workspace)
    if (folder / "adapter_config.json").exists():
        return Checkpoint(_base(settings, workspace), (folder,), *loaded)
    return Checkpoint(_found(model, workspace, "config.json"), (), *loaded)


def write_checkpoint(folder: Path, checkpoint: Checkpoint, workspace: Path) -> Path:
    """Leaves model.json, which makes a run's folder a model."""
    named = {
        **asdict(checkpoint),
        "base": displayed(checkpoint.base, workspace),
        "adapters": [displayed(path, workspace) for path in checkpoint.adapters],
    }
    path = folder / MODEL
    replace_file(path, json.dumps(named, indent=1) + "\n")
    return path


def _read(path: Path, workspace: Path) -> Checkpoint:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        base = _found(raw["base"], workspace, "config.json")
        adapters = tuple(_found(name, workspace, "adapter_config.json") for name in raw["adapters"])
        return Checkpoint(base, adapters, raw["dtype"], raw["quantization"], raw.get("weights", "files"))
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{path}: not a checkpoint: {error!r}", "run the task that makes the model again") from error


def _base(settings: ModelSettings, workspace: Path) -> Path:
    """Finds the profile's base: a folder, or a commit of a model on the hub."""
    return (
        snapshot(settings.base, settings.revision)
        if settings.revision
        else _found(settings.base, workspace, "config.json")
    )


def _found(name: str | Path, workspace: Path, mark: str) -> Path:
    """Finds the folder that holds the file by which a model or an adapter is known."""
    folder = locate(name, workspace)
    if folder is None or not (folder / mark).exists():
        seen = "there is no such folder" if folder is None else f"no {mark} in it"
        raise Refusal(
            f"model: {os.fspath(name)}: {seen}",
            "put the model there (the built-in one: python -m microworld.pretrain), or mend model.base in the profile",
        )
    return folder


def load_tokenizer(folder: Path) -> Any:
    """Loads a model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def set_environment() -> None:
    """Sets what libraries read as they are imported, where nobody has set it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow each other on shared cores
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def ready_process(settings: EngineSettings) -> str:
    """Readies this process for a model: silence, and torch's threads. Gives the device that the settings mean."""
    set_environment()
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


def device_in_words(model: Any) -> str:
    """Names what a model is on; on a CPU the number of threads is a part of what makes a run repeatable."""
    import torch

    if model.device.type == "cuda":
        return str(torch.cuda.get_device_name(model.device))
    return f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads"


def load_model(checkpoint: Checkpoint, device: str) -> Any:
    """Loads a checkpoint for inference, with its adapters merged, or laid over 4-bit weights, which are never merged.

    Raises:
        Refusal: 4 bits were asked for without an NVIDIA GPU, or there is no room for the weights.
    """
    import torch
    from transformers import AutoModelForCausalLM

    kwargs: dict[str, Any] = {"dtype": getattr(torch, checkpoint.dtype)}
    if checkpoint.quantization == "nf4":
        if device != "cuda":
            raise Refusal(
                f"model.quantization: nf4 needs an NVIDIA GPU, but engine.device is {device}",
                "set quantization: none in the profile, or run on a GPU",
            )
        from transformers import BitsAndBytesConfig

        kwargs["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=kwargs["dtype"],
        )
        kwargs["device_map"] = {"": 0}
    # cuDNN's attention makes a plan for each new shape of a batch: 0.1 s for both passes, a tenth of what they take.
    torch.backends.cuda.enable_cudnn_sdp(False)
    require_room_to_load(checkpoint.base, checkpoint.dtype, checkpoint.quantization, device)
    load = load_random if checkpoint.weights == "random" else AutoModelForCausalLM.from_pretrained
    model = load(checkpoint.base, **kwargs)
    model = _with_adapters(model, checkpoint.adapters, merge=checkpoint.quantization == "none")
    if checkpoint.quantization == "none":
        model = model.to(device)
    return model.eval().requires_grad_(False)


def _with_adapters(model: Any, adapters: Sequence[Path], *, merge: bool) -> Any:
    """Applies adapters in order. Low-rank updates add up, so that several can be active at once without a merge."""
    if not adapters:
        return model
    from peft import PeftModel

    if merge:
        for path in adapters:
            model = PeftModel.from_pretrained(model, path).merge_and_unload()
        return model
    names = [f"adapter{index}" for index in range(len(adapters))]
    model = PeftModel.from_pretrained(model, adapters[0], adapter_name=names[0])
    for name, path in zip(names[1:], adapters[1:], strict=True):
        model.load_adapter(path, adapter_name=name)
    model.base_model.set_adapter(names)
    return model
