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


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rented container has less memory than its machine; cached files are given back, so they count as free."""
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(resources, "CGROUPS", tmp_path)
    (tmp_path / "meminfo").write_text("MemAvailable:    50000000 kB\n")
    assert resources.free_memory() == 50000000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("9000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 4000000\n")
    assert resources.free_memory() == 50000000 * 1024
    (tmp_path / "memory.max").write_text("10000000\n")
    assert resources.free_memory() == 5000000
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("7000000\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("6000000\n")
    (tmp_path / "memory" / "memory.stat").write_text("inactive_file 9\ntotal_inactive_file 2000000\n")
    assert resources.free_memory() == 3000000


def test_a_model_sleeps_only_where_main_memory_has_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training needs some of it too."""
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(resources, "CGROUPS", tmp_path)
    (tmp_path / "meminfo").write_text("MemAvailable:    80000000 kB\n")
    resources.require_room_to_sleep(65e9)
    with pytest.raises(Refusal, match=r"needs 86\.0 GB, 81\.9 GB are free in main memory"):
        resources.require_room_to_sleep(70e9)


def test_room_is_found_for_folders_that_are_yet_to_be_made(tmp_path: Path) -> None:
    """The disk of the nearest folder that exists is the one that counts."""
    assert resources.free_disk(tmp_path / "a" / "b") == pytest.approx(resources.free_disk(tmp_path), rel=0.05)
