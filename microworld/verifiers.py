"""Reads the verifiers of evaluation items, so that the corpus can tell a good response from a spoilt one.

Knows the kinds that curricula/micro uses, strictly: the whole response is judged. The project's own scorers read the
same data with more care; this module has no part in any evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Verifier = dict[str, Any]


def sentences(text: str) -> list[str]:
    """Splits a text behind each full stop, question mark or exclamation mark."""
    return re.split(r"(?<=[.!?])\s+", text.strip())


def _contains(v: Verifier, text: str) -> bool:
    low = text.lower()
    found = [phrase.lower() in low for phrase in v.get("any", [])]
    return (
        (not found or any(found))
        and all(phrase.lower() in low for phrase in v.get("all", []))
        and not any(phrase.lower() in low for phrase in v.get("none", []))
    )


def _items_of(v: Verifier, text: str) -> bool:
    body = text.removeprefix(v.get("prefix", "")).strip().removesuffix(".")
    items = [item.strip() for item in body.split(",")]
    return len(items) == len(set(items)) == v["count"] and set(items) <= set(v["members"])


def _sentences_of(v: Verifier, text: str) -> bool:
    said = sentences(text)
    return len(said) == len(set(said)) == v["count"] and set(said) <= set(v["sentences"])


def _count(v: Verifier, text: str) -> bool:
    parts = {"words": text.split(), "sentences": sentences(text), "lines": text.splitlines()}[v["unit"]]
    return bool(v.get("min", 0) <= len(parts) <= v.get("max", len(parts)))


KINDS: dict[str, Callable[[Verifier, str], bool]] = {
    "one_of": lambda v, text: text in v["answers"],
    "contains": _contains,
    "items_of": _items_of,
    "sentences_of": _sentences_of,
    "matches": lambda v, text: re.fullmatch(v["pattern"], text) is not None,
    "count": _count,
    "all": lambda v, text: all(accepts(part, text) for part in v["of"]),
    "none_of": lambda v, text: not any(accepts(part, text) for part in v["of"]),
}


def accepts(verifier: Verifier, response: str) -> bool:
    """Tells whether a whole response passes a verifier."""
    return KINDS[verifier["kind"]](verifier, response.strip())
