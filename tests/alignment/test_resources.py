"""Room for a model, looked at before it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignment import resources
from alignment.checkpoint import Checkpoint, load_model
from alignment.locations import INSTALLATION
from alignment.refusal import Refusal

BASE = INSTALLATION / "microworld" / "weights"
EMBEDDINGS = 2048 * 192
LAYER = 2 * 192 * 192 + 2 * 96 * 192 + 3 * 192 * 576  # q and o, k and v, gate, up and down
VECTORS = 6 * (192 + 2 * 96 + 2 * 192) + 192  # biases of q, k and v, norms


@pytest.mark.parametrize(
    ("dtype", "quantization", "expected"),
    [
        ("float32", "none", 4 * (EMBEDDINGS + 6 * LAYER + VECTORS)),
        ("bfloat16", "none", 2 * (EMBEDDINGS + 6 * LAYER + VECTORS)),
        ("bfloat16", "nf4", 2 * (EMBEDDINGS + VECTORS) + 6 * LAYER * (1 / 2 + 1 / 64 + 4 / 16384)),
    ],
)
def test_loaded_bytes_follow_from_the_shapes(dtype: str, quantization: str, expected: float) -> None:
    """Matrices inside the layers can be packed; embeddings, norms and biases keep their format."""
    assert resources.loaded_bytes(BASE, dtype, quantization) == pytest.approx(expected)


def test_a_model_that_does_not_fit_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error tells what it needs, what is free, and where."""
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    with pytest.raises(Refusal, match=r"loading it in float32 needs 12\.2 MB, 5\.1 MB are free in main memory"):
        load_model(Checkpoint(BASE, (), "float32", "none"), "cpu")


def test_room_is_found_for_folders_that_are_yet_to_be_made(tmp_path: Path) -> None:
    """The disk of the nearest folder that exists is the one that counts."""
    assert resources.free_disk(tmp_path / "a" / "b") == pytest.approx(resources.free_disk(tmp_path), rel=0.05)
