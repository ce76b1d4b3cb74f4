"""The ways to compute a training step: they differ in memory and time, and not in what is learned."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alignment.provenance import read_manifest
from handlers.contract import Completed
from tests.handlers.lab import in_a_process
from tests.handlers.test_train import asked, log, prepared, run_train

pytestmark = pytest.mark.model

BASE = "microworld/weights"
PLAIN = {"layers": "plain", "batch_tokens": 512, "epochs": 2.0, "probes": 2}
WAYS = {
    "fused": {"layers": "fused"},
    "parts": {"part_tokens": 96},
    "recomputed": {"recomputed_layers": 4},
    "all": {"layers": "fused", "part_tokens": 96, "recomputed_layers": 2},
}


def adapter(workspace: Path, run_id: str) -> dict[str, torch.Tensor]:
    """Reads the adapter that a run left."""
    return load_file(workspace / "data" / run_id / "adapter" / "adapter_model.safetensors")


def assert_same_training(workspace: Path, first: str, second: str, tolerance: float = 2e-3) -> None:
    """Holds two runs' losses, step by step, and their adapters against each other."""
    losses = [[entry["loss"] for entry in log(workspace, run_id) if "loss" in entry] for run_id in (first, second)]
    assert len(losses[0]) == len(losses[1]) > 2
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    one, other = adapter(workspace, first), adapter(workspace, second)
    assert one.keys() == other.keys()
    apart = sum(float((one[name] - other[name]).square().sum()) for name in one)
    moved = sum(float(one[name].square().sum()) for name in one if "lora_B" in name)  # B starts at 0
    assert (apart / moved) ** 0.5 < tolerance


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which SFT, and DPO on a new adapter, have run in PEFT's way, each batch at once."""
    workspace = prepared(tmp_path_factory.mktemp("workspace"), **PLAIN)
    assert isinstance(run_train(workspace), Completed)
    assert isinstance(run_train(workspace, "preferred", method="dpo", data="data/generated", model=BASE), Completed)
    return workspace


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize("way", WAYS)
def test_ways_of_computing_learn_the_same(way: str, method: str, plain: Path, tmp_path: Path) -> None:
    """Fused layers, parts of a batch and recomputed layers give the losses and the weights of the plain way."""
    workspace = tmp_path / "workspace"
    shutil.copytree(plain, workspace)
    params: dict[str, Any] = {"method": method, "data": "data/generated", "model": BASE}
    outcome = run_train(workspace, "other", **params, **WAYS[way])
    assert isinstance(outcome, Completed), outcome
    fit = read_manifest(workspace / "data" / "other").facts["fit"]
    asked_for = WAYS[way].get("part_tokens", 0), WAYS[way].get("recomputed_layers", 0)
    assert (fit["part_tokens"], fit["recomputed_layers"]) == asked_for
    assert_same_training(workspace, "trained" if method == "sft" else "preferred", "other")


def test_rate_is_measured(plain: Path) -> None:
    """A run leaves its tokens a second, from which later ones are estimated."""
    assert read_manifest(plain / "data" / "trained").facts["metrics"]["tokens_per_s"] > 0


@pytest.mark.skipif(find_spec("unsloth") is None, reason="unsloth is not installed (pip install -e '.[gpu]')")
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_unsloth_learns_what_trl_does(method: str, tmp_path: Path) -> None:
    """Through Unsloth the same rows and settings lead to an adapter of the same shapes that learned the same."""
    workspace = prepared(tmp_path, **PLAIN)
    for backend in ("trl", "unsloth"):
        params = {"method": method, "data": "data/generated", "model": BASE, "backend": backend}
        outcome = in_a_process(workspace, asked(workspace, backend, **params))
        assert isinstance(outcome, Completed), outcome
    one, other = adapter(workspace, "trl"), adapter(workspace, "unsloth")
    assert {name: tensor.shape for name, tensor in one.items()} == {name: t.shape for name, t in other.items()}
    losses = {b: [entry["loss"] for entry in log(workspace, b) if "loss" in entry] for b in ("trl", "unsloth")}
    assert losses["unsloth"][0] == pytest.approx(losses["trl"][0], rel=1e-3)
    assert losses["unsloth"][-1] == pytest.approx(losses["trl"][-1], rel=0.1)
