"""Prints a workspace's ladder: `python -m handlers.ladder WORKSPACE`; 1 where a stage's gate is not passed.

A saturated stage counts as passed: there was nothing to teach.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alignment.report.gather import gather
from alignment.report.ladder import as_markdown, principles_as_markdown, rungs_of
from handlers.report import prices


def main(workspace: Path) -> int:
    """Prints the table."""
    stages = gather(workspace, prices(workspace))
    if not stages:
        print(f"{workspace / 'data'}: no completed run yet; start with cai plan --stages 1-6", file=sys.stderr)
        return 1
    rungs = rungs_of(stages)
    print("Accuracy in % on held-out items, raw format, greedy; brackets are 95 % intervals.\n")
    print(as_markdown(rungs))
    if principles := principles_as_markdown(stages):
        print(f"\n{principles}")
    print(f"\n{sum(rung.seconds for rung in rungs):.0f} s, {sum(rung.usd for rung in rungs):.2f} USD")
    passed = {rung.stage for rung in rungs if rung.verdict in ("passed", "saturated")}
    return int(passed != {stage.number for stage in stages})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve()))
