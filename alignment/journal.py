"""An append-only JSONL file of finished work, from which an interrupted run goes on.

A kill at any moment leaves whole lines and at most one torn last line, which opening removes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from alignment.provenance import replace_file


class Journal:
    """The rows that are done, and the place for more."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file, and reads its rows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._descriptor, whole)
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in content[:whole].splitlines()]

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows; they are on the disk when this returns."""
        added = [dict(row) for row in rows]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in added).encode()
        while content:
            content = content[os.write(self._descriptor, content) :]
        os.fsync(self._descriptor)
        self.rows += added

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)


def go_on_with(folder: Path, plan: Mapping[str, Any]) -> bool:
    """Makes sure that what lies in a run's folder was made by the same plan; what another plan made is set aside.

    Args:
        plan: everything that the rows depend on: settings, seed and the hashes of the inputs.

    Returns:
        Whether an earlier attempt worked by the same plan.
    """
    path = folder / "plan.json"
    text = json.dumps(plan, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return True
    for stale in sorted(folder.glob("*.jsonl")):
        os.replace(stale, stale.with_suffix(".superseded"))
    replace_file(path, text)
    return False
