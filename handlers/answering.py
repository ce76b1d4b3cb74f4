"""Asks models the items of a task, and goes on where an earlier attempt was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from alignment.assessment import Asked, Row, answers
from alignment.checkpoint import Checkpoint
from alignment.engines import open_engine
from alignment.journal import Journal
from alignment.scorers import Verifier
from alignment.settings import EngineSettings
from handlers.contract import Request, Run
from handlers.pace import Pace

COMPLETIONS = "completions.jsonl"


@dataclass(frozen=True, slots=True)
class Answered:
    """Every item's scored answer, and what gave the last ones."""

    rows: Sequence[Row]
    device: str
    engine: Mapping[str, Any]


def answer(
    request: Request, run: Run, engine: EngineSettings, asked: Sequence[tuple[Checkpoint, Asked]], verifier: Verifier
) -> Answered | None:
    """Answers what data/<run_id>/completions.jsonl does not hold yet, one model after the other.

    Returns:
        All answers, those of earlier attempts too; None where the run was asked to stop.
    """
    device, facts = "none: every item had been answered", {}
    with Journal(request.data_dir / COMPLETIONS) as journal:
        done = {(row["arm"], row["item"]) for row in journal.rows}
        pace = Pace(run, sum(len(one.items) for _, one in asked), "item", done=len(done))
        for checkpoint in dict.fromkeys(checkpoint for checkpoint, _ in asked):
            missing = [
                one._replace(items=[item for item in one.items if (one.arm.name, item.id) not in done])
                for its, one in asked
                if its == checkpoint
            ]
            if not any(one.items for one in missing):
                continue
            with (
                closing(open_engine(engine, checkpoint, request.workspace)) as opened,
                closing(answers(opened, missing, verifier)) as chunks,
            ):
                device, facts = opened.device, dict(opened.facts)
                pace.begin(f"the model is loaded: {device}")
                for rows in chunks:
                    journal.append(rows)
                    pace.step(len(rows), rows[0]["arm"])
                    if run.should_stop():
                        return None
        return Answered(journal.rows, device, facts)
