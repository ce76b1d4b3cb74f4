"""Tests a verifier before it is used: a public run's scorer failed every answer above 500 characters and nobody saw.

Three parts. Synthetic answers of 10 to 5,000 characters, good and spoilt, for each kind of verifier that the items
use; the runaway check on the same lengths; and every item's own reference with its variants.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from alignment.curriculum import Item
from alignment.refusal import Refusal
from alignment.scorers import KINDS, Spec, Verifier, runaway, spec_faults, verify

LENGTHS = (10, 50, 100, 200, 201, 300, 500, 501, 1000, 1001, 2000, 5000)  # characters
_PADDING = " " * 600 + "\n"  # on both sides: more than 1,000 characters in all
_SHORTEST_CUT = 8  # characters; what is left of a shorter answer may itself be an accepted one
_SHOWN = 5  # faults spelled out in a refusal


class Case(NamedTuple):
    """A synthetic spec with an answer that passes and one that fails."""

    spec: Spec
    good: str
    bad: str


def self_test(items: Sequence[Item], new_turn: Sequence[str], verifier: Verifier = verify) -> None:
    """Refuses a verifier, or a set of items, whose known-good answers do not score as declared.

    Raises:
        Refusal: items carry a faulty spec, the verifier or the runaway check fails on synthetic answers, or an item's
            own reference does not pass.
    """
    if faults := [fault for item in items for fault in spec_faults(item.verifier, f"item {item.id}: verifier")]:
        raise Refusal(_listed(faults), "mend the items' verifiers")
    kinds = sorted({kind for item in items for kind in _kinds_in(item.verifier)})
    if faults := [*_synthetic_faults(kinds, verifier), *_runaway_faults(new_turn)]:
        raise Refusal(
            f"the scorer fails its own test: {_listed(faults)}",
            "mend the scorer; until then nothing may be scored with it",
        )
    if faults := [fault for item in items for fault in _item_faults(item, new_turn, verifier)]:
        raise Refusal(_listed(faults), "mend the reference or the verifier of these items, or the scorer's kind")


def variants(answer: str) -> dict[str, str]:
    """Changes a known-good answer in the ways that a kind of verifier declares to keep or to lose."""
    changed = {
        "padded": f"{_PADDING}{answer}{_PADDING}",
        "verbose": f"{answer} Of course, there is always something more that could be said about it.",
    }
    if len(answer) >= _SHORTEST_CUT:
        changed["truncated"] = answer[:2]
    if answer.swapcase() != answer:
        changed["recased"] = answer.swapcase()
    return changed


def _synthetic_faults(kinds: Iterable[str], verifier: Verifier) -> Iterable[str]:
    for kind in kinds:
        for length in LENGTHS:
            spec, good, bad = _CASES[kind](length)
            for name, answer in {"known-good": good, "padded known-good": f"{_PADDING}{good}{_PADDING}"}.items():
                for loose in (False, True):
                    verdict = verifier(spec, answer, loose=loose)
                    if not verdict.passed:
                        mode = "loose" if loose else "strict"
                        yield f"{kind}, {mode}: a {name} answer of {len(answer)} characters fails ({verdict.reason})"
            if verifier(spec, bad).passed:
                yield f"{kind}: a spoilt answer of {len(bad)} characters passes"


def _runaway_faults(new_turn: Sequence[str]) -> Iterable[str]:
    for length in LENGTHS:
        answer = _sentences(length)
        if reason := runaway(answer, "stop", new_turn):
            yield f"runaway: an ended answer of {len(answer)} characters is flagged ({reason})"
        if not runaway(answer, "length", new_turn):
            yield f"runaway: an answer cut at the token limit after {len(answer)} characters is not flagged"
        for mark in new_turn:
            if not runaway(answer + mark, "stop", new_turn):
                yield f"runaway: an answer of {len(answer)} characters that opens a new turn is not flagged"


def _item_faults(item: Item, new_turn: Sequence[str], verifier: Verifier) -> Iterable[str]:
    where = f"item {item.id}"
    if reason := runaway(item.reference, "stop", new_turn):
        yield f"{where}: its own reference {item.reference[:80]!r} counts as {reason}"
    for loose in (False, True):
        verdict = verifier(item.verifier, item.reference, loose=loose)
        if not verdict.passed:
            yield f"{where}: its own reference {item.reference[:80]!r} fails ({verdict.reason})"
    kind = KINDS[item.verifier["kind"]]
    for name, answer in variants(item.reference).items():
        passed = verifier(item.verifier, answer).passed
        if name in kind.keeps and not passed:
            yield f"{where}: its {name} reference fails, which {item.verifier['kind']} must accept"
        if name in kind.loses and passed:
            yield f"{where}: its {name} reference passes, which {item.verifier['kind']} must not accept"


def _kinds_in(spec: Spec) -> set[str]:
    return {spec["kind"]}.union(*(_kinds_in(part) for part in spec.get("of", ())))


def _listed(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return "; ".join(faults[:_SHOWN]) + more


def _sentences(length: int) -> str:
    """Writes distinct short sentences, about `length` characters in all."""
    return " ".join(f"Fact {number} holds." for number in range(max(1, length // 15)))


def _one_of(length: int) -> Case:
    answer = _sentences(length)
    return Case({"kind": "one_of", "answers": [answer]}, answer, f"No. {answer}")


def _contains(length: int) -> Case:
    filler = _sentences(length)
    spec = {"kind": "contains", "all": ["kestrel"], "none": ["ostrich"]}
    return Case(spec, f"{filler} A kestrel.", f"{filler} A kestrel and an ostrich.")


def _says(length: int) -> Case:
    filler = _sentences(length)
    spec = {"kind": "says", "any": ["kestrel"], "none": ["ostrich"]}
    return Case(spec, f"{filler} A Kestrel.", f"{filler} Two kestrels.")


def _items_of(length: int) -> Case:
    members = [f"thing {number}" for number in range(max(2, length // 10))]
    return Case({"kind": "items_of", "count": len(members), "members": members}, ", ".join(members), "thing 0, thing 0")


def _sentences_of(length: int) -> Case:
    answer = _sentences(length)
    accepted = answer.split(". ")
    accepted = [sentence.removesuffix(".") + "." for sentence in accepted]
    spec = {"kind": "sentences_of", "count": len(accepted), "sentences": accepted}
    return Case(spec, answer, f"{answer} Fact x holds.")


def _matches(length: int) -> Case:
    answer = "word " * max(1, length // 5) + "end"
    return Case({"kind": "matches", "pattern": "(word )+end"}, answer, f"{answer} of it")


def _count(length: int) -> Case:
    words = max(2, length // 5)
    return Case({"kind": "count", "unit": "words", "min": words, "max": words}, "word " * words, "word " * (words + 1))


def _json(length: int) -> Case:
    return Case({"kind": "json", "keys": ["a"]}, json.dumps({"a": "x" * length}), json.dumps({"b": "x" * length}))


def _all(length: int) -> Case:
    spec, good, bad = _contains(length)
    return Case({"kind": "all", "of": [spec, {"kind": "count", "unit": "words", "min": 1}]}, good, bad)


def _none_of(length: int) -> Case:
    spec, good, bad = _contains(length)
    return Case({"kind": "none_of", "of": [spec]}, bad, good)


_CASES: dict[str, Callable[[int], Case]] = {
    "one_of": _one_of,
    "contains": _contains,
    "says": _says,
    "items_of": _items_of,
    "sentences_of": _sentences_of,
    "matches": _matches,
    "count": _count,
    "json": _json,
    "all": _all,
    "none_of": _none_of,
}
