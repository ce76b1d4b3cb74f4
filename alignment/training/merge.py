"""Merging adapters into their base shard by shard: always into bf16 weights, never into 4-bit ones, which lose quality.

One shard is in memory at a time. A weight and all its adapters are added up in fp32 and rounded once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from alignment.checkpoint import Checkpoint, load_tokenizer
from alignment.refusal import Refusal
from alignment.resources import free_disk, free_memory, require, tensors, weight_files

SHARD_BYTES = 5e9
DTYPE_BYTES = 2  # bf16
WEIGHT = ".weight"
# What PEFT can do to a weight beyond adding B A × scale, by the key of adapter_config.json; a true value is refused.
BEYOND = ("use_dora", "lora_bias", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern", "use_rslora")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's matrices by the base's names: A (r, in) and B (out, r), and the scale of their product."""

    matrices: Mapping[str, tuple[Any, Any]]
    scale: float


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tensor of the base lies."""

    name: str
    file: Path
    shape: tuple[int, ...]

    @property
    def merged_bytes(self) -> int:
        """What it takes once merged."""
        return prod(self.shape) * DTYPE_BYTES


def merge_adapters(checkpoint: Checkpoint, folder: Path, *, shard_bytes: float = SHARD_BYTES) -> Checkpoint:
    """Writes a checkpoint's base with its adapters merged, in bf16 shards, and its tokenizer.

    Args:
        folder: where to; what lies there is replaced.
        shard_bytes: of one file; a larger tensor is a file of its own.

    Returns:
        The merged model as a checkpoint of its own.

    Raises:
        Refusal: there is no room for it, the base is packed in 4 bits, or an adapter is not plain LoRA on the base.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint.base)
    if getattr(config, "quantization_config", None):
        raise Refusal(
            f"{checkpoint.base}: its weights are stored quantized", "name the unquantized model as model.base: merging"
            " into quantized weights loses quality",
        )  # fmt: skip
    adapters = [read_adapter(path) for path in checkpoint.adapters]
    sources = [Source(name, file, shape) for file in weight_files(checkpoint.base) for name, shape in tensors(file)]
    _refuse_strangers(adapters, sources, checkpoint)
    shards = _shards(sources, shard_bytes)
    shutil.rmtree(folder, ignore_errors=True)
    _require_room(shards, folder)

    folder.mkdir(parents=True)
    places = {}
    for number, shard in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        merged = {}
        for source in shard:
            with safe_open(source.file, "pt") as stored:
                weight = stored.get_tensor(source.name)
            for adapter in adapters:
                if source.name in adapter.matrices:
                    a, b = adapter.matrices[source.name]
                    weight = weight.float() + (b.float() @ a.float()) * adapter.scale
            merged[source.name] = weight.to(torch.bfloat16)
            places[source.name] = file
        save_file(merged, folder / file, metadata={"format": "pt"})
    if len(shards) > 1:
        total = sum(source.merged_bytes for source in sources)
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    if (checkpoint.base / "generation_config.json").exists():
        shutil.copy(checkpoint.base / "generation_config.json", folder)
    load_tokenizer(checkpoint.base).save_pretrained(folder)
    return replace(checkpoint, base=folder, adapters=())


def read_adapter(folder: Path) -> Adapter:
    """Reads a LoRA adapter that PEFT has saved.

    Raises:
        Refusal: it does more to a weight than adding a low-rank product.
    """
    from safetensors.torch import load_file

    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    beyond = [key for key in BEYOND if settings.get(key)]
    if settings.get("peft_type") != "LORA" or settings.get("bias", "none") != "none" or beyond:
        raise Refusal(
            f"{folder}/adapter_config.json: not plain LoRA: {', '.join(beyond) or settings.get('peft_type')}",
            "merge this adapter with PEFT's merge_and_unload and name the result as model.base",
        )
    stored = load_file(folder / "adapter_model.safetensors")
    names = {name.removesuffix(".lora_A.weight") for name in stored if name.endswith(".lora_A.weight")}
    matrices = {
        name.removeprefix("base_model.model.") + WEIGHT: (
            stored[f"{name}.lora_A.weight"],
            stored[f"{name}.lora_B.weight"],
        )
        for name in names
    }
    return Adapter(matrices, settings["lora_alpha"] / settings["r"])


def _refuse_strangers(adapters: Sequence[Adapter], sources: Sequence[Source], checkpoint: Checkpoint) -> None:
    """Makes sure that every adapted weight is one of the base's."""
    known = {source.name: source.shape for source in sources}
    for adapter, path in zip(adapters, checkpoint.adapters, strict=True):
        for name, (a, b) in adapter.matrices.items():
            if known.get(name) != (len(b), a.shape[1]):
                raise Refusal(
                    f"{path}: it adapts {name} of shape {(len(b), a.shape[1])}, {checkpoint.base} has "
                    f"{known.get(name, 'none of that name')}",
                    "name the base model that the adapter was trained on",
                )


def _shards(sources: Sequence[Source], most_bytes: float) -> list[list[Source]]:
    """Groups tensors in order into files of at most `most_bytes`."""
    shards: list[list[Source]] = [[]]
    filled = 0
    for source in sources:
        if shards[-1] and filled + source.merged_bytes > most_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(source)
        filled += source.merged_bytes
    return shards


def _require_room(shards: Sequence[Sequence[Source]], folder: Path) -> None:
    total = sum(source.merged_bytes for shard in shards for source in shard)
    at_once = max(sum(source.merged_bytes for source in shard) for shard in shards)
    widest = max(prod(source.shape) for shard in shards for source in shard)
    remedy = "free some, or set train.merge: false and go on with the adapter"
    require(total, free_disk(folder), f"{folder}: the merged model", "on its disk", remedy)
    # The shard, and of one tensor the base's copy, the product and the sum in fp32.
    require(at_once + 3 * 4 * widest, free_memory(), f"{folder}: merging by shards", "in main memory", remedy)
