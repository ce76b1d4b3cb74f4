"""Training, as the queue asks for it, on the built-in model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from alignment.checkpoint import resolve_checkpoint
from alignment.lineage import trace
from alignment.locations import INSTALLATION
from alignment.provenance import (
    Manifest,
    record,
    replace_file,
    sha256_of_file,
    sha256_of_model,
    verify_outputs,
    write_manifest,
)
from alignment.provenance import read_manifest as manifest_of
from alignment.refusal import Refusal
from alignment.settings import EngineSettings, ModelSettings
from alignment.training import methods
from alignment.training.merge_check import check_merge
from handlers.contract import Blocked, Completed, Outcome, Requeue, Run
from handlers.train import train
from tests.handlers.lab import attempt, events, given, request, rows, stage_one, write_profile, write_rows

pytestmark = pytest.mark.model
OFTEN = 0.5 / 60  # minutes between two checkpoints


def judged(workspace: Path, verdict: str, base: str = "") -> None:
    """Leaves a baseline's manifest and figures with a verdict."""
    folder = workspace / "data" / "baseline"
    folder.mkdir(parents=True, exist_ok=True)
    found = {"verdict": verdict, "reason": "best counted arm raw: 20.0 % of 24 items"}
    replace_file(folder / "figures.json", json.dumps({"verdict": found}))
    write_manifest(
        folder,
        Manifest(
            kind="baseline", run_id="baseline", stage=1, inputs=(), config={}, seed=0,
            outputs=(record(folder / "figures.json", workspace),), base_model="microworld/weights",
            base_model_sha256=base or sha256_of_model(INSTALLATION / "microworld" / "weights"),
            constitution_sha256=None, device="cpu", started="", finished="2026", versions={}, commit="", facts={"verdict": found},
        ),
    )  # fmt: skip


def prepared(workspace: Path, **train_settings: Any) -> Path:
    write_profile(workspace, **train_settings)
    write_rows(workspace, rows(stage_one(workspace)))
    judged(workspace, "gap")
    return workspace


def run_train(workspace: Path, run_id: str = "trained", **params: Any) -> Outcome:
    return train(asked(workspace, run_id, **params), attempt(workspace))


def asked(workspace: Path, run_id: str = "trained", **params: Any) -> Any:
    inputs = [given(workspace, "generate", "generated"), given(workspace, "baseline", "baseline")]
    if params.get("method", "sft") == "dpo":
        inputs.insert(0, given(workspace, "train", "trained"))
    return request(workspace, "train", run_id, inputs, **params)


def weights(workspace: Path, run_id: str = "trained") -> str:
    return sha256_of_file(workspace / "data" / run_id / "adapter" / "adapter_model.safetensors")


def log(workspace: Path, run_id: str = "trained") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace / "data" / run_id / "training.jsonl").open()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    workspace = prepared(tmp_path_factory.mktemp("workspace"))
    return workspace, run_train(workspace)


def blocked(outcome: Outcome) -> Blocked:
    assert isinstance(outcome, Blocked), outcome
    assert outcome.needs
    return outcome


# ---------------------------------------------------------------- what a run leaves


def test_train_leaves_an_adapter_that_learned(finished: tuple[Path, Outcome]) -> None:
    """The loss falls, the answers end, and the folder can be named as a model."""
    workspace, outcome = finished
    assert isinstance(outcome, Completed)
    losses = [entry["loss"] for entry in log(workspace) if "loss" in entry]
    assert losses[-1] < losses[0]
    assert outcome.metrics["eos_rate"] >= 0.9
    assert outcome.metrics["steps"] == len(losses)
    checkpoint = resolve_checkpoint(ModelSettings(), workspace, "data/trained")
    assert checkpoint.adapters == (workspace / "data" / "trained" / "adapter",)


def test_train_manifest_closes_the_folder(finished: tuple[Path, Outcome]) -> None:
    """The manifest names rows, verdict and configuration with origins; no checkpoint is left behind."""
    workspace, _ = finished
    manifest = manifest_of(workspace / "data" / "trained")
    verify_outputs(manifest, workspace)
    assert [entry.path for entry in manifest.inputs] == ["data/generated/sft.jsonl", "data/baseline/figures.json"]
    assert manifest.config["train.batch_tokens"] == {"value": 128, "origin": "profile"}
    assert not (workspace / "data" / "trained" / "checkpoints").exists()
    kinds = {link.kind for link in trace(workspace / "data" / "trained", workspace, verify=False).walk()}
    assert kinds >= {"train", "baseline", "base model"}


