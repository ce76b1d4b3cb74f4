"""Verifiers: programs that tell whether an answer fulfils its item. They score evaluations and never make data.

An item names a verifier by data: `{"kind": "one_of", "answers": [...]}`. Strict looks at the whole answer; loose at its
first non-empty line, without surrounding quotes, markdown and a closing full stop. White space around an answer
never counts, and length never does: an answer fails by what it says, or by running on (`runaway`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Spec = Mapping[str, Any]


class Verdict(NamedTuple):
    """Whether an answer passes, and why."""

    passed: bool
    reason: str


class Verifier(Protocol):
    """Scores one answer against an item's verifier spec; `verify` is the one in use."""

    def __call__(self, spec: Spec, answer: str, *, loose: bool = False) -> Verdict: ...


def verify(spec: Spec, answer: str, *, loose: bool = False) -> Verdict:
    """Scores an answer.

    Args:
        spec: an item's `verifier`, free of `spec_faults`.
        answer: the whole completion.
        loose: whether to judge the loosened answer, against loosened references.
    """
    text = loosen(answer) if loose else answer.strip()
    if not text:
        return Verdict(False, "empty")
    return KINDS[spec["kind"]].check(spec, text, loosen if loose else str.strip)


def runaway(text: str, finish_reason: str, new_turn: Iterable[str]) -> str:
    """Says how an answer ran on, or "" where it did not: by opening a new turn or hitting the token limit."""
    if finish_reason == "length":
        return "runaway: hit the token limit"
    opened = next((mark for mark in new_turn if mark in text), None)
    return "" if opened is None else f"runaway: opened a new turn with {opened!r}"


class Score(NamedTuple):
    """What a completion is worth: strict feeds the gate, loose is reported beside it."""

    strict: Verdict
    loose: Verdict  # of the first line alone, whatever the model wrote after it


def score(spec: Spec, text: str, finish_reason: str, new_turn: Iterable[str], verifier: Verifier = verify) -> Score:
    """Scores a completion: strictly, it must fulfil its verifier and not run on."""
    ran_on = runaway(text, finish_reason, new_turn)
    strict = Verdict(False, ran_on) if ran_on else verifier(spec, text)
    return Score(strict, verifier(spec, text, loose=True))


def loosen(text: str) -> str:
    """Takes the first non-empty line, without list and heading marks, emphasis, quotes and a closing full stop."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = re.sub(r"^(#+|[-*•]|>)\s+", "", line)
    before = None
    while line != before:
        before, line = line, line.strip().strip("\"'“”‘’`*_").removesuffix(".")
    return line


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of verifier: how it checks, what its spec must hold, and which changes of an answer it must notice.

    `keeps` and `loses` name variants of a known-good answer (see `alignment.selftest`) whose score must stay or go.
    """

    check: Callable[[Spec, str, Callable[[str], str]], Verdict]
    keys: Mapping[str, type[Any]]  # required
    optional: Mapping[str, type[Any]]
    keeps: frozenset[str]
    loses: frozenset[str]


def spec_faults(spec: Any, where: str = "verifier") -> list[str]:
    """Lists everything that is wrong with a verifier's data."""
    if not isinstance(spec, Mapping) or spec.get("kind") not in KINDS:
        return [f"{where}: expected a kind out of {', '.join(KINDS)}, got {spec!r}"]
    kind = KINDS[spec["kind"]]
    known = {**kind.keys, **kind.optional}
    faults = [f"{where}: {key} is missing for {spec['kind']}" for key in kind.keys if key not in spec]
    for key, value in spec.items():
        if key == "kind":
            continue
        if key not in known:
            faults.append(f"{where}: {key} is unknown to {spec['kind']}; it takes {', '.join(known)}")
        elif not isinstance(value, known[key]) or value in ([], ""):
            faults.append(f"{where}: {key} is {value!r}")
    if spec["kind"] == "matches" and not faults:
        try:
            re.compile(spec["pattern"])
        except re.error as error:
            faults.append(f"{where}: pattern {spec['pattern']!r}: {error}")
    if spec["kind"] == "count" and not faults and spec["unit"] not in _UNITS:
        faults.append(f"{where}: unit {spec['unit']!r} is not one of {', '.join(_UNITS)}")
    if spec["kind"] in ("all", "none_of") and not faults:
        for index, part in enumerate(spec["of"]):
            faults += spec_faults(part, f"{where}.of[{index}]")
    return faults


def _one_of(spec: Spec, text: str, normal: Callable[[str], str]) -> Verdict:
    if text in {normal(answer) for answer in spec["answers"]}:
        return Verdict(True, "is an accepted answer")
    return Verdict(False, "is none of the accepted answers")


def _contains(spec: Spec, text: str, _: Callable[[str], str]) -> Verdict:
    folded = text.casefold()
    for phrase in spec.get("none", ()):
        if phrase.casefold() in folded:
            return Verdict(False, f"contains {phrase!r}")
    missing = next((phrase for phrase in spec.get("all", ()) if phrase.casefold() not in folded), None)
    if missing is not None:
        return Verdict(False, f"lacks {missing!r}")
    if "any" in spec and not any(phrase.casefold() in folded for phrase in spec["any"]):
        return Verdict(False, "has none of the phrases")
    return Verdict(True, "has the phrases")


