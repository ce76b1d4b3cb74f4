from __future__ import annotations

from pathlib import Path

import pytest

from alignment.checkpoint import Checkpoint, load_model
from benchmarks.shaped import write_shape

pytestmark = pytest.mark.model


def test_a_shape_without_weights_is_a_model(tmp_path: Path) -> None:
    """From config.json alone: layers that compute, norms that are ones, no two rows of a matrix alike."""
    import torch

    base = write_shape(
        tmp_path / "shape", num_hidden_layers=2, hidden_size=64, intermediate_size=96, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=2048,
    )  # fmt: skip
    model = load_model(Checkpoint(base, (), "float32", "none", "random"), "cpu")
    logits = model(torch.arange(9)[None]).logits
    assert logits.shape == (1, 9, 2048)
    assert logits.isfinite().all()
    assert logits.std() > 0.01
    assert model.model.norm.weight.eq(1).all()
    assert model.model.layers[0].self_attn.q_proj.bias.eq(0).all()
    matrix = model.model.layers[1].mlp.up_proj.weight
    assert matrix.std().item() == pytest.approx(0.02, rel=0.05)
    assert len(matrix.unique(dim=0)) == 96
