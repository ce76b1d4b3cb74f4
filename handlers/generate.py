"""Makes a stage's training data with the model itself: instructions, answers, a critic's judgement, rows and pairs.

Leaves in data/<run_id>/: sft.jsonl, pairs.jsonl, pool.jsonl (every kept instruction, for later rounds), funnel.json,
funnel.md and, last, manifest.json. What the model says is journalled in lists.jsonl, answers.jsonl, revisions.jsonl and
judgements.jsonl; everything else follows from them, so that a run that was cut off ends with the same rows.

    python -m handlers state/runs/RUN/attempt-1
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

from alignment.assembly import funnel_of
from alignment.checkpoint import Checkpoint, resolve_checkpoint
from alignment.constitution import Constitution, load_constitution
from alignment.constitutional import by_revision
from alignment.critic import Calibration, Case, Critic, Reading
from alignment.curriculum import Stage, all_stages, load_stage, stage_folder
from alignment.decontamination import Decontaminator, protected_texts
from alignment.dedup import Ladder
from alignment.drawing import collect, read_cases
from alignment.engines import open_engine
from alignment.funnel import Funnel, step_of
from alignment.journal import Journal, go_on_with
from alignment.locations import displayed
from alignment.making import Tools, by_answers
from alignment.overlap import Weights
from alignment.provenance import (
    Manifest,
    commit,
    now,
    record,
    replace_file,
    sha256_of_model,
    versions,
    write_jsonl,
    write_manifest,
)
from alignment.refusal import Refusal
from alignment.revision import Reviser
from alignment.selfinstruct import Pool
from alignment.settings import GenerateSettings
from handlers.contract import Blocked, Completed, Outcome, Request, Requeue, Run
from handlers.inputs import named_model, skipped, stage_and_profile
from handlers.pace import Pace

POOL = "pool.jsonl"


class _StopRequested(Exception):
    """The run was asked to stop; everything finished is in the journals."""


def generate(request: Request, run: Run) -> Outcome:
    """Runs a generate task."""
    try:
        return _generate(request, run)
    except Refusal as refusal:
        return Blocked(refusal.reason, refusal.needs)
    except _StopRequested:
        return Requeue(checkpoint=displayed(request.data_dir, request.workspace))


def _generate(request: Request, run: Run) -> Outcome:
    started, clock = now(), time.monotonic()
    # Parameters
    number, profile = stage_and_profile(request)
    if done := skipped(request, run):
        return done
    settings = profile.generate
    stage = load_stage(stage_folder(profile.curriculum.world, number, request.workspace), request.workspace)
    stages = all_stages(profile.curriculum.world, request.workspace)
    constitution = load_constitution(profile.curriculum.constitution, request.workspace)
    checkpoint = resolve_checkpoint(profile.model, request.workspace, named_model(request))
    earlier = [given.data_dir / POOL for given in request.inputs if (given.data_dir / POOL).exists()]
    inputs = [record(path, request.workspace) for path in _inputs(stage, stages, constitution, checkpoint, earlier)]
    base_sha256 = sha256_of_model(checkpoint.base)
    plan = {
        "config": profile.resolved(),
        "seed": profile.seed,
        "inputs": {entry.path: entry.sha256 for entry in inputs},
        "base": base_sha256,
    }
    go_on_with(request.data_dir, plan)
    pool = _empty_pool(stage, stages, profile.generate, earlier)
    critic = Critic(
        stage.judge,
        stage.gold,
        constitution.principles,
        sets=settings.exemplar_sets,
        seed=profile.seed,
        mass=settings.critic_mass,
    )
    guard = _safety_critic(stages, constitution, settings, profile.seed)

    # What the model says
    with (
        closing(open_engine(profile.engine, checkpoint, request.workspace)) as engine,
        Journal(request.data_dir / "lists.jsonl") as lists,
        Journal(request.data_dir / "answers.jsonl") as answers,
        Journal(request.data_dir / "judgements.jsonl") as judgements,
        Journal(request.data_dir / "revisions.jsonl") as revisions,
    ):
        run.progress(0, settings.instructions, "instruction", f"the model is loaded: {engine.device}")

        def read(by: Critic, cases: Sequence[Case]) -> dict[str, Reading]:
            done = _done(run, len(cases), "judgement")
            return read_cases(engine, by, cases, judgements, settings.chunk, done)

        calibration = critic.calibrate(read(critic, critic.calibration_cases()), settings.critic_auc)
        if guard is not None:
            guard.calibrate(read(guard, guard.calibration_cases()), settings.critic_auc)
        collect(engine, pool, lists, profile.seed, _done(run, settings.instructions, "instruction"))
        origin = {"run": request.run_id, "constitution": constitution.sha256}
        tools = Tools(
            engine, stage, settings, profile.seed, pool, critic, read, answers, revisions, partial(_done, run), origin
        )
        if stage.revision is None:
            made = by_answers(tools, guard)
        else:
            reviser = Reviser(stage, constitution.principles, profile.seed)
            made = by_revision(tools, reviser, constitution.principles)
        journals = {"lists": lists, "answers": answers, "critic": judgements, "revisions": revisions}
        steps = tuple(step_of(name, journal.rows) for name, journal in journals.items() if journal.rows)

    # Rows and pairs
    funnel = funnel_of(
        pool,
        made.pairs,
        made.losses,
        steps,
        answered=made.answered,
        accepted=len(made.sft),
        usd_per_hour=request.usd_per_hour,
        facts={"critic": asdict(calibration), **made.facts},
    )
    replace_file(request.data_dir / "funnel.json", json.dumps(funnel.as_figures(), indent=1) + "\n")
    replace_file(request.data_dir / "funnel.md", funnel.as_markdown(f"The data of stage {stage.number}: {stage.name}"))
    if len(made.sft) < settings.least_rows:
        raise Refusal(
            f"only {len(made.sft)} rows were accepted, fewer than generate.least_rows = {settings.least_rows}; "
            f"{displayed(request.data_dir / 'funnel.md', request.workspace)} shows where they were lost",
            "ask for more instructions, or mend the step of the funnel that loses the most",
        )

    # What is left
    write_jsonl(request.data_dir / "sft.jsonl", made.sft)
    write_jsonl(request.data_dir / "pairs.jsonl", made.pair_rows)
    write_jsonl(
        request.data_dir / POOL, [{"instruction": i.text, "topic": i.topic, "round": i.round} for i in pool.kept]
    )
    outputs = [request.data_dir / name for name in ("sft.jsonl", "pairs.jsonl", POOL, "funnel.json", "funnel.md")]
    metrics = _metrics(funnel, calibration, time.monotonic() - clock)
    for name, value in metrics.items():
        run.measure(name, value)
    manifest = write_manifest(
        request.data_dir,
        Manifest(
            kind="generate",
            run_id=request.run_id,
            stage=stage.number,
            inputs=tuple(inputs),
            outputs=tuple(record(path, request.workspace) for path in outputs),
            config=profile.resolved(),
            seed=profile.seed,
            base_model=displayed(checkpoint.base, request.workspace),
            base_model_sha256=base_sha256,
            constitution_sha256=constitution.sha256,
            device=engine.device,
            started=started,
            finished=now(),
            versions=versions(),
            commit=commit(),
            facts={"critic": asdict(calibration), "funnel": dict(funnel.counts), "engine": dict(engine.facts)},
        ),
    )
    for path in (*outputs, manifest):
        run.produce(path.relative_to(request.workspace), path.stem)
    return Completed(metrics, tuple(displayed(path, request.workspace) for path in (*outputs, manifest)))


def _empty_pool(stage: Stage, stages: Iterable[Stage], settings: GenerateSettings, earlier: Iterable[Path]) -> Pool:
    """Makes a pool that knows what earlier rounds kept and what evaluation asks."""
    protected = protected_texts(stages)
    weights = Weights(entry.text for entry in protected)
    known = [json.loads(line)["instruction"] for path in earlier for line in path.read_bytes().splitlines()]
    ladder = Ladder(stage.deduplication, weights, known)
    return Pool(stage, settings, ladder, Decontaminator(stage.decontamination, weights, protected))


def _safety_critic(
    stages: Iterable[Stage], constitution: Constitution, settings: GenerateSettings, seed: int
) -> Critic | None:
    """Makes the critic that looks over every kept answer: it judges by one drawn principle of harmlessness.

    Its template and its gold answers are those of the first stage that judges by principles.
    """
    by_principle = next((stage for stage in stages if "{principle}" in stage.judge.template), None)
    if settings.safety == "none":
        return None
    if by_principle is None:
        raise Refusal(
            "generate.safety: no stage of the curriculum judges by principles",
            "add {principle} to the judge's template of the constitutional stage, or set safety: none in the profile",
        )
    return Critic(
        by_principle.judge,
        by_principle.gold,
        constitution.principles,
        sets=settings.exemplar_sets,
        seed=seed,
        mass=settings.critic_mass,
        categories=("harmlessness",),
    )


def _inputs(
    stage: Stage, stages: Iterable[Stage], constitution: Constitution, checkpoint: Checkpoint, earlier: Iterable[Path]
) -> list[Path]:
    """Lists the files that the rows depend on, beside the base model."""
    return [
        stage.folder / "stage.yaml",
        stage.folder / "exemplars.jsonl",
        *([stage.folder / "critiques.jsonl"] if stage.critiques else []),
        *(other.folder / "gold.jsonl" for other in stages),
        *(other.evaluation_path for other in stages),
        constitution.path,
        *(path / "adapter_model.safetensors" for path in checkpoint.adapters),
        *earlier,
    ]


def _done(run: Run, total: int, unit: str) -> Callable[[int], None]:
    """Reports each chunk's end, and stops there when the run has been asked to."""
    pace = Pace(run, total, unit)

    def done(count: int) -> None:
        pace.step(count)
        if run.should_stop():
            raise _StopRequested

    return done


def _metrics(funnel: Funnel, calibration: Calibration, seconds: float) -> dict[str, float]:
    """Lists the figures that a task's success criteria can name."""
    return {
        **{f"{name}": float(count) for name, count in funnel.counts.items()},
        "sft.rows": float(funnel.counts["accepted"]),
        "pairs.unique": float(funnel.counts["paired"]),
        "pairs.raw_share": float(funnel.facts["raw_rejected_share"]),
        "pairs.length_effect": float(funnel.facts["length_effect"]),
        "critic.auc": calibration.auc,
        "critic.accuracy": calibration.accuracy,
        "critic.consistency": calibration.consistency,
        **{name: float(funnel.facts[name]) for name in ("revised", "controls") if name in funnel.facts},
        "usd_per_row": funnel.per_row()["usd"],
        "seconds": seconds,
    }
