"""The transformers engine on a real card, where it decodes by a recorded step, held against itself on the CPU."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from alignment.checkpoint import Checkpoint, load_model, load_tokenizer
from alignment.engines import Sampling
from alignment.engines.padded import PaddedModel
from alignment.locations import INSTALLATION
from alignment.settings import EngineSettings
from tests.alignment.test_engine import PROMPTS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="there is no NVIDIA GPU (no nvidia-smi on the PATH)"),
]
BASE = INSTALLATION / "microworld" / "weights"
SAMPLING = Sampling(24, temperature=1.0, top_p=0.95, stop=("\n",), seed=7)


def loaded(device: str, dtype: str, quantization: str, records: bool) -> PaddedModel:
    """The built-in model in the engine."""
    model = load_model(Checkpoint(BASE, (), dtype, quantization), device)
    return PaddedModel(model, load_tokenizer(BASE), EngineSettings(batch_rows=4), records)


def answers(engine: PaddedModel, sampling: Sampling) -> list[Any]:
    """What the engine gives for the prompts."""
    tokenizer = load_tokenizer(BASE)
    return engine.complete([tokenizer(prompt)["input_ids"] for prompt in PROMPTS], sampling, range(len(PROMPTS)))


@pytest.mark.parametrize("sampling", [Sampling(24), SAMPLING])
def test_a_recorded_step_draws_what_the_cpu_draws(sampling: Sampling) -> None:
    """In float32 the same tokens follow, batch after batch, greedily and by the same seeds."""
    cpu, gpu = (loaded(device, "float32", "none", device == "cuda") for device in ("cpu", "cuda"))
    expected = answers(cpu, sampling)
    assert answers(gpu, sampling) == expected
    assert answers(gpu, sampling) == expected


def test_a_recorded_step_unpacks_4_bit_weights() -> None:
    """In NF4 it gives what the same kernels give one by one, up to a near tie in 16 bits."""
    recorded, plain = (answers(loaded("cuda", "bfloat16", "nf4", records), Sampling(24)) for records in (True, False))
    different = [pair for pair in zip(recorded, plain, strict=True) if pair[0] != pair[1]]
    assert len(different) <= 1, different
