"""The vLLM engine on a real card, with the built-in model, held against the transformers engine on the CPU."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from alignment.checkpoint import Checkpoint
from alignment.engines import Sampling, choose_engine, open_engine
from alignment.engines.warm import FOLDER, take_device
from alignment.locations import INSTALLATION
from alignment.refusal import Refusal
from alignment.resources import free_gpu
from alignment.settings import EngineSettings
from tests.alignment.test_engine import PROMPTS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="there is no NVIDIA GPU (no nvidia-smi on the PATH)"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]
BASE = Checkpoint(INSTALLATION / "microworld" / "weights", (), "bfloat16", "none")
SERVED = EngineSettings(name="auto", device="cuda", memory_gb=16.0, batch_rows=64, warm_s=300.0, batch_invariant=True)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace whose model server is gone at the end."""
    root = tmp_path_factory.mktemp("workspace")
    yield root
    take_device(root, "the end of the tests", alone=True).close()


@pytest.fixture(scope="module")
def served(workspace: Path) -> Iterator[Any]:
    """vLLM with the built-in model."""
    engine = open_engine(SERVED, BASE, workspace)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def local() -> Any:
    """The same weights in float32 on the CPU."""
    checkpoint = Checkpoint(BASE.base, (), "float32", "none")
    return open_engine(EngineSettings(name="transformers", device="cpu"), checkpoint, INSTALLATION)


def test_auto_takes_vllm_and_says_why(served: Any) -> None:
    """What the engine is, and why, is there for the manifest."""
    assert choose_engine(SERVED) == ("vllm", "it is installed and there is an NVIDIA GPU")
    assert served.facts["engine"] == "vllm"
    assert served.facts["batch_invariant"] is True
    assert "vLLM" in served.device


def test_greedy_answers_are_those_of_transformers(served: Any, local: Any) -> None:
    """Whole answers agree, with their ends, counts and prompt hashes; bf16 against float32 may part at one near tie."""
    sampling = Sampling(24, stop=("\n",))
    pairs = list(zip(served.complete(PROMPTS, sampling), local.complete(PROMPTS, sampling), strict=True))
    assert [a.prompt_sha256 for a, _ in pairs] == [b.prompt_sha256 for _, b in pairs]
    different = [(ours, theirs) for ours, theirs in pairs if ours != theirs]
    assert len(different) <= 1, different


def test_samples_do_not_depend_on_the_batch(served: Any) -> None:
    """In batch-invariant mode a prompt's sample follows from its own seeds: alone, reversed, among others."""
    sampling = Sampling(20, temperature=1.0, top_p=0.95, stop=("\n",), seed=7)
    together = served.complete(PROMPTS, sampling)
    assert served.complete(PROMPTS[::-1], sampling)[::-1] == together
    assert [served.complete([prompt], sampling)[0] for prompt in PROMPTS] == together
    texts = {c.text for c in served.complete([PROMPTS[2]] * 8, Sampling(20, 1.5), seeds=range(8))}
    assert len(texts) > 1


@pytest.mark.parametrize("stop", ["\n", " of", "e"])
def test_stop_strings_end_an_answer(served: Any, stop: str) -> None:
    """The text is cut before the stop string, and that counts as a stop."""
    free, stopped = (served.complete(PROMPTS, Sampling(30, stop=s)) for s in ((), (stop,)))
    for whole, cut in zip(free, stopped, strict=True):
        assert cut.text == whole.text.split(stop)[0]
        assert cut.finish_reason == "stop" if stop in whole.text else cut.finish_reason == whole.finish_reason


def test_log_probabilities_are_those_of_transformers(served: Any, local: Any) -> None:
    """Labels are read over the whole vocabulary, within bf16's precision."""
    for ours, theirs in zip(served.logprobs(PROMPTS, [" A", " B"]), local.logprobs(PROMPTS, [" A", " B"]), strict=True):
        assert all(math.isclose(a, b, abs_tol=0.15, rel_tol=0.02) for a, b in zip(ours, theirs, strict=True))


