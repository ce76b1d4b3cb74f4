"""Checkpoints are whole, or loud, or do not exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignment.refusal import Refusal
from alignment.training.checkpoints import FOLDER, POINTER, discard, newest, seal


def saved(data_dir: Path, step: int) -> Path:
    folder = data_dir / FOLDER / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"momenta")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def test_checkpoint_is_the_newest_that_was_sealed(tmp_path: Path) -> None:
    """What the pointer names is gone on from; older ones and a half-written newer one are removed."""
    seal(tmp_path, saved(tmp_path, 10), 10, -0.5)
    sealed = seal(tmp_path, saved(tmp_path, 20), 20, -0.4)
    saved(tmp_path, 30)
    assert newest(tmp_path) == sealed
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["checkpoint-20"]


def test_checkpoint_half_written_at_the_first_save_is_never_used(tmp_path: Path) -> None:
    """A crash before the first pointer leaves a run that starts from step 0."""
    saved(tmp_path, 10)
    assert newest(tmp_path) is None
    assert not (tmp_path / FOLDER).exists()


def test_checkpoint_that_is_missing_is_loud(tmp_path: Path) -> None:
    """A run that had a checkpoint never silently starts anew."""
    folder = saved(tmp_path, 10)
    seal(tmp_path, folder, 10, -0.5)
    (folder / "optimizer.pt").unlink()
    with pytest.raises(Refusal, match=r"optimizer\.pt: missing from the checkpoint of step 10") as refusal:
        newest(tmp_path)
    assert POINTER in refusal.value.needs


def test_checkpoint_that_is_broken_is_loud(tmp_path: Path) -> None:
    """A checkpoint that is not what was written is refused, with the file's name."""
    folder = saved(tmp_path, 10)
    seal(tmp_path, folder, 10, -0.5)
    (folder / "adapter_model.safetensors").write_bytes(b"weight")
    with pytest.raises(Refusal, match=r"adapter_model\.safetensors: broken"):
        newest(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", json.dumps([])])
def test_checkpoint_pointer_that_is_none_is_loud(tmp_path: Path, text: str) -> None:
    """A pointer that cannot be read is not taken for a fresh start."""
    (tmp_path / POINTER).write_text(text)
    with pytest.raises(Refusal, match="not a checkpoint"):
        newest(tmp_path)


def test_checkpoints_are_discarded_whole(tmp_path: Path) -> None:
    """A finished run keeps neither pointer nor folders."""
    seal(tmp_path, saved(tmp_path, 10), 10, -0.5)
    discard(tmp_path)
    assert list(tmp_path.iterdir()) == []
