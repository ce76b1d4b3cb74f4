"""The next round of a stage whose gate was not reached: generate with the newest model, train on, evaluate."""

from __future__ import annotations

import json

from handlers.contract import Request, Run


def propose_round(request: Request, run: Run) -> bool:
    """Proposes the task files of the round after a failed evaluation.

    The names derive from this task's, so that a repeated attempt proposes the same files.

    Returns:
        Whether a round was left.
    """
    number = int(request.params.get("round", 1)) + 1
    rounds = int(request.params.get("rounds", 1))
    if number > rounds:
        return False
    stamp = "_".join(request.task_id.split("_")[:3])
    names = {kind: f"{stamp}_stage{request.stage}_round{number}_{kind}" for kind in ("generate", "train", "evaluate")}
    given = {key: request.params[key] for key in ("profile", "seed") if key in request.params}
    fresh = {**given, "seed": int(request.params.get("seed", 0)) + number - 1}  # the same seed would draw the same rows
    ask = {
        "generate": (fresh, request.task_id),
        "train": (fresh, names["generate"]),
        "evaluate": ({**given, "round": number, "rounds": rounds}, names["train"]),
    }
    for kind, (params, after) in ask.items():
        front = {"handler": kind, "stage": request.stage, "depends_on": [after], "params": params}
        lines = [f"{key}: {json.dumps(value)}" for key, value in front.items()]
        title = f"# Round {number} of stage {request.stage}: {kind} with the newest model"
        why = f"Proposed by {request.task_id}: the gate was not reached in round {number - 1} of {rounds}."
        run.propose(f"{names[kind]}.md", "\n".join(["---", *lines, "---", title, why, ""]))
    return True
