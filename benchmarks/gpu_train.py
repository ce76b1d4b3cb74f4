"""Measures SFT and DPO through the project's own training code, on random weights in the shape of a 32B model in NF4.

Speed and memory do not depend on the weights' values. One decoder layer is written, loaded by the backend that is
measured, and repeated, so that every layer has its own packed weights and its own adapter.

    python -m benchmarks.gpu_train            # a table
    python -m benchmarks.gpu_train --shape tiny --backends trl    # the same path on a CPU, in seconds
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alignment.checkpoint import Checkpoint
from alignment.locations import INSTALLATION
from alignment.settings import EngineSettings, TrainSettings

GB = 1e9
SHAPES: dict[str, dict[str, Any]] = {
    # Qwen2.5-32B's config.json.
    "32b": {
        "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64, "num_attention_heads": 40,
        "num_key_value_heads": 8, "vocab_size": 152064, "tie_word_embeddings": False, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
    },
    "tiny": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 2048, "tie_word_embeddings": False, "max_position_embeddings": 512,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: `steps` batches of rows of `width` tokens."""

    what: str
    settings: TrainSettings
    width: int = 128
    steps: int = 5
    to_meet: float | None = None  # tokens a second


def cases(limit_gb: float) -> list[Case]:
    """Lists what is measured, within a card's memory."""
    settings = TrainSettings(
        batch_tokens=128 * 128, lora_rank=32, lora_alpha=64, memory_gb=limit_gb, epochs=1.0, probes=2, probe_rows=2
    )
    return [
        Case("QLoRA SFT, 128 × 128 tokens", settings, to_meet=2700),
        Case("QLoRA DPO, 64 pairs × 2 × 128 tokens", replace(settings, method="dpo"), to_meet=2500),
        Case("QLoRA SFT, rows of 72 tokens, 2 × 4", replace(settings, batch_tokens=2 * 72, accumulation=4), 72, 4),
    ]


def rows(shape: str = "32b", limit_gb: float = 80.0, backends: Sequence[str] = ("trl",)) -> list[dict[str, Any]]:
    """Runs every case with every backend, each backend in a process of its own.

    Returns:
        For each case {what, value (tokens/s), unit, peak_gb, seconds (of the whole case), to_meet}.

    Raises:
        RuntimeError: a backend's process failed; the end of what it said is in the message.
    """
    found: list[dict[str, Any]] = []
    for backend in backends:
        with tempfile.TemporaryDirectory(prefix="cai-") as folder:
            out = Path(folder) / "rows.json"
            command = [sys.executable, "-m", "benchmarks.gpu_train", "--one", backend, "--shape", shape]
            command += ["--limit-gb", str(limit_gb), "--out", str(out)]
            done = subprocess.run(command, cwd=INSTALLATION, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr[-2000:]}")
            found += json.loads(out.read_text())
    return found


