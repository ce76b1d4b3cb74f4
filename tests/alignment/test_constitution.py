from __future__ import annotations

from pathlib import Path

import pytest

from alignment.constitution import load_constitution
from alignment.refusal import Refusal


def test_constitution_shipped_loads(tmp_path: Path) -> None:
    """The project's own constitution has 12 to 20 principles of all three categories."""
    constitution = load_constitution("constitution.yaml", tmp_path)
    assert 12 <= len(constitution.principles) <= 20
    assert {p.category for p in constitution.principles} == {"helpfulness", "harmlessness", "honesty"}
    assert len(constitution.sha256) == 64


@pytest.mark.parametrize("text", ["version: 1\nprinciples: []\n", "version: 1\n", "", "principles: {}\n"])
def test_constitution_without_principles_is_refused(tmp_path: Path, text: str) -> None:
    """Nothing is aligned to nothing."""
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(Refusal, match=r"mine\.yaml: no principles"):
        load_constitution("mine.yaml", tmp_path)


def test_constitution_faults_are_named_all_at_once(tmp_path: Path) -> None:
    """Unknown keys, missing texts, wrong categories and repeated ids are told together."""
    principle = "{id: a, text: t, category: honesty, critique: c, revision: r}"
    (tmp_path / "mine.yaml").write_text(f"principles: [{principle}, {principle}, {{id: b, category: mood, tone: x}}]\n")
    with pytest.raises(Refusal) as refused:
        load_constitution("mine.yaml", tmp_path)
    for fault in ("version: missing", "id 'a' stands twice", "[2].tone: unknown", "[2].text: missing", "'mood'"):
        assert fault in refused.value.reason
