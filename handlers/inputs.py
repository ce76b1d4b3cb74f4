"""What a task works on: its stage, its profile, the model that it or its dependencies name, its stage's baseline."""

from __future__ import annotations

from pathlib import Path

from alignment.checkpoint import MODEL
from alignment.profile import Profile, load_profile
from alignment.provenance import Manifest, read_manifest
from alignment.refusal import Refusal
from handlers.contract import Completed, Request, Run


def stage_and_profile(request: Request) -> tuple[int, Profile]:
    """Reads which stage the task is for, and its profile under the task's own parameters, which it prints.

    Raises:
        Refusal: there is no stage, or something is wrong with the profile.
    """
    if request.stage is None:
        raise Refusal("the task names no stage", "write `stage: 1` into the front matter")
    name = str(request.params.get("profile", "micro"))
    profile = load_profile(name, request.workspace, kind=request.handler, params=request.params)
    print(profile.describe(), flush=True)
    return request.stage, profile


def named_model(request: Request) -> str | Path | None:
    """Names the model: the task's parameter, else what the nearest dependency that made one left, else None."""
    if request.params.get("model") is not None:
        return str(request.params["model"])
    folders = [given.data_dir for given in request.inputs if (given.data_dir / MODEL).exists()]
    return folders[0] if folders else None


def stage_baseline(request: Request) -> Manifest | None:
    """Finds the newest baseline of the task's stage among the dependencies."""
    found = [
        read_manifest(given.data_dir)
        for given in request.inputs
        if (given.handler, given.stage) == ("baseline", request.stage)
    ]
    return max(found, key=lambda manifest: manifest.finished, default=None)


def skipped(request: Request, run: Run) -> Completed | None:
    """Completes a task of a saturated stage at once: there is nothing to teach, and the earlier stage's model stays."""
    baseline = stage_baseline(request)
    if baseline is None or baseline.facts["verdict"]["verdict"] != "saturated":
        return None
    note = f"skipped, stage {request.stage} is saturated: {baseline.facts['verdict']['reason']}"
    print(note, flush=True)
    run.progress(1, 1, "stage", note)
    run.measure("skipped", 1)
    return Completed({"skipped": 1.0})


def refuse_changed_base(baseline: Manifest, base_model: str, sha256: str) -> None:
    """Makes sure that a baseline measured the base model that is in use now.

    Args:
        base_model: where it lies, as manifests name it; a merged model lies elsewhere than the base it was made of.

    Raises:
        Refusal: other weights lie there now.
    """
    if baseline.base_model == base_model and baseline.base_model_sha256 != sha256:
        raise Refusal(
            f"{base_model}: its sha256 is {sha256[:12]}…, but the baseline {baseline.run_id} measured "
            f"{baseline.base_model_sha256[:12]}…",
            "run the stage's baseline again, or restore the base model",
        )
