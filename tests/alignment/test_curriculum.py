from __future__ import annotations

from pathlib import Path

import pytest

from alignment.curriculum import load_stage
from alignment.refusal import Refusal
from tests.stages import ITEMS, write_stage


def test_curriculum_reads_a_stage_with_documented_defaults(tmp_path: Path) -> None:
    """What stage.yaml leaves out has the default that the curriculum's dataclasses document."""
    stage = load_stage(write_stage(tmp_path), tmp_path)
    assert stage.raw_template == "{instruction}\n"
    assert stage.stop.raw == ()
    assert stage.stop.cue == ("\n",)
    assert [item.id for item in stage.items] == [item["id"] for item in ITEMS]
    assert stage.gate == {"accuracy": 0.95}
    assert stage.deduplication.jaccard == 0.8


def test_curriculum_refuses_a_changed_evaluation_set(tmp_path: Path) -> None:
    """A frozen set that has changed is refused with both hashes and the remedy."""
    with pytest.raises(Refusal) as refused:
        load_stage(write_stage(tmp_path, sha256="0" * 64), tmp_path)
    assert "0" * 64 in refused.value.reason
    assert "its sha256 is" in refused.value.reason
    assert "run the stage's baseline again" in refused.value.needs


def test_curriculum_faults_are_named_all_at_once(tmp_path: Path) -> None:
    """Faulty keys, templates, gates and rows are told together, each with its place."""
    folder = write_stage(tmp_path, raw_template="nothing", gate={"accuracy": "high"}, colour="red", new_turn=None)
    (folder / "gold.jsonl").write_text('{"instruction": "x"}\nnot json\n')
    with pytest.raises(Refusal) as refused:
        load_stage(folder, tmp_path)
    for fault in (
        "raw_template: {instruction} is missing",
        "gate.accuracy: expected a number",
        "colour: unknown",
        "new_turn: missing",
        "gold.jsonl:1: expected the keys",
        "gold.jsonl:2: not JSON",
    ):
        assert fault in refused.value.reason


def test_curriculum_refuses_an_id_that_stands_twice(tmp_path: Path) -> None:
    """Items are paired by id, so an id names one item."""
    with pytest.raises(Refusal, match="stands twice"):
        load_stage(write_stage(tmp_path, items=[ITEMS[0], ITEMS[0]]), tmp_path)
