"""Where things lie: a workspace's own files come first, then those that the project ships."""

from __future__ import annotations

import os
from pathlib import Path

INSTALLATION = Path(__file__).resolve().parent.parent


def locate(name: str | Path, workspace: Path) -> Path | None:
    """Finds a file or folder by its path relative to the workspace, or else to the installation's root."""
    for root in (workspace, INSTALLATION):
        path = root / name
        if path.exists():
            return path
    return None


def displayed(path: Path, workspace: Path) -> str:
    """Names a path as manifests and messages do: relative to the workspace or the installation where it lies in one."""
    for root in (workspace, INSTALLATION):
        if path.is_relative_to(root):
            return os.fspath(path.relative_to(root))
    return os.fspath(path)
