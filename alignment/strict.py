"""Strict reading of YAML into frozen dataclasses: unknown keys, wrong types and values out of range, all at once.

A field's type is its default's; `setting` adds its meaning and its bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from alignment.refusal import Refusal

T = TypeVar("T")
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list",
    dict: "a mapping",
}


def setting(
    default: Any,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    required: bool = False,
) -> Any:
    """Declares a dataclass field that `read` understands."""
    facts = {"doc": doc, "minimum": minimum, "maximum": maximum, "choices": choices, "required": required}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={**facts, "type": dict})
    return field(default=default, metadata={**facts, "type": type(default)})


def read(kind: type[T], raw: Any, where: str, faults: list[str]) -> T:
    """Reads a mapping into a dataclass; what is wrong is added to `faults`, and the default stands in for it.

    Args:
        where: what the mapping is called in messages, such as "stage.yaml: generation".
    """
    known: dict[str, Field[Any]] = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        faults.append(f"{where}: expected a mapping, got {raw!r}")
        raw = {}
    faults += [f"{where}.{key}: unknown; it takes {', '.join(known)}" for key in raw if key not in known]
    faults += [f"{where}.{n}: missing" for n, f in known.items() if f.metadata["required"] and raw.get(n) is None]
    values = {}
    for name, value in raw.items():
        if name not in known or value is None:
            continue
        value = _coerced(known[name], value)
        if fault := _fault(known[name], value):
            faults.append(f"{where}.{name}: {fault}")
        else:
            values[name] = value
    return kind(**values)


def default_of(f: Field[Any]) -> Any:
    """Gives a declared field's default."""
    return f.default if f.default_factory is MISSING else f.default_factory()


def _coerced(f: Field[Any], value: Any) -> Any:
    """Turns YAML's lists into tuples, and whole numbers into floats where a float is meant."""
    if f.metadata["type"] is tuple and isinstance(value, list):
        return tuple(value)
    if f.metadata["type"] is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _fault(f: Field[Any], value: Any) -> str | None:
    kind, facts = f.metadata["type"], f.metadata
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        return f"expected {_NAMES[kind]}, got {value!r}"
    if kind is tuple and any(not isinstance(entry, str) for entry in value):
        return f"expected a list of texts, got {list(value)!r}"
    if facts["choices"] and value not in facts["choices"]:
        return f"{value!r} is not one of {', '.join(facts['choices'])}"
    if facts["minimum"] is not None and not value >= facts["minimum"]:
        return f"{value!r} is less than {facts['minimum']:g}"
    if facts["maximum"] is not None and not value <= facts["maximum"]:
        return f"{value!r} is more than {facts['maximum']:g}"
    return None


def read_yaml(path: Path) -> Any:
    """Reads one YAML document.

    Raises:
        Refusal: it is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refusal(f"{path}: not YAML: {' '.join(str(error).split())}", "mend the file") from error
