"""How long a run will take, before it begins: its tokens, over the rate of the newest run like it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alignment.provenance import MANIFEST, Manifest, read_manifest
from alignment.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second, and the run that measured them."""

    tokens_per_s: float
    run_id: str


def in_words(tokens: float, rate: Rate | None) -> str:
    """Tells what a run will take."""
    if rate is None:
        return f"{tokens:.0f} tokens; no earlier run like this one tells how long that takes"
    seconds = tokens / rate.tokens_per_s
    return f"{tokens:.0f} tokens, about {seconds:.0f} s at the {rate.tokens_per_s:.0f} tokens/s of {rate.run_id}"


def newest_rate(data: Path, *, device: str, method: str, backend: str, base_sha256: str) -> Rate | None:
    """Finds the rate of the newest complete run of the same method, backend and base on the same device.

    Args:
        data: the folder of the runs' folders.
    """
    found = [
        run
        for path in data.glob(f"*/{MANIFEST}")
        if (run := _read(path.parent)) and run.kind == "train"
        and (run.device, run.base_model_sha256) == (device, base_sha256)
        and (run.facts["method"], run.facts["backend"]) == (method, backend)
        and run.facts["metrics"].get("tokens_per_s")
    ]  # fmt: skip
    if not found:
        return None
    newest = max(found, key=lambda run: run.finished)
    return Rate(newest.facts["metrics"]["tokens_per_s"], newest.run_id)


def _read(folder: Path) -> Manifest | None:
    """Reads a manifest; a broken one is another task's matter."""
    try:
        return read_manifest(folder)
    except Refusal:
        return None
