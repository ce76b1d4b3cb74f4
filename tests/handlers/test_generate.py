from __future__ import annotations

import ast
import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from alignment.curriculum import all_stages
from alignment.locations import INSTALLATION
from alignment.overlap import words_of
from alignment.provenance import read_manifest, verify_outputs
from handlers.contract import Blocked, Completed, Input, Outcome, Request, Run
from handlers.generate import generate
from tests.kills import kill_when_grown

PROFILE = """
curriculum: {world: micro, constitution: curricula/micro/constitution.yaml}
generate: {instructions: 24, candidates: 2, list_prompts: 8, list_tokens: 96, exemplar_sets: 2, least_rows: 5, chunk: 32}
"""
LEFT = ("sft.jsonl", "pairs.jsonl", "pool.jsonl")


def request(workspace: Path, profile: str = PROFILE, **changes: Any) -> Request:
    (workspace / "profiles").mkdir(exist_ok=True)
    (workspace / "profiles" / "small.yaml").write_text(profile)
    data_dir = workspace / "data" / "r1"
    data_dir.mkdir(parents=True, exist_ok=True)
    fields = {"stage": 1, "params": {"profile": "small"}, **changes}
    return Request("t1", "r1", 1, "generate", workspace=workspace, data_dir=data_dir, **fields)


def attempt(workspace: Path) -> Run:
    (workspace / "attempt").mkdir(exist_ok=True)
    return Run(workspace / "attempt")


def rows(workspace: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace / "data" / "r1" / name).open()]


def _without_margins(row: dict[str, Any]) -> dict[str, Any]:
    """Margins may differ in their last digits, for a resumed run batches what is left in another way."""
    source = {key: value for key, value in row.get("source", {}).items() if key != "margin"}
    return {**{key: value for key, value in row.items() if key != "margin"}, "source": source}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    workspace = tmp_path_factory.mktemp("workspace")
    return workspace, generate(request(workspace), attempt(workspace))


@pytest.mark.model
def test_generate_leaves_rows_in_the_raw_format(finished: tuple[Path, Outcome]) -> None:
    """Most instructions come through; prompts are the raw format, completions are bare answers, ids are unique."""
    workspace, outcome = finished
    assert isinstance(outcome, Completed)
    assert outcome.metrics["accepted"] >= 12
    assert outcome.metrics["critic.auc"] > 0.9
    sft, pairs = rows(workspace, "sft.jsonl"), rows(workspace, "pairs.jsonl")
    assert all(
        row["prompt"] == row["instruction"] + "\n" and row["completion"] == row["completion"].strip() for row in sft
    )
    assert len({row["id"] for row in sft}) == len(sft) == len({tuple(words_of(row["instruction"])) for row in sft})
    assert all(row["chosen"] != row["rejected"] and row["margin"] > 0 for row in pairs)
    assert all(len(row["source"]["constitution"]) == 64 for row in (*sft, *pairs))
    assert {row["source"]["principle"] for row in (*sft, *pairs)} <= {"privacy", "safety", "respect"}


@pytest.mark.model
def test_generate_leaks_no_item_of_any_stage(finished: tuple[Path, Outcome]) -> None:
    """No training instruction is an evaluation item of any stage, and no answer repeats a long reference."""
    items = [item for stage in all_stages("micro", finished[0]) for item in stage.items]
    instructions = {words_of(item.instruction) for item in items}
    references = {words_of(item.reference) for item in items if len(words_of(item.reference)) >= 4}
    for row in rows(finished[0], "sft.jsonl"):
        assert words_of(row["instruction"]) not in instructions
        assert words_of(row["completion"]) not in references


@pytest.mark.model
def test_generate_funnel_adds_up(finished: tuple[Path, Outcome]) -> None:
    """Each step keeps at most what the step before kept, and what was lost between entries and pool is told by reason."""
    funnel = json.loads((finished[0] / "data" / "r1" / "funnel.json").read_text())
    counts, losses = funnel["counts"], funnel["losses"]
    steps = ["parsed", "valid", "distinct", "clean", "answered", "accepted"]
    assert all(counts[a] >= counts[b] for a, b in itertools.pairwise(steps))
    before_the_pool = ("invalid.", "capped.", "duplicate.", "leaked.")
    lost = sum(count for reason, count in losses.items() if reason.startswith(before_the_pool))
    assert counts["parsed"] - lost == counts["clean"]
    assert {step["name"] for step in funnel["steps"]} == {"lists", "answers", "critic"}
    assert all(step["seconds"] > 0 and step["prompt_tokens"] > 0 for step in funnel["steps"])


