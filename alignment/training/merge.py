"""Merging an adapter into its base: always into bf16 weights, never into 4-bit ones, which lose quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from alignment.checkpoint import Checkpoint, load_model, load_tokenizer

SHARD = "5GB"  # a shard is written whole from memory


def merge_adapters(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Writes a checkpoint's base with its adapters merged, in bf16 shards, and its tokenizer.

    Returns:
        The merged model as a checkpoint of its own.
    """
    merged = load_model(replace(checkpoint, dtype="bfloat16", quantization="none"), "cpu")
    merged.save_pretrained(folder, max_shard_size=SHARD)
    load_tokenizer(checkpoint.base).save_pretrained(folder)
    return replace(checkpoint, base=folder, adapters=())
