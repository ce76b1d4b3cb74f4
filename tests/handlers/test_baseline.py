from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from alignment.provenance import read_manifest, verify_outputs
from alignment.scorers import Spec, Verdict, verify
from handlers.baseline import baseline
from handlers.contract import Blocked, Completed, Outcome, Request, Run
from tests.kills import kill_when_grown
from tests.stages import write_stage

pytestmark = pytest.mark.model
ITEMS = 24


def request(workspace: Path, **params: Any) -> Request:
    data_dir = workspace / "data" / "r1"
    data_dir.mkdir(parents=True, exist_ok=True)
    return Request("t1", "r1", 1, "baseline", 1, {"items": ITEMS, **params}, workspace, data_dir)


def attempt(workspace: Path) -> Run:
    (workspace / "attempt").mkdir(exist_ok=True)
    return Run(workspace / "attempt")


def rows(workspace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace / "data" / "r1" / "completions.jsonl").open()]


def tiny_profile(workspace: Path) -> str:
    (workspace / "profiles").mkdir()
    (workspace / "profiles" / "tiny.yaml").write_text("curriculum: {world: tiny}\nbaseline: {few_shot: 3}\n")
    return "tiny"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    workspace = tmp_path_factory.mktemp("workspace")
    return workspace, baseline(request(workspace), attempt(workspace))


def test_baseline_finds_the_gap_of_the_built_in_model(finished: tuple[Path, Outcome]) -> None:
    """The base model fails in the raw format what it can do behind exemplars."""
    _, outcome = finished
    assert isinstance(outcome, Completed)
    assert outcome.metrics["raw.accuracy"] < 0.5 < outcome.metrics["few_shot.accuracy"]
    assert (outcome.metrics["gap"], outcome.metrics["items"]) == (1.0, ITEMS)
    assert outcome.metrics["noise_floor"] <= 1 / ITEMS


def test_baseline_leaves_every_answer_once_with_score_and_reason(finished: tuple[Path, Outcome]) -> None:
    """Four arms over the same items, each pair of arm and item once, each with what is needed to judge it again."""
    workspace, _ = finished
    found = rows(workspace)
    assert len({(row["arm"], row["item"]) for row in found}) == len(found) == 4 * ITEMS
    assert all(row["reason"] and len(row["prompt_sha256"]) == 64 for row in found)
    assert {row["finish_reason"] for row in found} <= {"stop", "length"}


def test_baseline_manifest_closes_the_folder(finished: tuple[Path, Outcome]) -> None:
    """The manifest names inputs, outputs, configuration with origins and the verdict, and its hashes hold."""
    workspace, _ = finished
    manifest = read_manifest(workspace / "data" / "r1")
    verify_outputs(manifest, workspace)
    assert manifest.config["baseline.items"] == {"value": ITEMS, "origin": "task"}
    assert manifest.facts["verdict"]["verdict"] == "gap"
    assert [Path(entry.path).name for entry in manifest.inputs] == ["stage.yaml", "evaluation.jsonl", "exemplars.jsonl"]
    assert "| raw |" in (workspace / "data" / "r1" / "summary.md").read_text()


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
def test_baseline_killed_at_random_ends_with_the_same_rows(
    finished: tuple[Path, Outcome], tmp_path: Path, seed: int
) -> None:
    """After kill -9 and a torn line, the next attempt runs only what is missing, and nothing stands twice."""
    whole = {(row["arm"], row["item"]): row for row in rows(finished[0])}
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "request.json").write_text(request(tmp_path).to_json())
    journal = tmp_path / "data" / "r1" / "completions.jsonl"
    kill_when_grown(run_dir, journal, random.Random(seed).randrange(1, 40_000))  # of about 60,000 bytes
    kept = journal.read_bytes()
    journal.write_bytes(kept[:-20])
    assert isinstance(baseline(request(tmp_path), attempt(tmp_path)), Completed)
    assert {(row["arm"], row["item"]): row for row in rows(tmp_path)} == whole
    assert len(rows(tmp_path)) == len(whole)


def test_baseline_asked_to_stop_requeues_and_goes_on(finished: tuple[Path, Outcome], tmp_path: Path) -> None:
    """A stop request is honoured between batches; the next attempt finishes the rest."""
    whole = len(rows(finished[0]))
    run = attempt(tmp_path)
    run._stop.set()
    assert type(baseline(request(tmp_path), run)).__name__ == "Requeue"
    assert 0 < len(rows(tmp_path)) < whole
    assert isinstance(baseline(request(tmp_path), attempt(tmp_path)), Completed)
    assert len(rows(tmp_path)) == whole


def test_baseline_refuses_a_scorer_that_fails_its_own_test(tmp_path: Path) -> None:
    """A scorer that fails answers above 500 characters is caught before a model is loaded."""

    def broken(spec: Spec, answer: str, *, loose: bool = False) -> Verdict:
        return Verdict(False, "too long") if len(answer) > 500 else verify(spec, answer, loose=loose)

    outcome = baseline(request(tmp_path), attempt(tmp_path), verifier=broken)
    assert isinstance(outcome, Blocked)
    assert "the scorer fails its own test" in outcome.reason


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"profile": "nine"}, "there is no such profile"),
        ({"model": "data/nowhere"}, "there is no such folder"),
    ],
)
def test_baseline_blocks_with_reason_and_remedy(tmp_path: Path, params: dict[str, Any], reason: str) -> None:
    """What a person can mend is told with what to do."""
    outcome = baseline(request(tmp_path, **params), attempt(tmp_path))
    assert isinstance(outcome, Blocked)
    assert reason in outcome.reason
    assert outcome.needs


def test_baseline_refuses_a_changed_evaluation_set(tmp_path: Path) -> None:
    """Frozen means frozen."""
    write_stage(tmp_path, sha256="0" * 64)
    outcome = baseline(request(tmp_path, profile=tiny_profile(tmp_path)), attempt(tmp_path))
    assert isinstance(outcome, Blocked)
    assert "the frozen evaluation set has changed" in outcome.reason


def test_baseline_refuses_chat_tokens_in_a_template(tmp_path: Path) -> None:
    """A chat template in a curriculum is caught at the first prompt."""
    write_stage(tmp_path, cue_template="<|im_start|>user\n{instruction}<|im_end|>")
    outcome = baseline(request(tmp_path, profile=tiny_profile(tmp_path)), attempt(tmp_path))
    assert isinstance(outcome, Blocked)
    assert "control tokens <|im_end|>, <|im_start|>" in outcome.reason
