"""Evaluation, as the queue asks for it, on the built-in model."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from alignment.lineage import trace
from alignment.provenance import read_manifest, verify_outputs
from alignment.scorers import Spec, Verdict, verify
from handlers.baseline import baseline
from handlers.contract import Blocked, Completed, Input, Outcome, Requeue
from handlers.evaluate import evaluate
from handlers.train import train
from tests.handlers.lab import attempt, events, given, request, rows, stage_one, write_profile, write_rows
from tests.kills import kill_when_grown

pytestmark = pytest.mark.model
ITEMS = 24


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished baseline, and a model trained on the exemplars."""
    workspace = tmp_path_factory.mktemp("workspace")
    write_profile(workspace)
    write_rows(workspace, rows(stage_one(workspace)))
    measured = baseline(request(workspace, "baseline", "baseline", [], items=ITEMS), attempt(workspace))
    assert isinstance(measured, Completed), measured
    inputs = [given(workspace, "generate", "generated"), given(workspace, "baseline", "baseline")]
    assert isinstance(train(request(workspace, "train", "trained", inputs), attempt(workspace)), Completed)
    return workspace


@pytest.fixture(scope="module")
def finished(trained: Path) -> tuple[Path, Outcome]:
    return trained, run_evaluate(trained, rounds=2)


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    copy = tmp_path / "workspace"
    shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("evaluated", "attempt"))
    return copy


def inputs(workspace: Path) -> list[Input]:
    return [given(workspace, kind, run_id) for kind, run_id in (("train", "trained"), ("baseline", "baseline"))]


def run_evaluate(workspace: Path, behind: Sequence[Input] | None = None, **params: Any) -> Outcome:
    found = inputs(workspace) if behind is None else behind
    return evaluate(request(workspace, "evaluate", "evaluated", found, **params), attempt(workspace))


def answers(workspace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace / "data" / "evaluated" / "completions.jsonl").open()]


def test_evaluate_measures_the_lift_on_the_baselines_items(finished: tuple[Path, Outcome]) -> None:
    """The same items, paired, in the raw format: the trained model gains beyond chance."""
    workspace, outcome = finished
    assert isinstance(outcome, Completed), outcome
    asked = [json.loads(line) for line in (workspace / "data" / "baseline" / "completions.jsonl").open()]
    assert {row["item"] for row in answers(workspace)} == {row["item"] for row in asked}
    assert len(answers(workspace)) == outcome.metrics["items"] == ITEMS
    assert outcome.metrics["lift.low"] > 0.2
    assert outcome.metrics["mcnemar_p"] < 0.01
    assert outcome.metrics["accuracy.low"] < outcome.metrics["accuracy"]
    assert sum(outcome.metrics[name] for name in ("passed", "failed", "saturated", "inconclusive")) == 1


def test_evaluate_leaves_figures_and_a_manifest(finished: tuple[Path, Outcome]) -> None:
    """Figures of every arm and comparison stand in one file; the manifest leads back to the base model."""
    folder = finished[0] / "data" / "evaluated"
    verify_outputs(read_manifest(folder), finished[0])
    figures = json.loads((folder / "figures.json").read_text())
    assert set(figures["compared"]) == {"raw"}
    assert set(figures["untrained"]) == {"raw", "raw_again", "cue", "few_shot"}
    assert set(figures["compared"]["raw"]["by_type"]) == set(figures["arms"]["trained"]["by_type"])
    kinds = {link.kind for link in trace(folder, finished[0], verify=False).walk()}
    assert kinds >= {"evaluate", "train", "baseline", "base model"}
    assert "| raw |" in (folder / "summary.md").read_text()


def test_evaluate_asked_to_stop_goes_on_with_what_is_missing(finished: tuple[Path, Outcome], workspace: Path) -> None:
    """No item is answered twice over a stop, and a torn last line is answered again."""
    write_profile(workspace)
    profile = workspace / "profiles" / "lab.yaml"
    profile.write_text(profile.read_text() + "evaluate: {chunk_items: 8}\n")
    run = attempt(workspace)
    run._stop.set()
    asked = request(workspace, "evaluate", "evaluated", inputs(workspace), rounds=2)
    assert isinstance(evaluate(asked, run), Requeue)
    assert len(answers(workspace)) == 8
    journal = workspace / "data" / "evaluated" / "completions.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    assert isinstance(run_evaluate(workspace, rounds=2), Completed)
    found = {row["item"]: row["completion"] for row in answers(workspace)}
    assert len(answers(workspace)) == ITEMS
    assert found == {row["item"]: row["completion"] for row in answers(finished[0])}


