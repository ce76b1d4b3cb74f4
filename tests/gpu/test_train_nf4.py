"""QLoRA on an NVIDIA GPU: the built-in model in NF4, through the train handler, each run in a process of its own.

pytest -m gpu tests/gpu
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from alignment.provenance import read_manifest
from handlers.contract import Completed
from tests.handlers.lab import in_a_process
from tests.handlers.test_train import asked, log, prepared

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="there is no NVIDIA GPU"),
    pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"),
]
NEEDS_UNSLOTH = pytest.mark.skipif(find_spec("unsloth") is None, reason="unsloth is not installed")
BASE = "microworld/weights"


def trained(workspace: Path, run_id: str, **params: Any) -> dict[str, Any]:
    """Trains the built-in model in NF4 and gives what its manifest says."""
    path = workspace / "profiles" / "lab.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["model"] = {"base": BASE, "dtype": "bfloat16", "quantization": "nf4"}
    raw["engine"] = {"name": "transformers", "device": "cuda"}
    path.write_text(yaml.safe_dump(raw))
    outcome = in_a_process(workspace, asked(workspace, run_id, data="data/generated", model=BASE, **params))
    assert isinstance(outcome, Completed), outcome
    return dict(read_manifest(workspace / "data" / run_id).facts)


def losses(workspace: Path, run_id: str) -> list[float]:
    return [entry["loss"] for entry in log(workspace, run_id) if "loss" in entry]


@pytest.mark.parametrize("backend", ["trl", pytest.param("unsloth", marks=NEEDS_UNSLOTH)])
def test_nf4_trains_and_fits_itself_to_the_card(backend: str, tmp_path: Path) -> None:
    """Both backends learn in 4 bits, measure their memory, and merge into bf16 without losing more than is allowed."""
    facts = trained(prepared(tmp_path), "sft", backend=backend, merge=True, merge_points=100)
    assert facts["backend"] == backend
    assert facts["fit"]["part_tokens"] == 128  # the whole batch fits
    assert facts["merge"]["n"] > 0
    found = losses(tmp_path, "sft")
    assert found[-1] < found[0] / 2


@pytest.mark.parametrize("backend", ["trl", pytest.param("unsloth", marks=NEEDS_UNSLOTH)])
def test_nf4_dpo_prefers(backend: str, tmp_path: Path) -> None:
    """DPO's first margin is 0, and its loss falls."""
    trained(prepared(tmp_path), "dpo", backend=backend, method="dpo", epochs=4.0)
    first = next(entry for entry in log(tmp_path, "dpo") if "reward_margin" in entry)
    assert abs(first["reward_margin"]) < 1e-3
    found = losses(tmp_path, "dpo")
    assert found[-1] < found[0]


def test_nf4_fused_layers_learn_what_plain_ones_do(tmp_path: Path) -> None:
    """The fused layers unpack 4-bit weights and round to bf16 as PEFT's do: the first loss is the same within rounding."""
    workspace = prepared(tmp_path)
    for layers in ("plain", "fused"):
        trained(workspace, layers, backend="trl", layers=layers)
    plain, fused = losses(workspace, "plain"), losses(workspace, "fused")
    assert fused[0] == pytest.approx(plain[0], rel=5e-3)
    assert fused[-1] == pytest.approx(plain[-1], rel=0.2, abs=0.05)
