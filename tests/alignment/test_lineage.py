"""An artifact is walked back to its base model, and a broken link is told where it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignment.lineage import Link, render, trace
from alignment.provenance import Manifest, record, sha256_of_model, write_manifest


def left_by(workspace: Path, kind: str, name: str, inputs: list[Path], base: str = "base") -> Path:
    """A run's folder with one file and a manifest."""
    folder = workspace / "data" / name
    folder.mkdir(parents=True)
    output = folder / f"{kind}.jsonl"
    output.write_text(json.dumps({"made_by": name}) + "\n")
    write_manifest(
        folder,
        Manifest(
            kind=kind,
            run_id=name,
            stage=1,
            inputs=tuple(record(path, workspace) for path in inputs),
            outputs=(record(output, workspace),),
            config={},
            seed=7,
            base_model=base,
            base_model_sha256=sha256_of_model(workspace / base),
            constitution_sha256="c" * 64,
            device="cpu",
            started="2026-01-05T09:00:00+00:00",
            finished="2026-01-05T09:01:00+00:00",
            versions={},
            commit="abc",
        ),
    )
    return output


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """base -> generate -> train -> evaluate, with a stage's file beside."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "stage.yaml").write_text("stage: 1\n")
    rows = left_by(tmp_path, "generate", "g", [tmp_path / "stage.yaml"])
    adapter = left_by(tmp_path, "train", "t", [rows])
    left_by(tmp_path, "evaluate", "e", [adapter])
    return tmp_path


def kinds(link: Link) -> list[str]:
    return [entry.kind for entry in link.walk()]


def test_lineage_reaches_the_base_model(workspace: Path) -> None:
    """Every run between an evaluation and the base model is passed, with seed, commit and constitution."""
    link = trace(workspace / "data" / "e", workspace)
    assert kinds(link) == ["evaluate", "train", "generate", "file", "base model"]
    assert all(not entry.problems for entry in link.walk())
    assert {entry.facts["seed"] for entry in link.walk() if "seed" in entry.facts} == {7}
    json.dumps(link.as_data())


def test_lineage_starts_from_a_file_inside_a_run(workspace: Path) -> None:
    """Any artifact of a run stands for the run."""
    assert kinds(trace(workspace / "data" / "t" / "train.jsonl", workspace))[:2] == ["train", "generate"]


def test_lineage_tells_what_has_changed(workspace: Path) -> None:
    """A dataset or a base model that is not what was used is named where it is met."""
    (workspace / "data" / "g" / "generate.jsonl").write_text("{}\n")
    (workspace / "base" / "model.safetensors").write_bytes(b"other")
    problems = {entry.kind: entry.problems for entry in trace(workspace / "data" / "e", workspace).walk()}
    assert "data/g/generate.jsonl: changed" in problems["generate"][0]
    assert "changed" in problems["base model"][0]
    assert problems["train"] == ()


def test_lineage_tells_what_is_missing(workspace: Path) -> None:
    """A run whose manifest is gone, a file that is gone, and a path that never was: each is said."""
    (workspace / "data" / "g" / "manifest.json").unlink()
    (workspace / "data" / "t" / "train.jsonl").unlink()
    assert trace(workspace / "data" / "e", workspace).parents[0].problems == ("data/t/train.jsonl: gone",)
    assert trace(workspace / "data" / "g", workspace).problems == (
        "no manifest.json here or above: its run did not end",
    )
    assert trace(workspace / "data" / "x", workspace).problems == ("there is no such file",)


def test_lineage_skips_the_hashes_on_request(workspace: Path) -> None:
    """Where only the way matters, no file is read."""
    (workspace / "base" / "model.safetensors").write_bytes(b"other")
    assert all(not entry.problems for entry in trace(workspace / "data" / "e", workspace, verify=False).walk())


def test_lineage_is_drawn_as_a_tree(workspace: Path) -> None:
    """One line a link, indented under what was made of it, problems below, nothing twice."""
    (workspace / "stage.yaml").write_text("stage: 2\n")
    left_by(workspace, "evaluate", "both", [workspace / "data" / n for n in ("t/train.jsonl", "g/generate.jsonl")])
    drawn = render(trace(workspace / "data" / "both", workspace)).splitlines()
    assert drawn[0].startswith("evaluate  data/both  stage 1 · seed 7 · commit abc")
    assert drawn[1].startswith("├─ train  data/t")
    assert drawn[2].startswith("│  └─ generate  data/g")
    assert any("! stage.yaml: changed" in line for line in drawn)
    assert drawn[-1] == "└─ generate  data/g  (above)"


def test_lineage_of_many_runs_that_share_ancestors_passes_each_once(workspace: Path) -> None:
    """A ladder's runs stand on all the earlier ones: the walk grows with the runs, not with the paths between them."""
    made = [workspace / "data" / "g" / "generate.jsonl"]
    for number in range(40):
        made.append(left_by(workspace, "train", f"t{number}", made[-2:]))
    runs = [link.path for link in trace(workspace / "data" / "t39", workspace).walk() if link.kind == "train"]
    assert sorted(runs) == sorted(f"data/t{number}" for number in range(40))
