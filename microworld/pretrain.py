"""Pretrains the built-in base model from a seed: tokenizer, corpus, weights, figures, manifest.

Run:   python -m microworld.pretrain --out microworld/weights            # a GPU where there is one, else the CPU

About five minutes on an H200 with 16 processor cores. On two processor cores about a day and a half: 420 million tokens at
3,500 tokens a second, measured over 0.4 million, behind half an hour for the corpus.

Departures from a plain recipe:
1. Muon for the matrices, AdamW for embeddings, norms and biases; trapezoidal learning rate (warm-up, constant, linear decay).
2. A judgement's label weighs LABEL_WEIGHT times an ordinary token, so that a model this small learns to judge.
3. Rows are documents end to end, each row beginning with a document; attention is not masked between documents.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from microworld import tokenizer as tokenizers
from microworld.corpus import shard
from microworld.measure import WEIGHTS, measure, summary
from microworld.tokenizer import CONTEXT, END, LABELS, VOCABULARY

TOKENIZER_DOCUMENTS = 30_000
TOKENIZER_SHARD = -1  # the tokenizer's documents are nobody's training rows
SHARDS = 64  # fixed, so that the corpus does not depend on the number of processes
VALIDATION_ROWS = 128


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number that the weights depend on."""

    seed: int = 1
    width: int = 192
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    inner: int = 576
    unique_tokens: int = 200_000_000
    tokens: int = 420_000_000
    batch_rows: int = 128
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    decay_share: float = 0.4
    label_weight: float = 4.0


def train_tokenizer(seed: int) -> Any:
    """Trains the tokenizer on documents of its own shard."""
    documents = shard(seed, TOKENIZER_SHARD).documents()
    return tokenizers.train(text for _, text in itertools.islice(documents, TOKENIZER_DOCUMENTS))


def shard_rows(job: tuple[str, int, int, int]) -> Any:
    """Returns one shard as an array (rows, CONTEXT) of token ids; each row begins with a document.

    Args:
        job: the tokenizer's file, the seed, the shard's index, the tokens wanted.
    """
    import numpy as np
    from tokenizers import Tokenizer

    file, seed, index, wanted = job
    encoder = Tokenizer.from_file(file)
    (end,) = encoder.encode(END).ids
    documents = shard(seed, index).documents()
    rows: list[list[int]] = []
    row: list[int] = []
    while len(rows) * CONTEXT < wanted:
        for encoded in encoder.encode_batch([text for _, text in itertools.islice(documents, 1000)]):
            row += encoded.ids
            row.append(end)
            if len(row) >= CONTEXT:
                rows.append(row[:CONTEXT])
                row = []
    return np.array(rows, dtype=np.uint16)


