"""A small stage written by hand, for specifications that need to change one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

ITEMS: list[dict[str, Any]] = [
    {
        "id": "s1-answer-0001",
        "type": "answer",
        "instruction": "Answer this: What colour is the plum?",
        "reference": "The plum is purple.",
        "verifier": {"kind": "one_of", "answers": ["The plum is purple.", "Purple."]},
    },
    {
        "id": "s1-list-0002",
        "type": "list",
        "instruction": "List two animals.",
        "reference": "otter, fox",
        "verifier": {"kind": "items_of", "count": 2, "members": ["otter", "fox", "cow"]},
    },
    {
        "id": "s1-answer-0003",
        "type": "answer",
        "instruction": "Tell me where the otter lives.",
        "reference": "The otter lives in the river.",
        "verifier": {"kind": "contains", "all": ["the river"]},
    },
]
EXEMPLARS = [
    {"instruction": f"Say the number {n}.", "response": f"The number {n}.", "topic": "numbers"} for n in range(16)
]
GOLD = [
    {"instruction": "Say hello.", "response": "Hello.", "good": True, "fault": ""},
    {"instruction": "Say hello.", "response": "Go away.", "good": False, "fault": "rude"},
]


def write_stage(
    workspace: Path, *, items: list[dict[str, Any]] = ITEMS, sha256: str | None = None, **changes: Any
) -> Path:
    """Writes curricula/tiny/stage1; `changes` replace keys of stage.yaml, None takes one out."""
    folder = workspace / "curricula" / "tiny" / "stage1"
    folder.mkdir(parents=True)
    for name, rows in {"evaluation": items, "exemplars": EXEMPLARS, "gold": GOLD}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    digest = hashlib.sha256((folder / "evaluation.jsonl").read_bytes()).hexdigest()
    stage = {
        "stage": 1,
        "name": "explicit",
        "capability": "follow explicit instructions",
        "new_turn": ["Instruction:"],
        "gate": {"accuracy": 0.95},
        "evaluation": {"file": "evaluation.jsonl", "sha256": sha256 or digest},
        "generation": {"topics": ["numbers"]},
        "judge": {
            "template": "Instruction: {instruction}\nResponse: {response}\n{question}\nAnswer:",
            "questions": {"ab": "Is it good? A: yes. B: no.", "ba": "Is it good? A: no. B: yes."},
        },
        **changes,
    }
    (folder / "stage.yaml").write_text(
        yaml.safe_dump({key: value for key, value in stage.items() if value is not None})
    )
    return folder
