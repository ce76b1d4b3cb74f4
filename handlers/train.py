"""Trains an adapter on the rows that the dependencies left, once a baseline has shown that there is something to teach.

Leaves in data/<run_id>/: adapter/, training.jsonl, model.json (which makes the folder a model), with `merge` also
merged/, and, last, manifest.json. A run that was cut off goes on from its last checkpoint, to the same weights.

    python -m handlers state/runs/RUN/attempt-1
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from alignment.checkpoint import Checkpoint, device_in_words, resolve_checkpoint, write_checkpoint
from alignment.curriculum import all_stages, load_stage, stage_folder
from alignment.engines import uses_gpu
from alignment.engines.warm import take_device
from alignment.journal import go_on_with
from alignment.locations import displayed
from alignment.profile import Profile
from alignment.provenance import (
    MANIFEST,
    Manifest,
    commit,
    now,
    read_manifest,
    record,
    sha256_of_model,
    verify_outputs,
    versions,
    write_manifest,
)
from alignment.refusal import Refusal
from alignment.resources import release_memory
from alignment.training.backends import choose_backend, import_libraries, load_for_training
from alignment.training.checkpoints import discard
from alignment.training.estimate import newest_rate
from alignment.training.leaks import leaked
from alignment.training.merge import merge_adapters
from alignment.training.merge_check import MergeCheck, check_merge
from alignment.training.methods import METHODS
from alignment.training.recipe import Trained, train_adapter
from alignment.training.rows import Row, read_rows, with_replay
from alignment.training.watch import LOG
from handlers.contract import Blocked, Completed, Outcome, Request, Requeue, Run
from handlers.inputs import named_model, refuse_changed_base, skipped, stage_and_profile, stage_baseline

MERGED = "merged"


def train(request: Request, run: Run) -> Outcome:
    """Runs a train task."""
    try:
        return _train(request, run)
    except Refusal as refusal:
        return Blocked(refusal.reason, refusal.needs)


def _train(request: Request, run: Run) -> Outcome:
    started, clock = now(), time.monotonic()
    # Parameters
    number, profile = stage_and_profile(request)
    backend, why = choose_backend(profile.train)
    print(f"backend {backend}: {why}", flush=True)
    if done := skipped(request, run):
        return done
    baseline = require_gap(request)
    checkpoint = resolve_checkpoint(profile.model, request.workspace, named_model(request))

    # Data
    sources = _sources(request, METHODS[profile.train.method].file)
    rows = with_replay((row for path in sources for row in read_rows(path)), number, profile.train.replay, profile.seed)
    _refuse_leaks(rows, profile, request.workspace)
    base_sha256 = sha256_of_model(checkpoint.base)
    refuse_changed_base(baseline, displayed(checkpoint.base, request.workspace), base_sha256)
    plan = {
        "config": profile.resolved(),
        "seed": profile.seed,
        "rows": [record(path, request.workspace).sha256 for path in sources],
        "base": base_sha256,
        "adapters": [sha256_of_model(path) for path in checkpoint.adapters],
        "backend": backend,
    }
    if not go_on_with(request.data_dir, plan):
        discard(request.data_dir)
        (request.data_dir / MANIFEST).unlink(missing_ok=True)
    elif (request.data_dir / MANIFEST).exists():  # a crash came between the manifest and the outcome
        return _completed(request, run)

    # Model and loop
    with ThreadPoolExecutor(1) as meanwhile:  # a server's model falls asleep while this process imports
        on_gpu = uses_gpu(profile.engine)
        taken = meanwhile.submit(take_device, request.workspace, f"the training {request.run_id}") if on_gpu else None
        import_libraries(backend, profile.train.method)
    if taken:
        taken.result()  # the device, until this process ends
    model, tokenizer = load_for_training(backend, checkpoint, profile.train, profile.engine, profile.seed)
    device = device_in_words(model)
    rate = newest_rate(
        request.workspace / "data",
        device=device,
        method=profile.train.method,
        backend=backend,
        base_sha256=base_sha256,
    )
    trained = train_adapter(
        rows, profile.train, model, tokenizer, request.data_dir, profile.seed, run, backend=backend, rate=rate
    )
    if trained.adapter is None:
        saved = request.data_dir / trained.saved.folder if trained.saved else request.data_dir
        return Requeue(checkpoint=displayed(saved, request.workspace))
    del model  # the models of a merge's check must not lie in memory beside it
    release_memory()

    # What is left
    left = replace(checkpoint, adapters=(*checkpoint.adapters[:-1], trained.adapter))
    merge = None
    if profile.train.merge:
        left, merge = _merge(left, profile, request, run)
    write_checkpoint(request.data_dir, left, request.workspace)
    outputs = _outputs(request.data_dir)
    write_manifest(
        request.data_dir,
        Manifest(
            kind="train",
            run_id=request.run_id,
            stage=number,
            inputs=(
                *(record(path, request.workspace) for path in (*sources, *_models(checkpoint))),
                *(entry for entry in baseline.outputs if entry.path.endswith("/figures.json")),
            ),
            outputs=tuple(record(path, request.workspace) for path in outputs),
            config=profile.resolved(),
            seed=profile.seed,
            base_model=displayed(checkpoint.base, request.workspace),
            base_model_sha256=base_sha256,
            constitution_sha256=_constitution(sources),
            device=device,
            started=started,
            finished=now(),
            versions=versions(),
            commit=commit(),
            facts={
                "method": profile.train.method,
                "backend": backend,
                "fit": asdict(trained.fit) if trained.fit else None,
                "merge": asdict(merge) if merge else None,
                "metrics": _metrics(trained, merge, len(rows), time.monotonic() - clock),
            },
        ),
    )
    discard(request.data_dir)
    return _completed(request, run)


def _merge(unmerged: Checkpoint, profile: Profile, request: Request, run: Run) -> tuple[Checkpoint, MergeCheck]:
    """Merges a trained adapter, and lets both models answer the stage's items.

    Raises:
        Refusal: there is no room for it, or the merged model is worse.
    """
    assert request.stage is not None
    run.progress(0, 1, "merge", "merging in bf16")
    merged = merge_adapters(unmerged, request.data_dir / MERGED)
    stage = load_stage(stage_folder(profile.curriculum.world, request.stage, request.workspace), request.workspace)
    settings = profile.train
    check = check_merge(unmerged, merged, stage, profile.engine, settings.merge_items, settings.merge_points)
    run.progress(1, 1, "merge", f"{check.points_lost:+.1f} points lost on {check.n} items")
    return merged, check


def _completed(request: Request, run: Run) -> Completed:
    """Tells what a complete run has left, from its manifest."""
    manifest = read_manifest(request.data_dir)
    verify_outputs(manifest, request.workspace)
    paths = [*(entry.path for entry in manifest.outputs), displayed(request.data_dir / MANIFEST, request.workspace)]
    for path in paths:
        run.produce(Path(path), Path(path).stem)
    return Completed(manifest.facts["metrics"], tuple(paths))


def require_gap(request: Request) -> Manifest:
    """Finds the stage's baseline among the dependencies.

    Raises:
        Refusal: there is none, or it showed no gap.
    """
    newest = stage_baseline(request)
    if newest is None:
        raise Refusal(
            f"stage {request.stage} has no baseline among this task's dependencies",
            "add a completed baseline task of the stage to depends_on: nothing is trained before a gap is shown",
        )
    verdict = newest.facts["verdict"]
    if verdict["verdict"] != "gap":
        raise Refusal(
            f"the baseline {newest.run_id} shows no gap: {verdict['verdict']}: {verdict['reason']}",
            "run the baseline again with more items",
        )
    return newest


def _sources(request: Request, file: str) -> list[Path]:
    """Finds the files of rows: the task's own folder, else what every dependency left."""
    if request.params.get("data") is not None:
        folders = [request.workspace / str(request.params["data"])]
    else:
        folders = [given.data_dir for given in request.inputs]
    found = [folder / file for folder in folders if (folder / file).exists()]
    if not found:
        raise Refusal(
            f"{file}: not in {', '.join(displayed(folder, request.workspace) for folder in folders) or 'any dependency'}",
            "add a completed generate task to depends_on, or name the folder of the rows in params.data",
        )
    return found


