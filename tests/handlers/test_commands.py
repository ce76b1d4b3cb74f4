"""The commands of the handlers' side: lineage, as the terminal calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.lineage import main
from tests.alignment.test_lineage import left_by


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    left_by(tmp_path, "generate", "g", [])
    return tmp_path


def test_lineage_command_prints_the_tree(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path is taken as it stands or inside the workspace; a chain that holds exits with 0."""
    assert main(workspace, Path("data/g")) == 0
    assert main(workspace, workspace / "data" / "g" / "generate.jsonl") == 0
    assert capsys.readouterr().out.count("base model  base") == 2


def test_lineage_command_fails_where_a_link_is_broken(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script can tell a broken chain by the exit code, a person by the line."""
    (workspace / "data" / "g" / "generate.jsonl").write_text("other\n")
    assert main(workspace, Path("data/g")) == 1
    assert main(workspace, Path("data/nowhere")) == 1
    assert "! data/g/generate.jsonl: changed" in capsys.readouterr().out