def write_one_layer(folder: Path, shape: str) -> Path:
    """Writes a model of one decoder layer with random weights, and a tokenizer whose ids it knows."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    settings = {**SHAPES[shape], "num_hidden_layers": 1}
    config = Qwen2Config(**settings, eos_token_id=0, pad_token_id=0, use_cache=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(INSTALLATION / "microworld" / "weights" / name, folder / name)
    return folder


def repeat_layer(model: Any, layer: Any, count: int) -> Any:
    """Gives a model `count` copies of a decoder layer."""
    import torch

    from alignment.resources import release_memory

    model.model.layers = None  # the earlier copies leave memory before the next ones come
    model.__dict__.pop("peft_config", None)
    release_memory()
    copies = [copy.deepcopy(layer) for _ in range(count)]
    for index, each in enumerate(copies):
        each.self_attn.layer_idx = index
    model.model.layers = torch.nn.ModuleList(copies)
    model.config.num_hidden_layers = count
    model.config.layer_types = ["full_attention"] * count
    return model


def rows_of_width(case: Case, tokenizer: Any) -> list[dict[str, Any]]:
    """Makes training rows of exactly `width` tokens with their end, half prompt and half answer."""
    word, half = _whole_word(tokenizer), case.width // 2
    per_step = case.settings.batch_tokens * case.settings.accumulation // case.width
    pairs = case.settings.method == "dpo"
    answer = word * (case.width - half - 1)
    return [
        {"id": str(i), "stage": 1, "instruction": "-", "prompt": word * half}
        | ({"chosen": answer, "rejected": answer[: -len(word)] + other} if pairs else {"completion": answer})
        for i in range(case.steps * (per_step // 2 if pairs else per_step))
        for other in [_whole_word(tokenizer, 1)]
    ]


def _whole_word(tokenizer: Any, index: int = 0) -> str:
    """Finds a text that is one token however often it is repeated."""
    words = [
        text
        for i in range(len(tokenizer))
        if (text := tokenizer.decode([i])).startswith(" ") and text.strip().isalpha()
        and tokenizer(text * 3)["input_ids"] == [i] * 3
    ]  # fmt: skip
    return words[index]


class Silent:
    """A run's voice that nobody hears."""

    def should_stop(self) -> bool:
        return False

    def progress(self, *_: Any) -> None: ...
    def measure(self, *_: Any, **__: Any) -> None: ...
    def checkpoint(self, *_: Any) -> None: ...


def measure(backend: str, shape: str, measured: Sequence[Case]) -> list[dict[str, Any]]:
    """Runs cases in this process with one backend."""
    if backend == "unsloth":
        from alignment.training import unsloth_backend
    import torch

    from alignment.training.backends import load_for_training
    from alignment.training.recipe import train_adapter

    on_gpu = torch.cuda.is_available()
    found = []
    with tempfile.TemporaryDirectory(prefix="cai-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as temporary:
        folder = Path(temporary)
        checkpoint = Checkpoint(
            write_one_layer(folder / "model", shape),
            (),
            "bfloat16" if on_gpu else "float32",
            "nf4" if on_gpu else "none",
        )
        if backend == "unsloth":
            model, tokenizer = unsloth_backend.load_base(checkpoint, measured[0].settings)
        else:
            model, tokenizer = load_for_training(backend, checkpoint, measured[0].settings, EngineSettings(), 0)
        layer = copy.deepcopy(model.model.layers[0])
        for index, case in enumerate(measured):
            started = time.monotonic()
            base = repeat_layer(model, layer, SHAPES[shape]["num_hidden_layers"])
            if backend == "unsloth":
                base = unsloth_backend.with_adapter(base, case.settings, 0)
            if on_gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            data_dir = folder / str(index)
            data_dir.mkdir()
            trained = train_adapter(
                rows_of_width(case, tokenizer), case.settings, base, tokenizer, data_dir, 0, Silent(), backend=backend
            )
            shutil.rmtree(data_dir)
            del base
            found.append(
                {
                    "what": f"{case.what}, {backend}",
                    "value": round(trained.tokens_per_s, 1),
                    "unit": "tokens/s",
                    "peak_gb": round(torch.cuda.max_memory_reserved() / GB, 1) if on_gpu else None,
                    "seconds": round(time.monotonic() - started, 1),
                    "to_meet": case.to_meet,
                    "fit": trained.fit and [trained.fit.part_tokens, trained.fit.recomputed_layers],
                }
            )
            print(found[-1], flush=True)
    return found


def main() -> None:
    """Prints the table, or, for one backend, writes its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="32b")
    parser.add_argument("--limit-gb", type=float, default=80.0)
    parser.add_argument("--backends", nargs="+", default=["trl"], choices=("trl", "unsloth"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        found = measure(chosen.one, chosen.shape, cases(chosen.limit_gb))
        chosen.out.write_text(json.dumps(found))
        return
    for row in rows(chosen.shape, chosen.limit_gb, chosen.backends):
        print("\t".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    main()