def test_evaluate_failed_proposes_the_next_round(workspace: Path) -> None:
    """A gate that is not reached, with a round left: generate, train, evaluate, each after the one before."""
    outcome = run_evaluate(workspace, rounds=3, round=2, model="microworld/weights", seed=5)
    assert isinstance(outcome, Completed)
    assert (outcome.metrics["failed"], outcome.metrics["next_round"]) == (1, 1)
    proposed = {event["name"]: event["text"] for event in events(workspace) if event["type"] == "proposed"}
    names = [f"20260105_090001_P1_stage1_round3_{kind}" for kind in ("generate", "train1_sft", "evaluate")]
    assert list(proposed) == [f"{name}.md" for name in names]
    for text, after in zip(proposed.values(), ["20260105_090001_P1_evaluated", *names], strict=False):
        assert f'depends_on: ["{after}"]' in text
    assert '"seed": 7' in proposed[f"{names[0]}.md"]
    assert '"round": 3, "rounds": 3' in proposed[f"{names[2]}.md"]


def test_evaluate_failed_without_rounds_is_blocked(workspace: Path) -> None:
    """Out of rounds, the stage is blocked with its evidence."""
    outcome = run_evaluate(workspace, model="microworld/weights")
    assert isinstance(outcome, Blocked)
    assert "no round of 1 is left" in outcome.reason
    assert "the gate asks for at least" in outcome.reason
    assert outcome.metrics["failed"] == 1


def test_evaluate_refuses_a_scorer_that_fails_its_own_test(workspace: Path) -> None:
    """A scorer that fails answers above a length is caught before a model is loaded."""

    def broken(spec: Spec, answer: str, *, loose: bool = False) -> Verdict:
        return Verdict(False, "too long") if len(answer) > 500 else verify(spec, answer, loose=loose)

    asked = request(workspace, "evaluate", "evaluated", inputs(workspace))
    outcome = evaluate(asked, attempt(workspace), verifier=broken)
    assert isinstance(outcome, Blocked)
    assert "fails its own test" in outcome.reason


def change_completions(workspace: Path) -> None:
    path = workspace / "data" / "baseline" / "completions.jsonl"
    path.write_text(path.read_text().replace('"strict": false', '"strict": true', 1))


@pytest.mark.parametrize(
    ("spoil", "without", "reason"),
    [
        (lambda _: None, "train", "no model to evaluate"),
        (lambda _: None, "baseline", "stage 1 has no baseline"),
        (change_completions, "", "completions.jsonl: sha256 is"),
        (lambda w: shutil.rmtree(w / "data" / "trained" / "adapter"), "", "there is no such folder"),
    ],
)
def test_evaluate_blocks_with_reason_and_remedy(
    spoil: Callable[[Path], None], without: str, reason: str, workspace: Path
) -> None:
    """What a person can mend is told with what to do."""
    spoil(workspace)
    outcome = run_evaluate(workspace, [entry for entry in inputs(workspace) if entry.handler != without])
    assert isinstance(outcome, Blocked)
    assert reason in outcome.reason
    assert outcome.needs


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
def test_evaluate_killed_at_random_ends_with_the_same_rows(
    finished: tuple[Path, Outcome], workspace: Path, tmp_path: Path, seed: int
) -> None:
    """After kill -9 and a torn line, the next attempt asks only the missing items, and none stands twice."""
    journal = "data/evaluated/completions.jsonl"
    whole = {row["item"]: row for row in map(json.loads, (finished[0] / journal).read_bytes().splitlines())}
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    asked = request(workspace, "evaluate", "evaluated", inputs(workspace), rounds=2)
    (run_dir / "request.json").write_text(asked.to_json())
    asked.data_dir.mkdir(parents=True, exist_ok=True)
    size = (finished[0] / journal).stat().st_size
    kill_when_grown(run_dir, workspace / journal, random.Random(seed).randrange(1, size))
    kept = (workspace / journal).read_bytes()
    (workspace / journal).write_bytes(kept[:-20])
    assert isinstance(run_evaluate(workspace, rounds=2), type(finished[1]))
    rows_now = [json.loads(line) for line in (workspace / journal).read_bytes().splitlines()]
    assert {row["item"]: row for row in rows_now} == whole
    assert len(rows_now) == len(whole)
