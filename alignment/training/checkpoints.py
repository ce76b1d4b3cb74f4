"""Checkpoints that are whole or do not exist: a pointer written last names the one to go on from.

`checkpoint.json` in the run's data folder holds the folder, the step, the sha256 of each of its files and what the
model scored there. A folder that it does not name is a crash's leftover and is removed.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from alignment.provenance import replace_file, sha256_of_file
from alignment.refusal import Refusal

POINTER = "checkpoint.json"
FOLDER = "checkpoints"
START_ANEW = "restore the folder from a backup, or remove it together with checkpoint.json to start from step 0"


@dataclass(frozen=True, slots=True)
class SavedState:
    """A complete checkpoint of a run in training. `chosen_logp` is the probe's value there: a resumed model must reproduce it."""

    folder: str
    step: int
    chosen_logp: float
    sha256: dict[str, str]


def seal(data_dir: Path, folder: Path, step: int, chosen_logp: float) -> SavedState:
    """Makes a saved folder the checkpoint to go on from: every file is on the disk before the pointer names it."""
    digests = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        digests[str(path.relative_to(folder))] = sha256_of_file(path)
    saved = SavedState(str(folder.relative_to(data_dir)), step, chosen_logp, digests)
    replace_file(data_dir / POINTER, json.dumps(asdict(saved), indent=1))
    return saved


def newest(data_dir: Path) -> SavedState | None:
    """Finds the checkpoint to go on from, and removes what a crash left half-written.

    Returns:
        None where no checkpoint was ever completed.

    Raises:
        Refusal: the checkpoint that was completed is missing or is not what was written.
    """
    pointer = data_dir / POINTER
    if not pointer.exists():
        shutil.rmtree(data_dir / FOLDER, ignore_errors=True)
        return None
    try:
        saved = SavedState(**json.loads(pointer.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise Refusal(f"{pointer}: not a checkpoint's description ({error})", START_ANEW) from error
    folder = data_dir / saved.folder
    for name, expected in saved.sha256.items():
        path = folder / name
        if not path.exists():
            raise Refusal(f"{path}: missing from the checkpoint of step {saved.step}", START_ANEW)
        if (found := sha256_of_file(path)) != expected:
            raise Refusal(
                f"{path}: broken: sha256 {found[:12]}…, but {expected[:12]}… was written at step {saved.step}",
                START_ANEW,
            )
    for leftover in folder.parent.glob("checkpoint-*"):
        if leftover != folder:
            shutil.rmtree(leftover)
    return saved


def discard(data_dir: Path) -> None:
    """Removes all checkpoints of a run that has left its result."""
    (data_dir / POINTER).unlink(missing_ok=True)
    shutil.rmtree(data_dir / FOLDER, ignore_errors=True)
