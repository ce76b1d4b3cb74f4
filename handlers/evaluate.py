"""Judges a trained model on the baseline's frozen items, paired, in the raw format that the stage teaches.

Leaves in data/<run_id>/: completions.jsonl, figures.json, summary.md and, last, manifest.json. Earlier stages whose
evaluations are among the dependencies are asked again, so that what is lost is seen. A failed verdict
with rounds left proposes the next round's tasks.

    python -m handlers state/runs/RUN/attempt-1
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from alignment.assessment import Asked, Row, tally
from alignment.checkpoint import resolve_checkpoint
from alignment.comparison import Verdict, compare, judge
from alignment.curriculum import Item, Stage, load_stage, stage_folder
from alignment.journal import go_on_with
from alignment.locations import displayed
from alignment.measures import measure
from alignment.monitors import Limits, Signs, collapse, signs_of
from alignment.profile import Profile
from alignment.prompts import Arm, raw_prompt
from alignment.provenance import (
    MANIFEST,
    Manifest,
    commit,
    now,
    read_manifest,
    record,
    replace_file,
    sha256_of_model,
    verify_outputs,
    versions,
    write_manifest,
)
from alignment.refusal import Refusal
from alignment.scorers import Verifier, verify
from alignment.selftest import self_test
from alignment.settings import PlanSettings
from handlers.answering import COMPLETIONS, answer
from handlers.contract import Blocked, Completed, Outcome, Request, Requeue, Run
from handlers.findings import TRAINED, metrics_of, summary_of
from handlers.inputs import named_model, refuse_changed_base, stage_and_profile
from handlers.rounds import propose_round


@dataclass(frozen=True, slots=True)
class _Leg:
    """The items of one stage, and the rows of the run that they are compared with."""

    stage: Stage
    arm: Arm
    items: Sequence[Item]
    earlier: Path  # the completions.jsonl of the baseline, or of an earlier stage's evaluation
    against: Mapping[str, Sequence[Row]]  # by arm


def evaluate(request: Request, run: Run, *, verifier: Verifier = verify) -> Outcome:
    """Runs an evaluate task.

    Args:
        verifier: what scores the answers; it is tested before it is used.
    """
    try:
        return _evaluate(request, run, verifier)
    except Refusal as refusal:
        return Blocked(refusal.reason, refusal.needs)


def _evaluate(request: Request, run: Run, verifier: Verifier) -> Outcome:
    started, clock = now(), time.monotonic()
    # Parameters
    number, profile = stage_and_profile(request)
    settings = profile.evaluate
    model = named_model(request)
    runs = _complete_runs(request)
    baseline = _newest(runs, "baseline", number)
    if baseline is None:
        raise Refusal(
            f"stage {number} has no baseline among this task's dependencies",
            "add a completed baseline task of the stage to depends_on",
        )
    if model is None and runs[baseline].facts["verdict"]["verdict"] != "saturated":
        raise Refusal(
            "no model to evaluate: no dependency left one", "add a train task to depends_on, or set params.model"
        )
    checkpoint = resolve_checkpoint(profile.model, request.workspace, model)
    stage = load_stage(stage_folder(profile.curriculum.world, number, request.workspace), request.workspace)
    legs = [_leg(stage, TRAINED, baseline, request.workspace)]
    legs += _regression_legs(profile, request, runs)
    for leg in legs:
        self_test(leg.items, leg.stage.new_turn, verifier)
    base_sha256 = sha256_of_model(checkpoint.base)
    refuse_changed_base(runs[baseline], displayed(checkpoint.base, request.workspace), base_sha256)
    go_on_with(
        request.data_dir,
        {
            "config": profile.resolved(),
            "seed": profile.seed,
            "earlier": [record(leg.earlier, request.workspace).sha256 for leg in legs],
            "base": base_sha256,
            "adapters": [sha256_of_model(path) for path in checkpoint.adapters],
        },
    )

    # Answers
    asked = [(checkpoint, Asked(leg.stage, leg.arm, leg.items, settings.chunk_items)) for leg in legs]
    answered = answer(request, run, profile.engine, asked, verifier)
    if answered is None:
        return Requeue(checkpoint=displayed(request.data_dir / COMPLETIONS, request.workspace))
    rows = answered.rows

    # Figures
    untrained = json.loads((baseline / "figures.json").read_text(encoding="utf-8"))
    gap, floor = untrained["verdict"], untrained["noise_floor"]
    by_arm = {leg.arm.name: [row for row in rows if row["arm"] == leg.arm.name] for leg in legs}
    tallies = {name: tally(group, settings.confidence) for name, group in by_arm.items()}
    compared = {
        arm: compare(legs[0].against[arm], by_arm[TRAINED], settings, profile.seed)
        for arm in dict.fromkeys((gap["best_arm"], "raw"))
    }
    regressions = [
        compare(next(iter(leg.against.values())), by_arm[leg.arm.name], settings, profile.seed) for leg in legs[1:]
    ]
    untrained_measured = {arm: measure(stage.gate, legs[0].against[arm]) for arm in compared}
    measured = measure(stage.gate, by_arm[TRAINED])
    signs = [(leg, *_signs(leg, by_arm[leg.arm.name])) for leg in legs]
    limits = Limits(eos_rate=settings.eos_rate, repetition=settings.repetition, distinct_2=settings.distinct_2)
    verdict = judge(
        tallies[TRAINED],
        compared[gap["best_arm"]],
        stage.gate,
        measured,
        regressions,
        settings,
        baseline_verdict=gap["verdict"],
        noise_floor=floor,
        collapsed=[
            f"stage {leg.stage.number}: {worse}" for leg, then, now_ in signs for worse in collapse(now_, then, limits)
        ],
    )
    metrics = metrics_of(tallies, compared, compared[gap["best_arm"]], regressions, verdict, floor, rows)
    metrics |= {**measured, **asdict(signs[0][2]), "seconds": time.monotonic() - clock}
    for name, value in metrics.items():
        run.measure(name, value)
    run.judge(verdict.verdict, verdict.evidence)

    # What is left
    figures = {
        "stage": stage.number,
        "round": request.params.get("round", 1),
        "items": len(legs[0].items),
        "verdict": {"verdict": verdict.verdict, "evidence": verdict.evidence, "gate": stage.gate, "measured": measured},
        "noise_floor": floor,
        "arms": {name: t.as_figures() for name, t in tallies.items()},
        "untrained": untrained["arms"],
        "compared": {name: comparison.as_figures() for name, comparison in compared.items()},
        "regressions": [comparison.as_figures() for comparison in regressions],
        "measured": {**untrained_measured, TRAINED: measured},
        "signs": [
            {"stage": leg.stage.number, "before": asdict(then), "now": asdict(now_)} for leg, then, now_ in signs
        ],
    }
    figures_path, summary_path = request.data_dir / "figures.json", request.data_dir / "summary.md"
    replace_file(figures_path, json.dumps(figures, indent=1) + "\n")
    replace_file(summary_path, summary_of(stage, verdict, tallies, compared, figures, by_arm[TRAINED]))
    outputs = [request.data_dir / COMPLETIONS, figures_path, summary_path]
    inputs = [leg.earlier for leg in legs]
    inputs += [baseline / "figures.json", *(path / "adapter_model.safetensors" for path in checkpoint.adapters)]
    manifest = write_manifest(
        request.data_dir,
        Manifest(
            kind="evaluate",
            run_id=request.run_id,
            stage=stage.number,
            inputs=tuple(record(path, request.workspace) for path in inputs),
            outputs=tuple(record(path, request.workspace) for path in outputs),
            config=profile.resolved(),
            seed=profile.seed,
            base_model=displayed(checkpoint.base, request.workspace),
            base_model_sha256=base_sha256,
            constitution_sha256=None,
            device=answered.device,
            started=started,
            finished=now(),
            versions=versions(),
            commit=commit(),
            facts={
                "verdict": figures["verdict"],
                "model": displayed(request.workspace / (model or checkpoint.base), request.workspace),
                "engine": answered.engine,
            },
        ),
    )
    for path in (*outputs, manifest):
        run.produce(path.relative_to(request.workspace), path.stem)
    left = [displayed(path, request.workspace) for path in (*outputs, manifest)]
    return _outcome(request, run, verdict, profile.plan, metrics, left)


def _outcome(
    request: Request,
    run: Run,
    verdict: Verdict,
    settings: PlanSettings,
    metrics: dict[str, float],
    artifacts: Sequence[str],
) -> Outcome:
    """Lets a failed stage take its next round, and blocks one that has none left."""
    if verdict.verdict in ("passed", "saturated"):
        return Completed(metrics, tuple(artifacts))
    if verdict.verdict == "inconclusive":
        return Blocked("inconclusive: " + "; ".join(verdict.evidence), "evaluate and baseline with more items", metrics)
    if not propose_round(request, run, settings):
        return Blocked(
            f"failed, and no round of {request.params.get('rounds', 1)} is left: " + "; ".join(verdict.evidence),
            "look at the report; more instructions or more rounds may help",
            metrics,
        )
    return Completed({**metrics, "next_round": 1.0}, tuple(artifacts))


def _complete_runs(request: Request) -> dict[Path, Manifest]:
    """Lists the dependencies that left a manifest."""
    folders = [given.data_dir for given in request.inputs]
    return {folder: read_manifest(folder) for folder in folders if (folder / MANIFEST).exists()}


def _newest(runs: Mapping[Path, Manifest], kind: str, stage: int) -> Path | None:
    """Finds the run of a kind and stage that ended last."""
    found = [folder for folder, run in runs.items() if run.kind == kind and run.stage == stage]
    return max(found, key=lambda folder: runs[folder].finished, default=None)


def _leg(stage: Stage, name: str, earlier: Path, workspace: Path) -> _Leg:
    """Takes an earlier run's items, if they are the frozen ones still.

    Raises:
        Refusal: the earlier run's files have changed, or its items are no longer the evaluation set's.
    """
    manifest = read_manifest(earlier)
    verify_outputs(manifest, workspace)
    with open(earlier / COMPLETIONS, encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    frozen = {entry.path: entry.sha256 for entry in manifest.inputs}.get(displayed(stage.evaluation_path, workspace))
    known = {item.id: item for item in stage.items}
    answered = dict.fromkeys(row["item"] for row in rows if row["item"] in known)
    if frozen not in (None, stage.evaluation_sha256) or not answered:
        raise Refusal(
            f"{displayed(earlier, workspace)}: its items are not those of {stage.evaluation_path.name} any more",
            "run the stage's baseline again",
        )
    arms = dict.fromkeys(row["arm"] for row in rows)
    return _Leg(
        stage,
        Arm(name, lambda instruction: raw_prompt(stage, instruction), stage.stop.raw),
        [known[item] for item in answered],
        earlier / COMPLETIONS,
        {arm: [row for row in rows if row["arm"] == arm and row["item"] in known] for arm in arms},
    )


def _regression_legs(profile: Profile, request: Request, runs: Mapping[Path, Manifest]) -> list[_Leg]:
    """Takes each earlier stage's newest evaluation, where there is one."""
    legs = []
    for number in range(1, request.stage or 1):
        if (earlier := _newest(runs, "evaluate", number)) is None:
            continue
        stage = load_stage(stage_folder(profile.curriculum.world, number, request.workspace), request.workspace)
        leg = _leg(stage, f"stage{number}", earlier, request.workspace)
        trained = [{**row, "arm": f"stage {number}"} for row in leg.against[TRAINED]]
        legs.append(_Leg(leg.stage, leg.arm, leg.items, leg.earlier, {TRAINED: trained}))
    return legs


def _signs(leg: _Leg, rows: Sequence[Row]) -> tuple[Signs, Signs]:
    """Reads what the answers show of the model, beside the earlier model's answers, or the references of this stage."""
    if TRAINED in leg.against:
        before = _signs_of(leg.against[TRAINED])
    else:
        before = signs_of([item.reference for item in leg.items], [True] * len(leg.items))
    return before, _signs_of(rows)


def _signs_of(rows: Sequence[Row]) -> Signs:
    return signs_of([row["completion"] for row in rows], [row["finish_reason"] != "length" for row in rows])
