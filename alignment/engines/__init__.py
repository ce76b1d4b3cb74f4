"""Engines compute completions and next-token log-probabilities; `open_engine` picks one by the profile."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from alignment.checkpoint import Checkpoint, load_tokenizer
from alignment.engines.interface import Completion, Engine, Sampling
from alignment.engines.text import TextEngine
from alignment.refusal import Refusal
from alignment.resources import has_gpu
from alignment.settings import EngineSettings

__all__ = ["Completion", "Engine", "Sampling", "choose_engine", "open_engine", "uses_gpu"]


def choose_engine(settings: EngineSettings) -> tuple[str, str]:
    """Picks the engine, and says why. It looks for the driver's tool and imports nothing.

    Raises:
        Refusal: vLLM was asked for and is not installed.
    """
    installed, gpu = find_spec("vllm") is not None, has_gpu()
    if settings.name == "vllm" and not installed:
        raise Refusal(
            "engine.name: vllm is not installed",
            "pip install -e '.[vllm]' on a machine with an NVIDIA GPU, or set name: auto in the profile",
        )
    if settings.name != "auto":
        return settings.name, "the profile names it"
    if settings.device == "cpu":
        return "transformers", "the profile's device is the CPU"
    if installed and gpu:
        return "vllm", "it is installed and there is an NVIDIA GPU"
    return "transformers", "there is no NVIDIA GPU" if installed else "vllm is not installed"


def uses_gpu(settings: EngineSettings) -> bool:
    """Tells whether a model that this process loads goes onto an NVIDIA GPU."""
    return settings.device != "cpu" and has_gpu()


def open_engine(settings: EngineSettings, checkpoint: Checkpoint, workspace: Path) -> Engine:
    """Opens a checkpoint in the engine that the profile names.

    Args:
        workspace: in whose state/ the model server is found, where the engine is one that has a server.
    """
    name, why = choose_engine(settings)
    print(f"engine {name}: {why}", flush=True)
    if name == "openai":
        from alignment.engines.openai import OpenAIEngine

        return OpenAIEngine(settings, checkpoint)
    facts = {"engine": name, "why": why}
    if name == "vllm" or settings.warm_s:
        from alignment.engines.warm import lease_model

        return lease_model(name, settings, checkpoint, workspace, facts)
    from alignment.engines.padded import PaddedModel
    from alignment.engines.warm import take_device

    device = take_device(workspace, "a task's own model") if uses_gpu(settings) else None
    return TextEngine(load_tokenizer(checkpoint.base), PaddedModel.load(settings, checkpoint), facts, device)