def test_train_reports_as_it_goes(finished: tuple[Path, Outcome]) -> None:
    """Progress, measurements with their step, and artifacts reach the log."""
    said = events(finished[0])
    assert {event["type"] for event in said} == {"progressed", "measured", "produced"}
    assert {"loss", "chosen_logp", "eos_rate"} <= {event["name"] for event in said if event["type"] == "measured"}


def test_train_run_again_does_nothing_twice(finished: tuple[Path, Outcome], tmp_path: Path) -> None:
    """A crash between the manifest and the outcome does not cost the training; changed rows do."""
    workspace = tmp_path / "workspace"
    shutil.copytree(finished[0], workspace)
    before = (workspace / "data" / "trained" / "manifest.json").stat().st_mtime_ns
    assert run_train(workspace) == finished[1]
    assert (workspace / "data" / "trained" / "manifest.json").stat().st_mtime_ns == before


def test_train_tells_tokens_and_time_before_it_starts(finished: tuple[Path, Outcome], tmp_path: Path) -> None:
    """The tokens are known at once; the time as soon as a run like it has measured a rate."""
    workspace = tmp_path / "workspace"
    shutil.copytree(finished[0], workspace)
    first, second = ({e["name"]: e["value"] for e in said if e["type"] == "measured"} for said in (
        events(finished[0]), events(workspace) if isinstance(run_train(workspace, "again"), Completed) else []))  # fmt: skip
    assert first["estimate.tokens"] == second["estimate.tokens"] > 0
    assert "estimate.seconds" not in first
    rate = manifest_of(workspace / "data" / "trained").facts["metrics"]["tokens_per_s"]
    assert second["estimate.seconds"] == pytest.approx(second["estimate.tokens"] / rate)


def test_train_dpo_trains_the_adapter_further(finished: tuple[Path, Outcome], tmp_path: Path) -> None:
    """DPO starts from SFT's adapter: its reference is the model itself, and one adapter is left, not two."""
    workspace = tmp_path / "workspace"
    shutil.copytree(finished[0], workspace)
    outcome = run_train(workspace, "preferred", method="dpo")
    assert isinstance(outcome, Completed), outcome
    first = next(entry for entry in log(workspace, "preferred") if "reward_margin" in entry)
    assert abs(first["reward_margin"]) < 1e-3
    assert outcome.metrics["chosen_logp"] > -0.5
    checkpoint = resolve_checkpoint(ModelSettings(), workspace, "data/preferred")
    assert [path.parent.name for path in checkpoint.adapters] == ["preferred"]
    assert weights(workspace, "preferred") != weights(workspace)


@pytest.mark.parametrize("method", ["orpo", "kto", "simpo"])
def test_train_methods_leave_adapters(method: str, tmp_path: Path) -> None:
    """Every method runs through the same recipe, checks and log."""
    outcome = run_train(prepared(tmp_path), method=method, epochs=1.0)
    assert isinstance(outcome, Completed), outcome
    assert outcome.metrics["steps"] == len([entry for entry in log(tmp_path) if "loss" in entry])


def test_train_merge_leaves_a_whole_model(tmp_path: Path) -> None:
    """A merged model is bf16, in safetensors, and becomes the base of what follows."""
    assert isinstance(run_train(prepared(tmp_path), epochs=1.0, merge=True), Completed)
    checkpoint = resolve_checkpoint(ModelSettings(), tmp_path, "data/trained")
    assert (checkpoint.base, checkpoint.adapters) == (tmp_path / "data" / "trained" / "merged", ())
    assert json.loads((checkpoint.base / "config.json").read_text())["dtype"] == "bfloat16"
    merge = manifest_of(tmp_path / "data" / "trained").facts["merge"]
    assert merge["n"] == 300
    assert 100 * (merge["unmerged"] - merge["merged"]) / 300 <= 2


def test_a_merge_that_loses_is_refused(finished: tuple[Path, Outcome]) -> None:
    """A merged model that does worse than the unmerged one, here one that has lost its adapter, is told with figures."""
    trained = resolve_checkpoint(ModelSettings(), finished[0], "data/trained")
    lost = dataclasses.replace(trained, adapters=())
    with pytest.raises(
        Refusal, match=r"merging loses \d+\.\d points on 60 items of stage 1: the unmerged model passes \d+"
    ):
        check_merge(trained, lost, stage_one(finished[0]), EngineSettings(device="cpu"), items=60, most_points=2.0)


