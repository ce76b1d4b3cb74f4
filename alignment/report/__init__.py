"""The report: one HTML file with everything that a workspace's runs have measured, readable without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alignment.provenance import replace_file
from alignment.refusal import Refusal
from alignment.report.gather import gather
from alignment.report.page import render_page

__all__ = ["write_report"]


def write_report(workspace: Path, output: Path, usd_per_hour: Mapping[str, float] | None = None) -> Path:
    """Writes the report of a workspace.

    Args:
        workspace: its data/ holds the runs.
        output: the file to replace.
        usd_per_hour: what the machine of a run cost, by run id.

    Raises:
        Refusal: no run of the workspace is complete.
    """
    stages = gather(workspace, usd_per_hour or {})
    if not stages:
        raise Refusal(f"{workspace / 'data'}: no completed run to report on", "run a stage first: cai plan --stage 1")
    replace_file(output, render_page(stages))
    return output
