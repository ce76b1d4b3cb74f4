"""Writes a model's shape without its weights: `python -m benchmarks.shaped OUT [--layers 64]`.

OUT gets the config.json of Qwen2.5-32B and a tokenizer with as many tokens as its vocabulary has rows. An engine that is
told `weights: random` loads it as it would the real one, at the same speed and in the same memory.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from alignment.locations import INSTALLATION

QWEN2_5_32B: dict[str, Any] = {  # huggingface.co/Qwen/Qwen2.5-32B, config.json
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "dtype": "bfloat16",
    "eos_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "initializer_range": 0.02,
    "intermediate_size": 27648,
    "max_position_embeddings": 131072,
    "model_type": "qwen2",
    "num_attention_heads": 40,
    "num_hidden_layers": 64,
    "num_key_value_heads": 8,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 152064,
}


def write_shape(folder: Path, **changes: Any) -> Path:
    """Writes the shape; `changes` replace keys of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**QWEN2_5_32B, **changes}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    weights = INSTALLATION / "microworld" / "weights"
    tokenizer = json.loads((weights / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    taken = {*vocabulary.values(), *(token["id"] for token in tokenizer["added_tokens"])}
    # Tokens that no text is cut into, so that what random weights draw can be written down.
    vocabulary |= {f"\u0120w{number}": number for number in range(config["vocab_size"]) if number not in taken}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text((weights / "tokenizer_config.json").read_text(encoding="utf-8"))
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=QWEN2_5_32B["num_hidden_layers"])
    given = parser.parse_args()
    print(write_shape(given.out, num_hidden_layers=given.layers))
