"""Walks an artifact back to the base model: `python -m handlers.lineage WORKSPACE PATH`, which is `cai lineage PATH`.

Ends with 1 where something on the way is missing or has changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alignment.lineage import render, trace


def main(workspace: Path, path: Path) -> int:
    """Prints the tree behind an artifact."""
    root = trace(path if path.is_absolute() or path.exists() else workspace / path, workspace)
    print(render(root))
    return int(any(link.problems for link in root.walk()))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
