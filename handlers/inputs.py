"""What a task works on: the model that its parameters or its dependencies name."""

from __future__ import annotations

from pathlib import Path

from alignment.checkpoint import MODEL
from handlers.contract import Request


def named_model(request: Request) -> str | Path | None:
    """Names the model: the task's parameter, else what the nearest dependency that made one left, else None."""
    if request.params.get("model") is not None:
        return str(request.params["model"])
    folders = [given.data_dir for given in request.inputs if (given.data_dir / MODEL).exists()]
    return folders[0] if folders else None
