"""The sections of a profile: every setting with its default, bounds and meaning.

Where a number comes from a paper the name stands beside it; "proposal" marks our own, to be tuned on pilots.
"""

from __future__ import annotations

from dataclasses import dataclass

from alignment.strict import setting


@dataclass(frozen=True, slots=True)
class CurriculumSettings:
    """What is taught."""

    world: str = setting("micro", "the folder under curricula/ that holds the stages")
    constitution: str = setting("constitution.yaml", "the principles")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The base model."""

    base: str = setting("microworld/weights", "the base model's folder; the workspace's own comes first")
    dtype: str = setting(
        "float32", "the number format of the loaded weights", choices=("float32", "bfloat16", "float16")
    )
    quantization: str = setting("none", "nf4 loads the base in 4 bits through bitsandbytes", choices=("none", "nf4"))


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How completions are computed."""

    name: str = setting("auto", "the engine; auto picks by hardware", choices=("auto", "transformers"))
    device: str = setting("auto", "where the model runs", choices=("auto", "cpu", "cuda"))
    batch_tokens: int = setting(16_384, "prompt and completion tokens of one padded batch", minimum=64)
    batch_rows: int = setting(128, "rows of one padded batch", minimum=1)
    threads: int = setting(0, "CPU threads; 0 leaves it to torch, which honours OMP_NUM_THREADS", minimum=0)


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """Whether the untrained model lacks the skill."""

    items: int = setting(0, "evaluation items, spread evenly over the types; 0 takes all", minimum=0)
    arms: tuple[str, ...] = setting(
        ("raw", "cue", "few_shot"), "the untrained arms; raw runs twice for the noise floor"
    )
    counted_arms: tuple[str, ...] = setting(
        ("raw", "cue", "few_shot", "previous"), "the arms whose best accuracy decides whether there is a gap"
    )
    few_shot: int = setting(
        4, "exemplars of the few-shot arm (URIAL, arXiv 2312.01552, takes 3)", minimum=1, maximum=16
    )
    saturation: float = setting(
        0.95, "best counted accuracy from which there is nothing to teach", minimum=0, maximum=1
    )
    confidence: float = setting(0.95, "confidence of the Wilson intervals", minimum=0.5, maximum=0.999)
    chunk_items: int = setting(64, "items answered between two looks at stop requests", minimum=1)


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """How a stage's data is made."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a model is trained."""


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """How a trained model is judged."""