# ---------------------------------------------------------------- stops and crashes


def test_train_asked_to_stop_saves_and_goes_on(finished: tuple[Path, Outcome], tmp_path: Path) -> None:
    """A stop request leaves a checkpoint; the next attempt goes on from it, to the same weights and the same log."""

    class StopsSoon(Run):
        def progress(self, done: int, total: int, unit: str, note: str = "") -> None:
            super().progress(done, total, unit, note)
            self._stop.set()

    (prepared(tmp_path) / "attempt").mkdir()
    outcome = train(asked(tmp_path), StopsSoon(tmp_path / "attempt"))
    assert isinstance(outcome, Requeue)
    step = int(outcome.checkpoint.rpartition("-")[2])
    resumed = run_train(tmp_path)
    assert isinstance(resumed, Completed)
    assert resumed.metrics["resumed_from"] == step > 0
    assert weights(tmp_path) == weights(finished[0])
    assert log(tmp_path) == log(finished[0])


def test_train_goes_on_on_another_machine(finished: tuple[Path, Outcome], tmp_path: Path) -> None:
    """A run's own data folder is all that another machine needs to go on from its checkpoint, to the same weights."""
    here, there = tmp_path / "here", tmp_path / "there"
    for workspace in (here, there):
        workspace.mkdir()
    stopped_at_a_checkpoint(here)
    prepared(there)
    shutil.copytree(here / "data" / "trained", there / "data" / "trained")
    shutil.rmtree(here)
    resumed = run_train(there)
    assert isinstance(resumed, Completed)
    assert resumed.metrics["resumed_from"] == 1
    assert weights(there) == weights(finished[0])


def kill_and_finish(workspace: Path, after_s: float) -> Completed:
    """Kills a training process `after_s` after its first checkpoint, then lets it finish."""
    run_dir = workspace / "run"
    run_dir.mkdir(exist_ok=True)
    (run_dir / "request.json").write_text(asked(workspace).to_json())
    child = subprocess.Popen([sys.executable, "-m", "handlers", str(run_dir)], stdout=subprocess.DEVNULL)
    pointer = workspace / "data" / "trained" / "checkpoint.json"
    while not pointer.exists() and not ended(child, 0.01):
        pass
    ended(child, after_s)
    child.kill()
    child.wait()
    outcome = run_train(workspace)
    assert isinstance(outcome, Completed), outcome
    return outcome


