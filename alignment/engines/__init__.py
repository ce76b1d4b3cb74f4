"""Engines compute completions and next-token log-probabilities; `open_engine` picks one by the profile."""

from __future__ import annotations

from alignment.checkpoint import Checkpoint
from alignment.engines.interface import Completion, Engine, Sampling
from alignment.settings import EngineSettings

__all__ = ["Completion", "Engine", "Sampling", "open_engine"]


def open_engine(settings: EngineSettings, checkpoint: Checkpoint) -> Engine:
    """Loads a checkpoint into the engine that the profile names."""
    match settings.name:
        case "transformers" | "auto":
            from alignment.engines.padded import PaddedEngine

            return PaddedEngine.load(settings, checkpoint)
        case "openai":
            from alignment.engines.openai import OpenAIEngine

            return OpenAIEngine(settings, checkpoint)
        case _:
            raise ValueError(f"engine.name: {settings.name!r} is not one of auto, transformers, openai")
