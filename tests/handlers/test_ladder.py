"""Stages after stages: what a saturated one leaves out, what a failed gate does by itself, what a rejection leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from alignment.checkpoint import MODEL
from alignment.locations import INSTALLATION
from alignment.report.gather import RunFacts, StageFacts
from alignment.report.ladder import as_markdown, principles_as_markdown, rungs_of, transcripts
from alignment.training.rows import with_replay
from handlers.baseline import baseline
from handlers.contract import Completed, Request
from handlers.evaluate import evaluate
from handlers.generate import generate
from handlers.inputs import named_model
from handlers.ladder import main
from handlers.train import train
from tests.handlers.lab import attempt, events, given, request, write_profile

# ---------------------------------------------------------------- saturated stages


@pytest.fixture
def saturated(tmp_path: Path) -> Path:
    """A workspace whose baseline found nothing to teach: from 0 % on, its profile says, there is nothing."""
    write_profile(tmp_path)
    profile = tmp_path / "profiles" / "lab.yaml"
    raw = yaml.safe_load(profile.read_text())
    profile.write_text(yaml.safe_dump({**raw, "baseline": {**raw["baseline"], "saturation": 0.0}}))
    measured = baseline(request(tmp_path, "baseline", "baseline", [], items=12), attempt(tmp_path))
    assert isinstance(measured, Completed), measured
    assert measured.metrics["saturated"] == 1
    return tmp_path


@pytest.mark.model
def test_saturated_stage_is_walked_through_without_training(saturated: Path) -> None:
    """Generate and train are done at once and say so, evaluate's verdict is saturated, and nobody is asked."""
    found = [given(saturated, "baseline", "baseline")]
    for handler, run_id in ((generate, "generated"), (train, "trained")):
        outcome = handler(request(saturated, handler.__name__, run_id, found), attempt(saturated))
        assert outcome == Completed({"skipped": 1.0})
        assert list((saturated / "data" / run_id).iterdir()) == []
        found.insert(0, given(saturated, handler.__name__, run_id))
    said = [event["note"] for event in events(saturated) if event["type"] == "progressed"]
    assert "skipped, stage 1 is saturated" in said[-1]
    outcome = evaluate(request(saturated, "evaluate", "evaluated", found), attempt(saturated))
    assert isinstance(outcome, Completed)
    assert (outcome.metrics["saturated"], outcome.metrics["lift"]) == (1, 0)
    assert outcome.metrics.get("next_round") is None


def test_model_of_an_earlier_stage_stays_the_model(tmp_path: Path) -> None:
    """Behind a stage that trained nothing the nearest model is that of the stage before it."""
    runs = [("evaluate", "e2", 2), ("train", "t2", 2), ("generate", "g2", 2), ("evaluate", "e1", 1), ("train", "t1", 1)]
    for _, run_id, _ in runs:
        (tmp_path / "data" / run_id).mkdir(parents=True)
    (tmp_path / "data" / "t1" / MODEL).write_text("{}")
    inputs = tuple(given(tmp_path, handler, run_id, stage) for handler, run_id, stage in runs)
    asked = Request("20260105_090000_P1_x", "x", 1, "generate", 3, {}, tmp_path, tmp_path / "data" / "x", inputs)
    assert named_model(asked) == tmp_path / "data" / "t1"


def test_replay_draws_from_every_earlier_stage() -> None:
    """Six stages of 40 rows: stage 6 is trained on its own 40 and on 40 of the 200 before, of each stage some."""
    rows = [{"id": f"{stage}.{n}", "stage": stage} for stage in range(1, 7) for n in range(40)]
    drawn = with_replay([*rows, *rows], 6, 1.0, seed=0)
    by_stage = [sum(row["stage"] == stage for row in drawn) for stage in range(1, 7)]
    assert by_stage[5] == 40
    assert sum(by_stage[:5]) == 40
    assert min(by_stage) > 0
    assert with_replay(rows, 1, 1.0, seed=0) == rows[:40]


# ---------------------------------------------------------------- the table


def arm(accuracy: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.01}


def answer(arm: str, item: str, text: str, strict: bool) -> dict[str, Any]:
    return {"arm": arm, "item": item, "type": item[:-1], "instruction": item, "completion": text, "strict": strict}


def stage(number: int, base: dict[str, Any], evaluation: dict[str, Any] | None, **more: Any) -> StageFacts:
    runs: tuple[RunFacts, ...] = ()
    return StageFacts(number, runs, base, more.pop("funnel", None), (), evaluation, ({},), (), "", **more)


def two_stages() -> list[StageFacts]:
    """Stage 1 went from 20 to 98 %; stage 2, with red-team items, from 100 % violations to 1 %."""
    records = {
        "kind": {"drawn": 9, "broken": 4, "won": 3, "kept": 2},
        "thrift": {"drawn": 9, "broken": 0, "won": 0, "kept": 0},
    }
    sides = {"violations": 1.0, "over_refusal": 0.0}
    first = stage(
        1,
        {"arms": {"raw": arm(0.2)}},
        {"arms": {"trained": arm(0.98)}, "verdict": {"verdict": "passed"}},
        raw=(answer("raw", "tell1", "er", False), answer("raw", "tell2", "er", False)),
    )
    second = stage(
        2,
        {"arms": {"raw": arm(0.5), "previous": arm(0.45)}, "measured": {"raw": sides, "previous": sides}},
        {
            "arms": {"trained": arm(0.99), "stage1": arm(0.97)},
            "verdict": {"verdict": "passed"},
            "measured": {"trained": {"violations": 0.01, "over_refusal": 0.02}},
        },
        funnel={"principles": records},
        raw=(answer("raw", "secret1", "42", False),),
        final=(answer("trained", "secret1", "No.", True), answer("stage1", "tell1", "I do.", True)),
    )
    return [first, second]


