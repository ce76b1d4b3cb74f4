"""Measures what the untrained model can do: arms raw (twice), cue and few-shot, greedy, paired on the frozen items.

Leaves in data/<run_id>/: completions.jsonl, figures.json, summary.md and, last, manifest.json. completions.jsonl grows
while the run goes on, and a run that was cut off goes on from it.

    python -m handlers state/runs/RUN/attempt-1
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alignment.assessment import ArmTally, Asked, Row, evenly, tally
from alignment.checkpoint import Checkpoint, resolve_checkpoint
from alignment.curriculum import Item, Stage, load_stage, stage_folder
from alignment.gap import GapVerdict, judge_gap, noise_floor
from alignment.journal import go_on_with
from alignment.locations import displayed
from alignment.measures import measure, missed
from alignment.profile import Profile
from alignment.prompts import Arm, arms
from alignment.provenance import (
    Manifest,
    commit,
    now,
    record,
    replace_file,
    sha256_of_model,
    sha256_of_text,
    versions,
    write_manifest,
)
from alignment.refusal import Refusal
from alignment.scorers import Verifier, verify
from alignment.selftest import self_test
from handlers.answering import COMPLETIONS, answer
from handlers.contract import Blocked, Completed, Outcome, Request, Requeue, Run
from handlers.inputs import named_model, stage_and_profile

RAW_AGAIN = "raw_again"
_SHOWN = 6  # failing answers in the summary


@dataclass(frozen=True, slots=True)
class _Leg:
    """One arm on one model, with the items in the order in which it takes them."""

    arm: Arm
    checkpoint: Checkpoint
    items: Sequence[Item]
    chunk_items: int


def baseline(request: Request, run: Run, *, verifier: Verifier = verify) -> Outcome:
    """Runs a baseline task.

    Args:
        verifier: what scores the answers; it is tested before it is used.
    """
    try:
        return _baseline(request, run, verifier)
    except Refusal as refusal:
        return Blocked(refusal.reason, refusal.needs)


def _baseline(request: Request, run: Run, verifier: Verifier) -> Outcome:
    started, clock = now(), time.monotonic()
    # Parameters
    number, profile = stage_and_profile(request)
    settings = profile.baseline
    stage = load_stage(stage_folder(profile.curriculum.world, number, request.workspace), request.workspace)
    items = evenly(stage.items, settings.items)
    self_test(items, stage.new_turn, verifier)
    base = resolve_checkpoint(profile.model, request.workspace)
    model = named_model(request)
    previous = None if model is None else resolve_checkpoint(profile.model, request.workspace, model)
    legs = _legs(profile, stage, items, base, previous)
    base_sha256 = sha256_of_model(base.base)
    go_on_with(
        request.data_dir,
        {
            "config": profile.resolved(),
            "seed": profile.seed,
            "stage": record(stage.folder / "stage.yaml", request.workspace).sha256,
            "evaluation": stage.evaluation_sha256,
            "exemplars": record(stage.folder / "exemplars.jsonl", request.workspace).sha256,
            "base": base_sha256,
            "previous": [sha256_of_model(path) for path in ((previous.base, *previous.adapters) if previous else ())],
        },
    )

    # Answers
    asked = [(leg.checkpoint, Asked(stage, leg.arm, leg.items, leg.chunk_items)) for leg in legs]
    answered = answer(request, run, profile.engine, asked, verifier)
    if answered is None:
        return Requeue(checkpoint=displayed(request.data_dir / COMPLETIONS, request.workspace))
    rows = answered.rows

    # Figures
    by_arm = {leg.arm.name: [row for row in rows if row["arm"] == leg.arm.name] for leg in legs}
    tallies = {name: tally(group, settings.confidence) for name, group in by_arm.items()}
    floor = noise_floor(by_arm["raw"], by_arm[RAW_AGAIN])
    judged = {name: t for name, t in tallies.items() if name != RAW_AGAIN}
    measured = {name: measure(stage.gate, by_arm[name]) for name in judged}
    others = {name: bound for name, bound in stage.gate.items() if name != "accuracy"}
    verdict = judge_gap(
        judged,
        settings.counted_arms,
        gate=stage.gate.get("accuracy", settings.saturation),
        saturation=settings.saturation,
        noise_floor=floor,
        short={name: missed(others, figures) for name, figures in measured.items()},
    )
    metrics = _metrics(judged, verdict, rows, time.monotonic() - clock)
    metrics |= {f"{name}.{figure}": value for name, values in measured.items() for figure, value in values.items()}
    for name, value in metrics.items():
        run.measure(name, value)
    run.judge(verdict.verdict, [verdict.reason])

    # What is left
    figures = {
        "stage": stage.number,
        "items": len(items),
        "verdict": verdict.as_figures(),
        "noise_floor": floor,
        "arms": {name: t.as_figures() for name, t in tallies.items()},
        "measured": measured,
    }
    figures_path, summary_path = request.data_dir / "figures.json", request.data_dir / "summary.md"
    replace_file(figures_path, json.dumps(figures, indent=1) + "\n")
    replace_file(summary_path, _summary(stage, tallies, measured, verdict, by_arm["raw"]))
    outputs = [request.data_dir / COMPLETIONS, figures_path, summary_path]
    manifest = write_manifest(
        request.data_dir,
        Manifest(
            kind="baseline",
            run_id=request.run_id,
            stage=stage.number,
            inputs=tuple(record(path, request.workspace) for path in _inputs(stage, previous)),
            outputs=tuple(record(path, request.workspace) for path in outputs),
            config=profile.resolved(),
            seed=profile.seed,
            base_model=displayed(base.base, request.workspace),
            base_model_sha256=base_sha256,
            constitution_sha256=None,
            device=answered.device,
            started=started,
            finished=now(),
            versions=versions(),
            commit=commit(),
            facts={
                "verdict": verdict.as_figures(),
                "prompts_sha256": _prompts_sha256(rows),
                "engine": answered.engine,
            },
        ),
    )
    for path in (*outputs, manifest):
        run.produce(path.relative_to(request.workspace), path.stem)
    return Completed(metrics, tuple(displayed(path, request.workspace) for path in (*outputs, manifest)))


def _legs(
    profile: Profile, stage: Stage, items: Sequence[Item], base: Checkpoint, previous: Checkpoint | None
) -> list[_Leg]:
    """Lists the arms to run; the second raw run takes the items in another order and in other batches."""
    settings = profile.baseline
    known = arms(stage, settings.few_shot)
    unknown = [name for name in settings.arms if name not in known]
    if unknown or "raw" not in settings.arms:
        raise Refusal(
            f"baseline.arms: {list(settings.arms)!r}", f"list raw, and whatever else you want of {', '.join(known)}"
        )
    legs = [_Leg(known[name], base, items, settings.chunk_items) for name in settings.arms]
    again = replace(known["raw"], name=RAW_AGAIN)
    legs.append(_Leg(again, base, items[::-1], max(1, settings.chunk_items * 2 // 3)))
    if previous is not None and previous != base:
        legs.append(_Leg(replace(known["raw"], name="previous"), previous, items, settings.chunk_items))
    return legs


def _metrics(
    tallies: dict[str, ArmTally], verdict: GapVerdict, rows: Sequence[Row], seconds: float
) -> dict[str, float]:
    """Lists the figures that a task's success criteria can name."""
    metrics = {f"{name}.accuracy": t.whole.accuracy for name, t in tallies.items()}
    metrics |= {f"{name}.loose": t.whole.passed_loosely / t.whole.n for name, t in tallies.items()}
    return metrics | {
        "gap": float(verdict.verdict == "gap"),
        "saturated": float(verdict.verdict == "saturated"),
        "underpowered": float(verdict.verdict == "underpowered"),
        "best_untrained.accuracy": verdict.best_accuracy,
        "noise_floor": verdict.noise_floor,
        "items": float(verdict.items),
        "completion_tokens": float(sum(row["completion_tokens"] for row in rows)),
        "prompt_tokens": float(sum(row["prompt_tokens"] for row in rows)),
        "seconds": seconds,
    }


