"""Runs one attempt of a task by itself: `python -m handlers state/runs/RUN/attempt-1`.

Reads request.json there, appends to events.jsonl, and writes outcome.json last.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from handlers.contract import OUTCOME, REQUEST, Blocked, Failed, Handler, Request, Run, outcome_to_json, write_durably


def handler_for(kind: str) -> Handler:
    """Finds the handler of a kind; each imports its libraries only when it is the one that runs."""
    match kind:
        case "baseline":
            from handlers.baseline import baseline

            return baseline
        case "generate":
            from handlers.generate import generate

            return generate
        case "train":
            from handlers.train import train

            return train
        case "evaluate":
            from handlers.evaluate import evaluate

            return evaluate
        case _:
            raise ValueError(f"handler: {kind!r} is not one of baseline, generate, train, evaluate")


def main(attempt_dir: Path) -> None:
    """Runs the request in `attempt_dir` and leaves its outcome there."""
    run = Run(attempt_dir)
    run.stop_on_signals()
    try:
        request = Request.from_json((attempt_dir / REQUEST).read_text(encoding="utf-8"))
        request.data_dir.mkdir(parents=True, exist_ok=True)
        outcome = handler_for(request.handler)(request, run)
    except OSError as error:  # a full disk or a missing file is something that a person can mend
        traceback.print_exc()
        outcome = Blocked(
            f"{type(error).__name__}: {error}", needs="mend what the message names, then move the task back to pending/"
        )
    except Exception as error:  # noqa: BLE001 - the edge of the process: everything ends up in the outcome
        traceback.print_exc()
        outcome = Failed(f"{type(error).__name__}: {error}")
    write_durably(attempt_dir / OUTCOME, outcome_to_json(outcome))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