def test_an_adapter_is_served_by_request(served: Any, workspace: Path, tmp_path: Path) -> None:
    """An adapter changes the answers as its merge does, and leaves the base in the same process as it was."""
    adapter = write_adapter(tmp_path / "adapter")
    before = served.complete(PROMPTS, Sampling(16))
    pid = json.loads((workspace / FOLDER / "holder.json").read_text())["pid"]
    adapted = open_engine(SERVED, Checkpoint(BASE.base, (adapter,), "bfloat16", "none"), workspace)
    assert json.loads((workspace / FOLDER / "holder.json").read_text())["pid"] == pid
    merged = open_engine(
        EngineSettings(name="transformers", device="cpu"),
        Checkpoint(BASE.base, (adapter,), "float32", "none"),
        workspace,
    )
    labels = [" A", " B"]
    ours, theirs, base = (e.logprobs(PROMPTS, labels) for e in (adapted, merged, served))
    assert all(math.isclose(a[0], b[0], abs_tol=0.3, rel_tol=0.05) for a, b in zip(ours, theirs, strict=True))
    assert any(abs(a[0] - b[0]) > 0.5 for a, b in zip(ours, base, strict=True))
    assert served.complete(PROMPTS, Sampling(16)) == before
    adapted.close()


def test_a_model_that_slept_answers_as_before(served: Any, workspace: Path, tmp_path: Path) -> None:
    """While a training has the card the server keeps next to nothing of it; awake, base and adapter are what they were."""
    adapter = write_adapter(tmp_path / "adapter")
    adapted = open_engine(SERVED, Checkpoint(BASE.base, (adapter,), "bfloat16", "none"), workspace)
    before = [engine.complete(PROMPTS, Sampling(16)) for engine in (served, adapted)]
    pid = json.loads((workspace / FOLDER / "holder.json").read_text())["pid"]
    adapted.close()
    served.close()  # it can be asked again: a request needs no lease
    free = free_gpu()
    held = take_device(workspace, "a training")
    assert free_gpu() - free > 8e9
    held.close()
    again = open_engine(SERVED, BASE, workspace)
    assert json.loads((workspace / FOLDER / "holder.json").read_text())["pid"] == pid
    adapted = open_engine(SERVED, Checkpoint(BASE.base, (adapter,), "bfloat16", "none"), workspace)
    assert [engine.complete(PROMPTS, Sampling(16)) for engine in (again, adapted)] == before
    again.close()
    adapted.close()


def test_too_little_memory_is_refused_with_the_figures(tmp_path: Path) -> None:
    """Weights that do not fit are refused before they are loaded; the server is one of another workspace."""
    little = EngineSettings(name="vllm", device="cuda", memory_gb=0.001, batch_rows=64, warm_s=1.0)
    with pytest.raises(Refusal, match="GB of weights"):
        open_engine(little, BASE, tmp_path)


def test_stage_one_has_the_same_verdict_as_on_a_cpu(tmp_path: Path) -> None:
    """The task files of `cai plan --stage 1` run with the profile micro-gpu, and the gate is passed."""
    cai = [sys.executable, "-m", "daemon.cli", "-w", str(tmp_path / "lab")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(INSTALLATION), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([*cai[:3], "init", str(tmp_path / "lab")], check=True, env=environment)
    subprocess.run([*cai, "plan", "--stage", "1", "--profile", "micro-gpu"], check=True, env=environment)
    subprocess.run([*cai, "once"], check=True, env=environment)
    figures = [json.loads(path.read_text()) for path in sorted((tmp_path / "lab" / "data").glob("*/figures.json"))]
    verdicts = [one["verdict"]["verdict"] for one in figures]
    assert sorted(verdicts) == ["gap", "passed"]
    made = {m["kind"]: m for m in map(json.loads, (p.read_text() for p in tmp_path.glob("lab/data/*/manifest.json")))}
    assert made["train"]["facts"]["backend"] == "unsloth"
    assert made["train"]["facts"]["metrics"]["tokens_per_s"] > 0
    assert made["generate"]["facts"]["engine"]["engine"] == "vllm"


def write_adapter(folder: Path) -> Path:
    """Writes a LoRA adapter with random weights, large enough to show."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(BASE.base, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "o_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.08)
    adapted.save_pretrained(folder)
    return folder
