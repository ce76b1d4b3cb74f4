"""The constitution: the principles that judge and revise answers, read strictly and known by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alignment.locations import displayed, locate
from alignment.provenance import sha256_of_file
from alignment.refusal import Refusal
from alignment.strict import read, read_yaml, setting

CATEGORIES = ("helpfulness", "harmlessness", "honesty")


@dataclass(frozen=True, slots=True)
class Principle:
    """One principle, with what is said to make a model look for a breach and mend it."""

    id: str = setting("", "a short name", required=True)
    text: str = setting("", "the principle", required=True)
    category: str = setting("helpfulness", "what it serves", choices=CATEGORIES, required=True)
    critique: str = setting("", "asks for what breaks the principle", required=True)
    revision: str = setting("", "asks for the answer anew", required=True)


@dataclass(frozen=True, slots=True)
class Constitution:
    """The principles of one file."""

    path: Path
    sha256: str
    version: str
    principles: tuple[Principle, ...]


def load_constitution(name: str, workspace: Path) -> Constitution:
    """Reads a constitution.

    Raises:
        Refusal: it is missing, faulty or without principles; all faults are named.
    """
    path = locate(name, workspace)
    if path is None:
        raise Refusal(
            f"{name}: there is no such constitution", "write one, or mend curriculum.constitution in the profile"
        )
    where, raw = displayed(path, workspace), read_yaml(path)
    if not isinstance(raw, Mapping) or not isinstance(raw.get("principles"), list) or not raw["principles"]:
        raise Refusal(f"{where}: no principles", "write at least one, with id, text, category, critique and revision")
    faults = [
        f"{where}: {key}: unknown; it takes version, principles" for key in raw if key not in ("version", "principles")
    ]
    faults += [] if "version" in raw else [f"{where}: version: missing"]
    principles = [
        read(Principle, entry, f"{where}: principles[{index}]", faults) for index, entry in enumerate(raw["principles"])
    ]
    names = [principle.id for principle in principles]
    faults += [f"{where}: id {name!r} stands twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if faults:
        raise Refusal("; ".join(faults), "mend the constitution")
    return Constitution(path, sha256_of_file(path), str(raw["version"]), tuple(principles))
