"""Training rows: read strictly, replayed with measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alignment.refusal import Refusal
from alignment.training.rows import Row, read_rows, with_replay


def row(number: int, stage: int = 1, **other: Any) -> Row:
    return {
        "id": f"{stage}-{number}",
        "stage": stage,
        "instruction": "Say moo.",
        "prompt": "Say moo.\n",
        "completion": "Moo.",
        **other,
    }


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "sft.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_rows_are_read_as_they_stand(tmp_path: Path) -> None:
    """Nothing is repaired and nothing is dropped."""
    assert read_rows(written(tmp_path, row(1), row(2))) == [row(1), row(2)]


def test_rows_that_are_none_are_refused(tmp_path: Path) -> None:
    """An empty dataset is named, with where to look."""
    with pytest.raises(Refusal, match="no rows") as refusal:
        read_rows(written(tmp_path))
    assert "funnel" in refusal.value.needs


def test_rows_faults_are_told_together(tmp_path: Path) -> None:
    """Every faulty line is named with its number and what is wrong with it."""
    path = written(
        tmp_path,
        "{",
        row(1),
        row(1),
        row(2, completion=" "),
        {**row(3), "stage": "one"},
        [],
        row(4, prompt=None),
        row(5),
    )
    with pytest.raises(Refusal) as refusal:
        read_rows(path)
    reason = refusal.value.reason
    assert "6 faulty rows" in reason
    for part in ("line 1: not JSON", "line 3: id: '1-1' stands twice", "line 4: completion", "line 5: stage", "1 more"):
        assert part in reason


def test_replay_draws_earlier_rows_by_share() -> None:
    """Half as many earlier rows as own ones; later stages' rows never; the draw depends on the seed only."""
    rows = [row(n, stage) for stage in (1, 2, 3) for n in range(20)]
    drawn = with_replay(rows, stage=2, share=0.5, seed=1)
    assert [r["stage"] for r in drawn] == [2] * 20 + [1] * 10
    assert drawn == with_replay(rows, stage=2, share=0.5, seed=1) != with_replay(rows, stage=2, share=0.5, seed=2)


def test_replay_counts_a_row_once() -> None:
    """A row that two rounds left is trained on once."""
    assert with_replay([row(1), row(2), row(1)], stage=1, share=1, seed=0) == [row(1), row(2)]
