"""The rows that a training method reads: sft.jsonl or pairs.jsonl, checked strictly, never repaired."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from alignment.refusal import Refusal

Row = dict[str, Any]

# What each file must hold beside id, stage and instruction.
TEXTS = {"sft.jsonl": ("prompt", "completion"), "pairs.jsonl": ("prompt", "chosen", "rejected")}
FAULTS_SHOWN = 5


def read_rows(path: Path) -> list[Row]:
    """Reads the rows of one file.

    Raises:
        Refusal: the file is empty, or a row is not JSON, lacks a field, has an empty text, or repeats an id.
    """
    texts = TEXTS[path.name]
    rows: list[Row] = []
    faults: list[str] = []
    ids: set[str] = set()
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            faults.append(f"line {number}: not JSON ({error})")
            continue
        if fault := _fault(row, texts, ids):
            faults.append(f"line {number}: {fault}")
            continue
        ids.add(row["id"])
        rows.append(row)
    if faults:
        more = f" … and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise Refusal(
            f"{path}: {len(faults)} faulty rows: {'; '.join(faults[:FAULTS_SHOWN])}{more}",
            "mend or remove these rows, or run the generate task again",
        )
    if not rows:
        raise Refusal(f"{path}: no rows to train on", "look at the funnel of the generate task: nothing was accepted")
    return rows


def _fault(row: Any, texts: Sequence[str], ids: set[str]) -> str | None:
    if not isinstance(row, dict):
        return f"expected an object, got {row!r:.60}"
    for name in ("id", "instruction", *texts):
        if not isinstance(row.get(name), str) or not row[name].strip():
            return f"{name}: expected a text, got {row.get(name)!r:.60}"
    if not isinstance(row.get("stage"), int):
        return f"stage: expected a whole number, got {row.get('stage')!r:.60}"
    if row["id"] in ids:
        return f"id: {row['id']!r} stands twice"
    return None


def with_replay(rows: Iterable[Row], stage: int, share: float, seed: int) -> list[Row]:
    """Keeps the rows of a stage, and of the earlier stages' rows a sample against forgetting.

    Args:
        rows: rows of this stage and of earlier ones; an id that stands twice counts once.
        stage: the stage that is trained.
        share: replayed rows for each row of this stage, 0 … 1.
        seed: draws the sample.
    """
    unique = {row["id"]: row for row in rows}.values()
    own = [row for row in unique if row["stage"] == stage]
    earlier = [row for row in unique if row["stage"] < stage]
    drawn = random.Random(seed).sample(earlier, min(len(earlier), round(share * len(own))))
    return own + drawn
