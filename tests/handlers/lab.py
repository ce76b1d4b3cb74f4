"""A workspace in which the real handlers run on the built-in model and a few rows, in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from alignment.curriculum import Stage, load_stage, stage_folder
from alignment.locations import INSTALLATION
from handlers.contract import OUTCOME, REQUEST, Input, Outcome, Request, Run, outcome_from_json

TRAIN = {
    "merge": False,
    "batch_tokens": 128,
    "method_epochs": {"sft": 4.0, "dpo": 1.0, "orpo": 1.0, "kto": 1.0, "simpo": 1.0},
}


def stage_one(workspace: Path) -> Stage:
    """Loads the built-in curriculum's first stage."""
    return load_stage(stage_folder("micro", 1, workspace), workspace)


def write_profile(workspace: Path, **train: Any) -> None:
    """Writes profiles/lab.yaml: the micro profile with small batches, and `train`'s own keys."""
    raw = yaml.safe_load((INSTALLATION / "profiles" / "micro.yaml").read_text())
    raw["train"] = {**raw["train"], **TRAIN, **train}
    (workspace / "profiles").mkdir(exist_ok=True)
    (workspace / "profiles" / "lab.yaml").write_text(yaml.safe_dump(raw))


def rows(stage: Stage) -> list[dict[str, Any]]:
    """Makes training rows of the human-written exemplars, in the form of both files."""
    return [
        {
            "id": f"r{number:02d}",
            "stage": stage.number,
            "instruction": exemplar.instruction,
            "prompt": f"{exemplar.instruction}\n",
            "completion": exemplar.response,
            "chosen": exemplar.response,
            "rejected": f"{exemplar.instruction} {exemplar.instruction}",
            "margin": 1.0,
        }
        for number, exemplar in enumerate(stage.exemplars)
    ]


def write_rows(workspace: Path, found: Sequence[dict[str, Any]], run_id: str = "generated") -> None:
    """Leaves the rows as a generate run would."""
    folder = workspace / "data" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("sft", "pairs"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


def given(workspace: Path, handler: str, run_id: str, stage: int = 1) -> Input:
    """Names a dependency's run."""
    return Input(f"20260105_090000_P1_{run_id}", run_id, handler, stage, workspace / "data" / run_id, {}, ())


def request(workspace: Path, handler: str, run_id: str, inputs: Sequence[Input], **params: Any) -> Request:
    """Asks for a run, with everything that it builds on, nearest first."""
    data_dir = workspace / "data" / run_id
    data_dir.mkdir(parents=True, exist_ok=True)
    asked = {"profile": "lab", **params}
    return Request(f"20260105_090001_P1_{run_id}", run_id, 1, handler, 1, asked, workspace, data_dir, tuple(inputs))


def attempt(workspace: Path) -> Run:
    """Opens a run's voice."""
    (workspace / "attempt").mkdir(exist_ok=True)
    return Run(workspace / "attempt")


def events(workspace: Path) -> list[dict[str, Any]]:
    """Reads what the runs have said."""
    return [json.loads(line) for line in (workspace / "attempt" / "events.jsonl").open()]


def in_a_process(workspace: Path, asked: Request) -> Outcome:
    """Runs a request as the daemon does, in a process of its own."""
    run_dir = workspace / "runs" / asked.run_id
    run_dir.mkdir(parents=True)
    (run_dir / REQUEST).write_text(asked.to_json())
    subprocess.run([sys.executable, "-m", "handlers", os.fspath(run_dir)], cwd=workspace, check=True)
    return outcome_from_json((run_dir / OUTCOME).read_text())
