"""Keeps the figures of the last run of each proof, from which scripts/reliability_table.py writes docs/reliability.md."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parent.parent.parent / "build" / "reliability.json"


def _daemon() -> str:
    """Names what was tested: the tree of daemon/ as git knows it, with a + where it has changes that are not committed."""
    git = ["git", "-C", str(PATH.parent.parent)]
    tree, changes = (
        subprocess.run([*git, *told], capture_output=True, text=True, check=False).stdout.strip()
        for told in (["rev-parse", "--short", "HEAD:daemon"], ["status", "--porcelain", "--", ":/daemon"])
    )
    return tree + ("+" if changes else "")


def note(section: str, name: str, figures: Mapping[str, Any]) -> None:
    """Notes the figures of one proof in place of those of an earlier run; several processes may do so at once."""
    PATH.parent.mkdir(exist_ok=True)
    with open(PATH, "a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        noted = json.loads(stream.read() or "{}")
        noted.setdefault(section, {})[name] = {**figures, "daemon/": _daemon()}
        stream.truncate(0)
        stream.write(json.dumps(noted, indent=1, ensure_ascii=False) + "\n")
