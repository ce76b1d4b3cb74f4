"""Keeps secrets out of what a handler's words leave in the log, in status lines and in reports.

A secret is the value of an environment variable whose name says so, any value of the workspace's `.env`, and whatever has
the shape of a well-known kind of key. What a person writes into a task file is kept as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

HIDDEN = "[secret]"
MIN_LENGTH = 8  # shorter values are words that occur by chance
_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SHAPE = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_\w{16,}|gh[oprsu]_\w{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,})"
)


def hider(environment: Mapping[str, str], dotenv: Path) -> Callable[[str], str]:
    """Gives a function that replaces the secrets of a machine in a text, plain or JSON.

    Args:
        environment: the variables that handlers inherit.
        dotenv: a file of `NAME=value` lines, which may be missing.
    """
    values = {value for name, value in environment.items() if _NAME.search(name)}
    if dotenv.is_file():
        for line in dotenv.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            if not name.startswith("#"):
                values.add(value.strip().strip("'\""))
    values |= {json.dumps(value)[1:-1] for value in values}
    longest_first = sorted((value for value in values if len(value) >= MIN_LENGTH), key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
    return lambda text: _SHAPE.sub(HIDDEN, known.sub(HIDDEN, text))