def _inputs(stage: Stage, previous: Checkpoint | None) -> list[Path]:
    """Lists the files that the figures depend on, beside the base model."""
    weights = [path / "adapter_model.safetensors" for path in previous.adapters] if previous else []
    if previous and not previous.adapters:  # a merged model
        weights += sorted(previous.base.glob("*.safetensors"))
    return [stage.folder / "stage.yaml", stage.evaluation_path, stage.folder / "exemplars.jsonl", *weights]


def _prompts_sha256(rows: Sequence[Row]) -> str:
    """Hashes the hashes of all prompts' token ids, in an order that does not depend on the run's course."""
    return sha256_of_text("".join(f"{row['arm']} {row['item']} {row['prompt_sha256']}\n" for row in _ordered(rows)))


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Orders rows by arm and item."""
    return sorted(rows, key=lambda row: (row["arm"], row["item"]))


def _summary(
    stage: Stage,
    tallies: Mapping[str, ArmTally],
    measured: Mapping[str, Mapping[str, float]],
    verdict: GapVerdict,
    raw: Sequence[Row],
) -> str:
    """Writes the summary that a person reads."""
    types = list(next(iter(tallies.values())).by_type)
    lines = [
        f"# Baseline of stage {stage.number}: {stage.name}",
        "",
        f"Verdict: **{verdict.verdict}**: {verdict.reason}.",
        f"Counted arms: {', '.join(verdict.counted_arms)}. Best of all arms: {verdict.best_elicited_arm}, "
        f"{100 * verdict.best_elicited_accuracy:.1f} %. Noise floor: {100 * verdict.noise_floor:.1f} points.",
        "",
        "Share of answers that pass strictly, with the Wilson interval; loose judges the first line alone.",
        "",
        f"| arm | strict | interval | loose | {' | '.join(types)} |",
        f"|---|---|---|---|{'---|' * len(types)}",
    ]
    for name, arm in tallies.items():
        whole = arm.whole
        loose = whole.passed_loosely / whole.n
        cells = [f"{t.passed}/{t.n}" for t in arm.by_type.values()]
        lines.append(
            f"| {name} | {100 * whole.accuracy:.1f} % | [{100 * whole.interval.low:.1f}, {100 * whole.interval.high:.1f}] "
            f"| {100 * loose:.1f} % | {' | '.join(cells)} |"
        )
    if figures := [name for name in stage.gate if name != "accuracy"]:
        lines += ["", f"| arm | {' | '.join(figures)} |", f"|---|{'---|' * len(figures)}"]
        lines += [f"| {arm} | {' | '.join(f'{m[name]:.3f}' for name in figures)} |" for arm, m in measured.items()]
    lines += ["", "Raw answers that fail:", ""]
    failures = [row for row in raw if not row["strict"]]
    for row in failures[:: max(1, len(failures) // _SHOWN)][:_SHOWN]:
        lines.append(f"- {row['instruction']!r} -> {row['completion'][:160]!r}: {row['reason']}")
    return "\n".join(lines) + "\n"
