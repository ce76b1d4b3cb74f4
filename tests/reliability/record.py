"""Keeps the figures of the last full run, from which scripts/reliability_table.py writes docs/reliability.md."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parent.parent.parent / "docs" / "reliability.json"


def note(section: str, name: str, figures: Any) -> None:
    """Notes the figures of one proof in place of those of an earlier run; several processes may do so at once."""
    PATH.parent.mkdir(exist_ok=True)
    with open(PATH, "a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        noted = json.loads(stream.read() or "{}")
        noted.setdefault(section, {})[name] = figures
        stream.truncate(0)
        stream.write(json.dumps(noted, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