def build_rows(tokenizer_file: Path, seed: int, tokens: int, processes: int) -> Any:
    """Returns the corpus as token rows; the same for any number of processes."""
    import numpy as np

    jobs = [(str(tokenizer_file), seed, index, math.ceil(tokens / SHARDS)) for index in range(SHARDS)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return np.concatenate(pool.map(shard_rows, jobs, chunksize=1))


def build_model(recipe: Recipe) -> Any:
    """Returns an untrained Qwen2 model of the recipe's shape."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(recipe.seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config)
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.data.mul_(1 / math.sqrt(2 * recipe.layers))
    return model


def schedule(step: int, steps: int, recipe: Recipe) -> float:
    """Returns the factor of the learning rates: warm-up, then constant, then linear to zero."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return warm * min(1.0, (1 - step / steps) / recipe.decay_share)


def train(model: Any, rows: Any, recipe: Recipe, label_ids: tuple[int, ...], colon: int, device: str) -> dict[str, Any]:
    """Trains a model on token rows.

    Returns:
        the figures of the run: steps, tokens, losses, seconds.
    """
    import torch
    import torch.nn.functional as F

    torch.set_float32_matmul_precision("high")
    on_gpu = device == "cuda"
    model.to(device).train()
    data = torch.from_numpy(rows.astype("int16")).to(device)
    validation, data = data[:VALIDATION_ROWS].long(), data[VALIDATION_ROWS:]
    labels = torch.tensor(label_ids, device=device)

    def loss_of(x: Any, label_weight: float) -> Any:
        """Returns the mean loss of rows x (rows, CONTEXT), with heavier labels."""
        with torch.autocast(device, torch.bfloat16, enabled=on_gpu):
            logits = model(input_ids=x, use_cache=False).logits[:, :-1]  # (rows, CONTEXT - 1, VOCABULARY)
        targets = x[:, 1:]
        losses = F.cross_entropy(logits.reshape(-1, VOCABULARY).float(), targets.reshape(-1), reduction="none")
        is_label = torch.isin(targets, labels) & (x[:, :-1] == colon)
        return (losses * (1 + (label_weight - 1) * is_label.reshape(-1).float())).mean()

    run = torch.compile(loss_of) if on_gpu else loss_of
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in n)]
    optimizers = [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, momentum=0.95, nesterov=True),
        torch.optim.AdamW(others, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=on_gpu),
    ]
    rates = (recipe.muon_lr, recipe.adam_lr)
    steps = recipe.tokens // (recipe.batch_rows * CONTEXT)
    epochs = math.ceil(steps * recipe.batch_rows / len(data))
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.cat([torch.randperm(len(data), generator=generator) for _ in range(epochs)]).to(device)

    started, curve = time.monotonic(), {}
    for step in range(steps):
        for optimizer, rate in zip(optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule(step, steps, recipe)
        batch = data[order[step * recipe.batch_rows : (step + 1) * recipe.batch_rows]].long()
        loss = run(batch, recipe.label_weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % max(1, steps // 20) == 0:
            curve[step + 1] = round(loss.item(), 4)
            elapsed = time.monotonic() - started
            rate = (step + 1) * recipe.batch_rows * CONTEXT / elapsed
            print(
                f"step {step + 1}/{steps} loss {curve[step + 1]} seconds {elapsed:.0f} tokens/s {rate:.0f}", flush=True
            )
    model.eval()
    with torch.no_grad():
        parts = [loss_of(validation[i : i + 16], 1.0).item() for i in range(0, len(validation), 16)]
    return {
        "steps": steps,
        "tokens": steps * recipe.batch_rows * CONTEXT,
        "weighted_loss_by_step": curve,
        "validation_loss": round(sum(parts) / len(parts), 4),
        "seconds": round(time.monotonic() - started, 1),
    }


def digest(data: bytes) -> str:
    """Returns the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def pretrain(out: Path, recipe: Recipe, processes: int, device: str, items: int) -> dict[str, Any]:
    """Runs the whole recipe into a folder; the manifest is written last.

    Returns:
        the manifest.
    """
    import torch
    import transformers

    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").unlink(missing_ok=True)
    tokenizer = train_tokenizer(recipe.seed)
    tokenizer.save_pretrained(out)
    started = time.monotonic()
    rows = build_rows(out / "tokenizer.json", recipe.seed, recipe.unique_tokens, processes)
    corpus = {
        "sha256": digest(rows.tobytes()),
        "rows": len(rows),
        "tokens": int(rows.size),
        "seconds": round(time.monotonic() - started, 1),
    }
    print("corpus", corpus, flush=True)
    model = build_model(recipe)
    labels = tuple(tokenizer(label)["input_ids"][0] for label in LABELS)
    training = train(model, rows, recipe, labels, tokenizer("x:")["input_ids"][-1], device)
    model.to("cpu").to(torch.bfloat16).save_pretrained(out)
    figures = measure(out, device, items)
    print(json.dumps(figures, ensure_ascii=False), flush=True)
    manifest = {
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "corpus": corpus,
        "training": training,
        "figures": summary(figures),
        "sha256": {
            name: digest((out / name).read_bytes())
            for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
        },
        "hardware": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    draft = out / "manifest.json.tmp"
    draft.write_text(json.dumps(manifest, indent=1) + "\n")
    os.replace(draft, out / "manifest.json")
    return manifest


def main() -> None:
    """Reads the recipe's numbers from the command line and runs it."""
    import torch

    parser = argparse.ArgumentParser(description="Pretrain the built-in base model.")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--items", type=int, default=0, help="evaluation items a stage for the figures; 0 for all")
    for name, default in asdict(Recipe()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    options = parser.parse_args()
    recipe = Recipe(**{name: getattr(options, name) for name in asdict(Recipe())})
    pretrain(options.out, recipe, options.processes, options.device, options.items)


if __name__ == "__main__":
    main()
