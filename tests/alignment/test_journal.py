from __future__ import annotations

from pathlib import Path

from alignment.journal import Journal, go_on_with


def test_journal_drops_a_torn_last_line_and_goes_on(tmp_path: Path) -> None:
    """A kill in the middle of a write costs the row that was being written and nothing else."""
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        journal.append([{"id": 1}, {"id": 2, "text": "é\u2028"}])
    path.write_bytes(path.read_bytes() + b'{"id": 3, "te')
    with Journal(path) as journal:
        assert [row["id"] for row in journal.rows] == [1, 2]
        journal.append([{"id": 3}])
    with Journal(path) as journal:
        assert [row["id"] for row in journal.rows] == [1, 2, 3]


def test_journal_of_another_plan_is_set_aside(tmp_path: Path) -> None:
    """Rows that other settings made are not gone on from, and not lost."""
    go_on_with(tmp_path, {"seed": 0})
    (tmp_path / "rows.jsonl").write_text('{"id": 1}\n')
    go_on_with(tmp_path, {"seed": 0})
    assert (tmp_path / "rows.jsonl").exists()
    go_on_with(tmp_path, {"seed": 1})
    assert not (tmp_path / "rows.jsonl").exists()
    assert (tmp_path / "rows.superseded").read_text() == '{"id": 1}\n'
