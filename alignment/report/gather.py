"""Reads a workspace's completed runs into what the page shows: stage by stage, from the files that the runs left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from alignment.lineage import render, trace
from alignment.provenance import MANIFEST, Manifest, read_manifest

ORDER = ("baseline", "generate", "train", "evaluate")
EXAMPLES = 12


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One completed run."""

    folder: Path
    manifest: Manifest
    seconds: float
    usd: float
    tokens: int

    @property
    def kind(self) -> str:
        """What the run did."""
        return self.manifest.kind


@dataclass(frozen=True, slots=True)
class Example:
    """One instruction, answered before and after training."""

    type: str
    instruction: str
    before: str
    before_passed: bool
    after: str
    after_passed: bool


@dataclass(frozen=True, slots=True)
class Training:
    """One training run's log: `steps` with the loss, `probes` with the monitors."""

    name: str
    method: str
    rows: int
    steps: list[dict[str, Any]]
    probes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class StageFacts:
    """What is known of a stage. The newest run of a kind counts; what has not run yet is None or empty."""

    number: int
    runs: tuple[RunFacts, ...]  # in the order in which they ended
    baseline: dict[str, Any] | None  # figures.json
    funnel: dict[str, Any] | None
    trainings: tuple[Training, ...]
    evaluation: dict[str, Any] | None  # figures.json
    rounds: tuple[dict[str, Any], ...]  # figures.json of every evaluation
    examples: tuple[Example, ...]
    lineage: str
    raw: tuple[dict[str, Any], ...] = ()  # the base model's answers in the raw format
    final: tuple[dict[str, Any], ...] = ()  # the newest evaluation's answers, to earlier stages' items too


def gather(workspace: Path, usd_per_hour: Mapping[str, float]) -> list[StageFacts]:
    """Reads the completed runs, by stage; folders without a manifest are not complete and are left out."""
    runs = [
        _run(path.parent, usd_per_hour)
        for path in sorted((workspace / "data").glob(f"*/{MANIFEST}"))
        if json.loads(path.read_text(encoding="utf-8")).get("kind") in ORDER
    ]
    stages = sorted({run.manifest.stage for run in runs if run.manifest.stage is not None})
    return [_stage(number, [run for run in runs if run.manifest.stage == number], workspace) for number in stages]


def _run(folder: Path, usd_per_hour: Mapping[str, float]) -> RunFacts:
    manifest = read_manifest(folder)
    started, finished = (datetime.fromisoformat(at) for at in (manifest.started, manifest.finished))
    seconds = (finished - started).total_seconds()
    price = usd_per_hour.get(manifest.run_id, 0.0)
    return RunFacts(folder, manifest, seconds, price * seconds / 3600, _tokens(folder, manifest.kind))


def _tokens(folder: Path, kind: str) -> int:
    """Counts the tokens that the model wrote."""
    if kind == "generate":
        steps = _json(folder / "funnel.json").get("steps", ())
        return sum(step["completion_tokens"] for step in steps)
    if kind in ("baseline", "evaluate"):
        return sum(row["completion_tokens"] for row in _jsonl(folder / "completions.jsonl"))
    return 0


def _stage(number: int, runs: Sequence[RunFacts], workspace: Path) -> StageFacts:
    ordered = sorted(runs, key=lambda run: (run.manifest.finished, ORDER.index(run.kind)))
    newest = {run.kind: run for run in ordered}
    figures = {kind: _json(newest[kind].folder / "figures.json") for kind in ("baseline", "evaluate") if kind in newest}
    last = newest.get("evaluate") or newest.get("train") or ordered[-1]
    return StageFacts(
        number=number,
        runs=tuple(ordered),
        baseline=figures.get("baseline"),
        funnel=_json(newest["generate"].folder / "funnel.json") if "generate" in newest else None,
        trainings=tuple(_training(run) for run in ordered if run.kind == "train"),
        evaluation=figures.get("evaluate"),
        rounds=tuple(_json(run.folder / "figures.json") for run in ordered if run.kind == "evaluate"),
        examples=tuple(_examples(newest)) if {"baseline", "evaluate"} <= newest.keys() else (),
        lineage=render(trace(last.folder, workspace)),
        raw=tuple(_arm(newest["baseline"], "raw")) if "baseline" in newest else (),
        final=tuple(_jsonl(newest["evaluate"].folder / "completions.jsonl")) if "evaluate" in newest else (),
    )


def _training(run: RunFacts) -> Training:
    log = _jsonl(run.folder / "training.jsonl")
    return Training(
        name=run.manifest.run_id,
        method=run.manifest.facts["method"],
        rows=int(run.manifest.facts["metrics"]["rows"]),
        steps=[entry for entry in log if "loss" in entry],
        probes=[{"step": entry["step"], **entry["probe"]} for entry in log if "probe" in entry],
    )


def _examples(newest: Mapping[str, RunFacts]) -> list[Example]:
    """Picks items for the side-by-side view: first those that still fail or were lost, then gains of every type."""
    before = {row["item"]: row for row in _arm(newest["baseline"], "raw")}
    pairs = [(before[row["item"]], row) for row in _arm(newest["evaluate"], "trained") if row["item"] in before]
    bad = [pair for pair in pairs if not pair[1]["strict"]][: EXAMPLES // 3]
    by_type: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for pair in pairs:
        if pair[1]["strict"] and not pair[0]["strict"]:
            by_type.setdefault(pair[1]["type"], []).append(pair)
    gained = [pairs_of[i] for i in range(EXAMPLES) for pairs_of in by_type.values() if i < len(pairs_of)]
    return [
        Example(old["type"], old["instruction"], old["completion"], old["strict"], new["completion"], new["strict"])
        for old, new in (*bad, *gained[: EXAMPLES - len(bad)])
    ]


def _arm(run: RunFacts, name: str) -> list[dict[str, Any]]:
    return [row for row in _jsonl(run.folder / "completions.jsonl") if row["arm"] == name]


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _jsonl(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]
