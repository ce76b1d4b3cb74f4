from __future__ import annotations

from pathlib import Path

import pytest

from alignment.provenance import (
    Manifest,
    commit,
    read_manifest,
    record,
    row_id,
    verify_outputs,
    versions,
    write_jsonl,
    write_manifest,
)
from alignment.refusal import Refusal


def manifest_of(folder: Path, workspace: Path) -> Manifest:
    return Manifest(
        kind="generate",
        run_id="r1",
        stage=1,
        inputs=(),
        outputs=(record(folder / "sft.jsonl", workspace),),
        config={"engine.name": {"value": "auto", "origin": "default"}},
        seed=3,
        base_model="microworld/weights",
        base_model_sha256="0" * 64,
        constitution_sha256=None,
        device="a CPU",
        started="2026-01-05T09:00:00+00:00",
        finished="2026-01-05T09:01:00+00:00",
        versions=versions(),
        commit=commit(),
        facts={"rows": 2},
    )


def test_manifest_survives_the_disk(tmp_path: Path) -> None:
    """What is written is what is read, with paths relative to the workspace and rows counted."""
    folder = tmp_path / "data" / "r1"
    write_jsonl(folder / "sft.jsonl", [{"id": "a"}, {"id": "b"}])
    manifest = manifest_of(folder, tmp_path)
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest
    assert (manifest.outputs[0].path, manifest.outputs[0].rows) == ("data/r1/sft.jsonl", 2)
    verify_outputs(manifest, tmp_path)


def test_manifest_finds_changed_and_missing_outputs(tmp_path: Path) -> None:
    """A complete folder that has been touched since is refused, with both hashes."""
    write_jsonl(tmp_path / "sft.jsonl", [{"id": "a"}])
    manifest = manifest_of(tmp_path, tmp_path)
    write_jsonl(tmp_path / "sft.jsonl", [{"id": "b"}])
    with pytest.raises(Refusal, match="its manifest says"):
        verify_outputs(manifest, tmp_path)
    (tmp_path / "sft.jsonl").unlink()
    with pytest.raises(Refusal, match="gone since"):
        verify_outputs(manifest, tmp_path)


def test_folder_without_manifest_is_not_complete(tmp_path: Path) -> None:
    """The manifest is written last, so its absence means an unfinished run."""
    with pytest.raises(Refusal, match="not complete"):
        read_manifest(tmp_path)


def test_row_id_depends_on_its_parts_alone() -> None:
    """The same parts give the same id in every process."""
    assert row_id(1, "Say hello.", 0) == row_id(1, "Say hello.", 0) != row_id(1, "Say hello.", 1)
    assert len(row_id("x")) == 16