def ended(child: subprocess.Popen[bytes], within_s: float) -> bool:
    """Waits for a child's end, but not for long."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(within_s)
    return child.returncode is not None


def test_train_killed_ends_with_the_same_weights(finished: tuple[Path, Outcome], tmp_path: Path) -> None:
    """After kill -9 between two checkpoints the next attempt goes on from the last whole one, to the same weights."""
    outcome = kill_and_finish(prepared(tmp_path, checkpoint_minutes=OFTEN), 0.1)
    assert outcome.metrics["resumed_from"] > 0
    assert weights(tmp_path) == weights(finished[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_train_killed_at_random_ends_with_the_same_weights(
    seed: int, finished: tuple[Path, Outcome], tmp_path: Path
) -> None:
    """Ten kills at random moments, in the middle of a save too."""
    kill_and_finish(prepared(tmp_path, checkpoint_minutes=OFTEN), random.Random(seed).uniform(0, 2))
    assert weights(tmp_path) == weights(finished[0])
    assert log(tmp_path) == log(finished[0])


def stopped_at_a_checkpoint(workspace: Path) -> Path:
    run = attempt(prepared(workspace))
    run._stop.set()
    outcome = train(asked(workspace), run)
    assert isinstance(outcome, Requeue)
    return workspace / outcome.checkpoint


def test_train_refuses_a_missing_checkpoint(tmp_path: Path) -> None:
    """A run that had got somewhere never silently starts anew."""
    shutil.rmtree(stopped_at_a_checkpoint(tmp_path))
    assert "missing from the checkpoint of step 1" in blocked(run_train(tmp_path)).reason


def test_train_refuses_to_resume_what_it_did_not_save(tmp_path: Path) -> None:
    """Weights that do not reproduce the probe of their checkpoint are caught before the first step."""
    stopped_at_a_checkpoint(tmp_path)
    pointer = tmp_path / "data" / "trained" / "checkpoint.json"
    pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "chosen_logp": -3.0}))
    assert "did not resume" in blocked(run_train(tmp_path)).reason


# ---------------------------------------------------------------- what is refused


def leak(workspace: Path) -> None:
    item = stage_one(workspace).items[0]
    write_rows(workspace, [*rows(stage_one(workspace)), {**rows(stage_one(workspace))[0], "id": "x",
                                                         "instruction": f" {item.instruction.upper()}"}])  # fmt: skip


def forget_baseline(workspace: Path) -> None:
    shutil.rmtree(workspace / "data" / "baseline")


def write_control_token(workspace: Path) -> None:
    found = rows(stage_one(workspace))
    write_rows(workspace, [*found[:-1], {**found[-1], "completion": "<|endoftext|>Sure."}])


@pytest.mark.parametrize(
    ("spoil", "params", "reason"),
    [
        (lambda w: write_rows(w, []), {}, "no rows to train on"),
        (lambda w: shutil.rmtree(w / "data" / "generated"), {}, "sft.jsonl: not in data/generated"),
        (lambda w: judged(w, "underpowered"), {}, "shows no gap: underpowered"),
        (lambda w: judged(w, "gap", base="0" * 64), {}, "the baseline baseline measured 000000000000"),
        (forget_baseline, {}, "manifest"),
        (leak, {}, "1 training rows leak frozen evaluation items: row x"),
        (lambda w: write_profile(w, max_length=8), {}, "longer than train.max_length = 8"),
        (
            lambda w: write_profile(w, method_learning_rates={"sft": "1e-3"}),
            {},
            "expected a number above 0, got '1e-3'",
        ),
        (lambda _: None, {"model": "data/nowhere"}, "there is no such folder"),
        pytest.param(
            lambda w: write_profile(w, backend="unsloth"),
            {},
            "unsloth is not installed",
            marks=pytest.mark.skipif(find_spec("unsloth") is not None, reason="unsloth is installed"),
        ),
    ],
)
def test_train_blocks_with_reason_and_remedy(
    spoil: Callable[[Path], None], params: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """What a person can mend is told in one sentence, with what to do."""
    prepared(tmp_path)
    spoil(tmp_path)
    assert reason in blocked(run_train(tmp_path, **params)).reason


def test_train_skips_a_saturated_stage(tmp_path: Path) -> None:
    """Where the untrained model has the skill there is nothing to train: the task is done at once, and says so."""
    prepared(tmp_path)
    judged(tmp_path, "saturated")
    outcome = run_train(tmp_path)
    assert isinstance(outcome, Completed)
    assert outcome.metrics == {"skipped": 1.0}
    assert not (tmp_path / "data" / "trained" / "model.json").exists()


def test_train_needs_a_baseline_of_its_stage(tmp_path: Path) -> None:
    """Without a baseline among the dependencies nothing is trained."""
    prepared(tmp_path)
    alone = request(tmp_path, "train", "trained", [given(tmp_path, "generate", "generated")])
    assert "stage 1 has no baseline" in blocked(train(alone, attempt(tmp_path))).reason


def test_train_refuses_control_tokens_in_rows(tmp_path: Path) -> None:
    """A chat template's tokens never reach the loss."""
    prepared(tmp_path)
    write_control_token(tmp_path)
    assert "control tokens" in blocked(run_train(tmp_path)).reason


def test_train_catches_a_swapped_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that trains on the prompt instead of the answer is caught before step 0, and the row is printed."""
    from trl import SFTConfig, SFTTrainer

    class Swapped(SFTTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, *args: Any, **kwargs: Any) -> Any:
            def swap(row: dict[str, Any]) -> dict[str, Any]:
                labels = zip(row["input_ids"], row["labels"], strict=True)
                return {"labels": [token if label == -100 else -100 for token, label in labels]}

            return super()._prepare_dataset(*args, **kwargs).map(swap)

    broken = dataclasses.replace(methods.METHODS["sft"], trainer=lambda: (Swapped, SFTConfig))
    monkeypatch.setitem(methods.METHODS, "sft", broken)
    reason = blocked(run_train(prepared(tmp_path))).reason
    assert "loss mask: the masked part is not the row's prompt" in reason
    assert "trained on: '" in reason


def test_train_stops_a_degenerating_run(tmp_path: Path) -> None:
    """A learning rate that destroys the model stops the run, with the sign that was seen."""
    outcome = blocked(run_train(prepared(tmp_path, patience=1, probes=9), learning_rate=0.3))
    assert "degenerates" in outcome.reason or "loss is" in outcome.reason
    assert not (tmp_path / "data" / "trained" / "adapter").exists()