def _refuse_leaks(rows: Iterable[Row], profile: Profile, workspace: Path) -> None:
    stages = all_stages(profile.curriculum.world, workspace)
    if found := leaked(rows, stages):
        raise Refusal(
            f"{len(found)} training rows leak frozen evaluation items: "
            + "; ".join(f"row {row_id}: {why}" for row_id, why in list(found.items())[:5]),
            "remove these rows, or run the generate task again: items are never removed from an evaluation",
        )


def _models(checkpoint: Checkpoint) -> list[Path]:
    """Names the files by which the adapters below this one are known."""
    return [path / "adapter_model.safetensors" for path in checkpoint.adapters]


def _outputs(data_dir: Path) -> list[Path]:
    """Lists what the run leaves for others; the plan and the checkpoints are its own."""
    folders = [data_dir / name for name in ("adapter", MERGED)]
    within = [path for folder in folders if folder.exists() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [*within, data_dir / LOG, data_dir / "model.json"]


def _constitution(sources: Sequence[Path]) -> str | None:
    """Finds the hash of the constitution that the rows were made under."""
    manifests = [read_manifest(path.parent) for path in sources if (path.parent / MANIFEST).exists()]
    return next((manifest.constitution_sha256 for manifest in manifests if manifest.constitution_sha256), None)


def _metrics(trained: Trained, merge: MergeCheck | None, given: int, seconds: float) -> dict[str, float]:
    """Lists the figures that a task's success criteria can name."""
    merged = {"merge.points_lost": merge.points_lost, "merge.items": float(merge.n)} if merge else {}
    return merged | {
        "rows": float(trained.rows),
        "rows.too_long": float(trained.too_long),
        "rows.given": float(given),
        "steps": float(trained.steps),
        "resumed_from": float(trained.resumed_from),
        "loss": trained.loss,
        "tokens_per_s": trained.tokens_per_s,
        "chosen_logp": trained.vitals.chosen_logp,
        "eos_rate": trained.vitals.eos_rate,
        "repetition": trained.vitals.repetition,
        "distinct_2": trained.vitals.distinct_2,
        "seconds": seconds,
    }
