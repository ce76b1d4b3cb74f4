"""Writes a workspace's report: `python -m handlers.report WORKSPACE`."""

from __future__ import annotations

import sys
from pathlib import Path

from alignment.refusal import Refusal
from alignment.report import write_report
from handlers.contract import REQUEST, Request

REPORT = "report.html"


def prices(workspace: Path) -> dict[str, float]:
    """Reads what the machine of each run cost, in USD an hour, from the requests that the runs were given."""
    requests = (
        Request.from_json(path.read_text(encoding="utf-8"))
        for path in sorted((workspace / "state" / "runs").glob(f"*/**/{REQUEST}"))
    )
    return {request.run_id: request.usd_per_hour for request in requests}


def main(workspace: Path) -> int:
    """Writes the report and says where it is."""
    try:
        print(write_report(workspace, workspace / "data" / REPORT, prices(workspace)))
    except Refusal as refusal:
        print(f"{refusal.reason}\n{refusal.needs}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve()))
