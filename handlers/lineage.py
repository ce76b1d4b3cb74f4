"""Walks an artifact back to the base model: `python -m handlers.lineage WORKSPACE PATH`.

Exits with 1 where a link is missing or has changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alignment.lineage import render, trace


def main(workspace: Path, path: Path) -> int:
    """Prints the tree."""
    link = trace(path if path.exists() else workspace / path, workspace)
    print(render(link))
    return int(any(found.problems for found in link.walk()))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2])))
