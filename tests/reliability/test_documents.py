"""The proofs that the documents name are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def _tests() -> set[str]:
    """Names every module of tests and every test in it."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {path.stem} | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("name", ["docs/security.md", "scripts/reliability_table.py"])
def test_each_proof_that_is_named_is_there(name: str) -> None:
    """A test that was renamed or removed takes its claim with it."""
    named = set(re.findall(r"\btest_\w+", (ROOT / name).read_text(encoding="utf-8")))
    assert len(named) > 10
    assert named - _tests() == set()