def test_ladder_has_a_rung_for_every_model() -> None:
    """Each rung: its own stage, the earlier ones asked again, and what it could do of the next one before that was taught."""
    base, one, two = rungs_of(two_stages())
    assert {k: v["accuracy"] for k, v in base.arms.items()} == {1: 0.2, 2: 0.5}
    assert {k: v["accuracy"] for k, v in one.arms.items()} == {1: 0.98, 2: 0.45}
    assert {k: v["accuracy"] for k, v in two.arms.items()} == {1: 0.97, 2: 0.99}
    assert [rung.sides.get("violations") for rung in (base, one, two)] == [1.0, 1.0, 0.01]
    table = as_markdown([base, one, two])
    assert "99.0 [97.0, 100.0]" in table
    assert len({len(line) for line in table.splitlines()}) == 1


def test_dead_letters_of_a_constitution_are_told() -> None:
    """A principle that never won a revision stands out."""
    lines = principles_as_markdown(two_stages()).splitlines()
    assert lines[1].split() == ["kind", "9", "4", "3", "2"]
    assert lines[2].endswith("never won")


def test_transcripts_set_base_and_final_model_side_by_side() -> None:
    """One item of a type, of every stage, where the final model has answered it too."""
    shown = transcripts(two_stages())
    assert [(x.instruction, x.before, x.after) for x in shown] == [("tell1", "er", "I do."), ("secret1", "42", "No.")]


def test_ladder_of_an_empty_workspace_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has run: the command says so and fails."""
    assert main(tmp_path) == 1
    assert "cai plan" in capsys.readouterr().err


# ---------------------------------------------------------------- with the queue and the real model


def cai(workspace: Path, *arguments: str) -> str:
    """Runs a command on a workspace."""
    command = [sys.executable, "-P", "-m", "daemon.cli", "-w", str(workspace), *arguments]
    done = subprocess.run(command, cwd=INSTALLATION, capture_output=True, text=True, timeout=900, check=False)
    return done.stdout + done.stderr


def planned(workspace: Path, *more: str, **sections: dict[str, Any]) -> Path:
    """Makes a workspace with a plan of stage 1 that asks for far too little data."""
    cai(workspace, "init", str(workspace))
    raw = yaml.safe_load((INSTALLATION / "profiles" / "micro.yaml").read_text())
    small: dict[str, dict[str, Any]] = {
        "generate": {"instructions": 24, "least_rows": 10, "list_prompts": 16},
        "baseline": {"items": 140},
    }
    for name, section in (*small.items(), *sections.items()):
        raw[name] = {**raw.get(name, {}), **section}
    (workspace / "profiles").mkdir(exist_ok=True)
    (workspace / "profiles" / "lab.yaml").write_text(yaml.safe_dump(raw))
    said = cai(workspace, "plan", "--stage", "1", "--profile", "lab", *more)
    assert "stage1_round1_evaluate" in said, said
    return workspace


def names(folder: Path) -> Sequence[str]:
    return sorted(path.name.partition("_P1_")[2].removesuffix(".md") for path in folder.glob("*.md"))


def verdicts(workspace: Path) -> dict[str, str]:
    """Reads the verdict of each evaluation."""
    return {
        path.parent.name.partition("_P1_")[2]: json.loads(path.read_text())["verdict"]["verdict"]
        for path in sorted((workspace / "data").glob("*evaluate.*/figures.json"))
    }


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(900)
def test_gate_that_fails_for_too_little_data_passes_in_a_second_round(tmp_path: Path) -> None:
    """24 instructions are too few; the evaluation calls for as many more, and the model made of both passes."""
    workspace = planned(tmp_path / "w", "--rounds", "2")
    said = cai(workspace, "once")
    assert verdicts(workspace) == {"stage1_round1_evaluate.1": "failed", "stage1_round2_evaluate.1": "passed"}, said
    assert "stage1_round2_generate" in names(workspace / "tasks" / "completed")
    assert names(workspace / "tasks" / "pending") == names(workspace / "tasks" / "blocked") == []
    assert main(workspace) == 0


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(900)
def test_stage_out_of_rounds_is_blocked_with_its_evidence(tmp_path: Path) -> None:
    """Without a round left the stage is blocked, and the task file says by how much the gate was missed."""
    workspace = planned(tmp_path / "w", "--rounds", "1")
    cai(workspace, "once")
    assert names(workspace / "tasks" / "blocked") == ["stage1_round1_evaluate"]
    text = next((workspace / "tasks" / "blocked").glob("*.md")).read_text()
    assert "no round of 1 is left" in text
    assert "accuracy is 0." in text
    assert main(workspace) == 1


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(900)
def test_rejected_training_leaves_nothing_half_done(tmp_path: Path) -> None:
    """The reviewer says no: the training is blocked, its folder never came to be, and what depends on it waits and says why."""
    workspace = planned(tmp_path / "w", plan={"review_training": "method"})
    cai(workspace, "once")
    assert names(workspace / "tasks" / "completed") == ["stage1_baseline", "stage1_round1_generate"]
    training = next((workspace / "tasks" / "pending").glob("*train1_sft.md")).stem
    cai(workspace, "review", "reject", training, "--comment", "the rows are too few")
    cai(workspace, "once")
    assert names(workspace / "tasks" / "blocked") == ["stage1_round1_train1_sft"]
    assert names(workspace / "tasks" / "pending") == ["stage1_round1_evaluate"]
    assert not list((workspace / "data").glob("*train*"))
    assert "blocked" in cai(workspace, "status")