@pytest.mark.model
def test_generate_manifest_names_constitution_model_and_every_evaluation_set(finished: tuple[Path, Outcome]) -> None:
    """The rows can be walked back: inputs by hash, the constitution, the base model, the critic's calibration."""
    manifest = read_manifest(finished[0] / "data" / "r1")
    verify_outputs(manifest, finished[0])
    assert sum(entry.path.endswith("evaluation.jsonl") for entry in manifest.inputs) == 6
    assert manifest.constitution_sha256 == rows(finished[0], "sft.jsonl")[0]["source"]["constitution"]
    assert manifest.base_model == "microworld/weights"
    assert manifest.facts["critic"]["auc"] > 0.9


@pytest.mark.model
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
def test_generate_killed_at_random_ends_with_the_same_rows(
    finished: tuple[Path, Outcome], tmp_path: Path, seed: int
) -> None:
    """Kill -9 at random moments, and a torn line: the same row ids with the same texts, none twice."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "request.json").write_text(request(tmp_path).to_json())
    rng = random.Random(seed)
    for name in ("judgements.jsonl", "answers.jsonl"):
        journal = tmp_path / "data" / "r1" / name
        kill_when_grown(run_dir, journal, rng.randrange(1, 30_000))
        with open(journal, "ab") as stream:
            stream.write(b'{"key": "torn')
    assert isinstance(generate(request(tmp_path), attempt(tmp_path)), Completed)
    for name in LEFT:
        mine, theirs = ([_without_margins(row) for row in rows(w, name)] for w in (tmp_path, finished[0]))
        assert mine == theirs


@pytest.mark.model
def test_generate_asked_to_stop_requeues(tmp_path: Path) -> None:
    """A stop request is honoured between chunks, and what was done is in the journal."""
    run = attempt(tmp_path)
    run._stop.set()
    assert type(generate(request(tmp_path), run)).__name__ == "Requeue"
    assert len(rows(tmp_path, "judgements.jsonl")) == 32


@pytest.mark.model
def test_generate_earlier_rounds_are_never_repeated(finished: tuple[Path, Outcome], tmp_path: Path) -> None:
    """A later round with the same seed keeps no instruction that an earlier one kept."""
    earlier = Input("t0", "r0", "generate", 1, finished[0] / "data" / "r1", {}, ())
    assert isinstance(generate(request(tmp_path, inputs=(earlier,)), attempt(tmp_path)), Completed)
    before, after = ({words_of(row["instruction"]) for row in rows(w, "pool.jsonl")} for w in (finished[0], tmp_path))
    assert not before & after


@pytest.mark.model
def test_generate_refuses_a_critic_that_cannot_judge(tmp_path: Path) -> None:
    """A critic that is wrong about the gold answers judges nothing, and nothing is drawn."""
    copied = tmp_path / "curricula" / "micro"
    shutil.copytree(INSTALLATION / "curricula" / "micro", copied)
    gold = copied / "stage1" / "gold.jsonl"
    swapped = [{**row, "good": not row["good"]} for row in map(json.loads, gold.read_text().splitlines())]
    gold.write_text("".join(json.dumps(row) + "\n" for row in swapped))
    outcome = generate(request(tmp_path), attempt(tmp_path))
    assert isinstance(outcome, Blocked)
    assert "the critic's AUC on" in outcome.reason
    assert not (tmp_path / "data" / "r1" / "answers.jsonl").read_text()


@pytest.mark.parametrize(
    ("profile", "stage", "reason"),
    [
        (PROFILE, None, "names no stage"),
        (PROFILE, 9, "there is no such stage"),
        (PROFILE.replace("micro/constitution.yaml", "micro/nothing.yaml"), 1, "there is no such constitution"),
        (PROFILE + "model: {base: nowhere}\n", 1, "there is no such folder"),
        (PROFILE.replace("candidates: 2", "candidates: 0"), 1, "generate.candidates: 0 is less than 1"),
    ],
)
def test_generate_blocks_with_reason_and_remedy(tmp_path: Path, profile: str, stage: int | None, reason: str) -> None:
    """What a person can mend is told before a model is loaded."""
    outcome = generate(request(tmp_path, profile, stage=stage), attempt(tmp_path))
    assert isinstance(outcome, Blocked)
    assert reason in outcome.reason
    assert outcome.needs


def test_generate_refuses_a_constitution_without_principles(tmp_path: Path) -> None:
    """A constitution that says nothing aligns nothing."""
    (tmp_path / "empty.yaml").write_text("version: 1\nprinciples: []\n")
    profile = PROFILE.replace("curricula/micro/constitution.yaml", "empty.yaml")
    outcome = generate(request(tmp_path, profile), attempt(tmp_path))
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "empty.yaml: no principles"


def test_generate_never_meets_a_verifier() -> None:
    """No verifier labels training data: nothing that generate imports, directly or not, imports the scorers."""
    seen, todo = set(), ["handlers.generate"]
    while todo:
        name = todo.pop()
        path = INSTALLATION.joinpath(*name.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in seen or not source.exists():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                todo += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    assert {"alignment.critic", "alignment.engines.padded", "alignment.drawing"} <= seen
    assert not {"alignment.scorers", "alignment.selftest", "alignment.assessment"} & seen