def _says(spec: Spec, text: str, _: Callable[[str], str]) -> Verdict:
    """Looks for whole words and numbers: "Niger" is not in "Nigeria", nor 43 in 1,043 or 43.5."""
    words = _plain(text)

    def said(phrase: str) -> bool:
        return re.search(rf"(?<!\w)(?<!\d[.,]){re.escape(_plain(phrase))}(?!\w|[.,]\d)", words) is not None

    if (wrong := next(filter(said, spec.get("none", ())), None)) is not None:
        return Verdict(False, f"says {wrong!r}")
    if (missing := next((phrase for phrase in spec.get("all", ()) if not said(phrase)), None)) is not None:
        return Verdict(False, f"does not say {missing!r}")
    if "any" in spec and not any(map(said, spec["any"])):
        return Verdict(False, "says none of the phrases")
    return Verdict(True, "says the phrases")


def _plain(text: str) -> str:
    """Folds case, typographic quotes and white space."""
    return " ".join(text.casefold().translate(_QUOTES).split())


_QUOTES = str.maketrans("‘’“”", "''\"\"")


def _items_of(spec: Spec, text: str, normal: Callable[[str], str]) -> Verdict:
    members = {normal(member).casefold() for member in spec["members"]}
    text = text.removeprefix(spec.get("prefix", "")).removesuffix(".")
    found: list[str] = []
    for part in (part.strip().removeprefix("and ") for part in text.split(",")):
        found += [part] if part.casefold() in members else part.split(" and ")
    stranger = next((part for part in found if part.casefold() not in members), None)
    if stranger is not None:
        return Verdict(False, f"{stranger[:60]!r} is no member")
    return _counted(found, spec["count"], "members")


def _sentences_of(spec: Spec, text: str, normal: Callable[[str], str]) -> Verdict:
    found = [normal(sentence) for sentence in re.split(r"(?<=[.!?])\s+", text)]
    allowed = {normal(sentence) for sentence in spec["sentences"]}
    stranger = next((sentence for sentence in found if sentence not in allowed), None)
    if stranger is not None:
        return Verdict(False, f"{stranger[:60]!r} is no accepted sentence")
    return _counted(found, spec["count"], "sentences")


def _counted(found: Sequence[str], count: int, noun: str) -> Verdict:
    if len({part.casefold() for part in found}) != len(found):
        return Verdict(False, f"repeats {noun}")
    return Verdict(len(found) == count, f"{len(found)} {noun} of {count}")


def _matches(spec: Spec, text: str, _: Callable[[str], str]) -> Verdict:
    matched = re.fullmatch(spec["pattern"], text) is not None
    return Verdict(matched, "matches the pattern" if matched else "does not match the pattern")


_UNITS = {"words": r"\s+", "sentences": r"(?<=[.!?])\s+", "lines": r"\s*\n\s*", "items": r"\s*,\s*"}


def _count(spec: Spec, text: str, _: Callable[[str], str]) -> Verdict:
    number = len(re.split(_UNITS[spec["unit"]], text))
    passed = spec.get("min", 0) <= number <= spec.get("max", number)
    return Verdict(passed, f"{number} {spec['unit']}")


def _json(spec: Spec, text: str, _: Callable[[str], str]) -> Verdict:
    try:
        value = json.loads(text)
    except ValueError:
        return Verdict(False, "is not JSON")
    if not isinstance(value, dict):
        return Verdict(False, "is not a JSON object")
    missing = [key for key in spec["keys"] if key not in value]
    return Verdict(not missing, f"lacks {missing[0]!r}" if missing else "has the keys")


def _all(spec: Spec, text: str, normal: Callable[[str], str]) -> Verdict:
    for part in spec["of"]:
        verdict = KINDS[part["kind"]].check(part, text, normal)
        if not verdict.passed:
            return verdict
    return Verdict(True, "fulfils every part")


def _none_of(spec: Spec, text: str, normal: Callable[[str], str]) -> Verdict:
    hit = next((part for part in spec["of"] if KINDS[part["kind"]].check(part, text, normal).passed), None)
    return Verdict(hit is None, "fulfils none of the parts" if hit is None else f"fulfils {hit['kind']}")


_EXACT = frozenset({"verbose", "truncated", "recased"})
KINDS: Mapping[str, Kind] = {
    "one_of": Kind(_one_of, {"answers": list}, {}, frozenset({"padded"}), _EXACT),
    "contains": Kind(
        _contains,
        {},
        {"all": list, "any": list, "none": list},
        frozenset({"padded", "recased"}),
        frozenset(),
    ),
    "says": Kind(
        _says,
        {},
        {"all": list, "any": list, "none": list},
        frozenset({"padded", "recased", "verbose"}),
        frozenset(),
    ),
    "items_of": Kind(
        _items_of,
        {"count": int, "members": list},
        {"prefix": str},
        frozenset({"padded"}),
        frozenset({"verbose", "truncated"}),
    ),
    "sentences_of": Kind(_sentences_of, {"count": int, "sentences": list}, {}, frozenset({"padded"}), _EXACT),
    "matches": Kind(_matches, {"pattern": str}, {}, frozenset({"padded"}), frozenset()),
    "count": Kind(_count, {"unit": str}, {"min": int, "max": int}, frozenset({"padded", "recased"}), frozenset()),
    "json": Kind(_json, {"keys": list}, {}, frozenset({"padded"}), frozenset({"verbose", "truncated"})),
    "all": Kind(_all, {"of": list}, {}, frozenset({"padded"}), frozenset()),
    "none_of": Kind(_none_of, {"of": list}, {}, frozenset({"padded"}), frozenset()),
}
