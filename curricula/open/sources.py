"""The tables beside this file, and verifiers built from them.

Facts are split once, by the seed: a quarter of each relation only serves gold answers, the rest only evaluation items, so
that no item of the one can leak into the other.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TABLES = Path(__file__).resolve().parent / "tables"
SEED = 20260105
GOLD_SHARE = 0.25
Spec = dict[str, Any]

ONES = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ALIASES = {"one half": ["a half", "1/2", "½"], "one third": ["a third", "1/3", "⅓"], "two thirds": ["2/3", "⅔"],
           "one quarter": ["a quarter", "1/4", "¼"], "three quarters": ["3/4", "¾"], "a million": ["one million", "1,000,000"],
           "a thousand": ["one thousand", "1,000"]}  # fmt: skip


def table(name: str) -> Any:
    """Reads a table."""
    return yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))


def dice(purpose: str) -> random.Random:
    """Gives a generator of its own to each purpose, so that a change of one type leaves the others as they are."""
    return random.Random(f"{SEED} {purpose}")


@dataclass(frozen=True)
class Fact:
    """One fact, in the ways in which it is asked for and told."""

    relation: str
    subject: str
    question: str
    indirect: str
    answers: tuple[str, ...]  # all that are accepted; the first is the reference
    wrong: str
    template: str  # the statement, with {y}

    def statement(self, answer: str = "") -> str:
        """States the fact, or something false of the same kind."""
        told = answer or self.answers[0]
        template = self.template.replace(" a {y}", " an {y}") if told[0] in "aeiou" else self.template
        return capital(template.replace("{y}", told))


def facts(*, gold: bool = False) -> list[Fact]:
    """Lists the facts of evaluation, or those of gold answers, in one fixed shuffled order."""
    judged: list[Fact] = []
    asked: list[Fact] = []
    for name, relation in table("facts").items():
        rows = _singles(relation) if name == "singles" else _related(name, relation)
        dice(f"split {name}").shuffle(rows)
        cut = max(2, round(GOLD_SHARE * len(rows)))
        judged += rows[:cut]
        asked += rows[cut:]
    subjects = {fact.subject for fact in asked}  # "the currency of Mongolia" is near to "the capital of Mongolia"
    found = [fact for fact in judged if fact.subject not in subjects] if gold else asked
    dice("facts").shuffle(found)
    return found


def _singles(rows: list[Any]) -> list[Fact]:
    return [Fact(question, question, question, indirect, tuple(answers), wrong, template)
            for question, indirect, template, answers, wrong in rows]  # fmt: skip


def _related(name: str, relation: dict[str, Any]) -> list[Fact]:
    rng = dice(f"wrong {name}")
    accepted = {}
    for x, answers in relation["facts"].items():
        forms = [answers] if isinstance(answers, str) else list(answers)
        if relation.get("surnames"):
            forms += [form.rpartition(" ")[2] for form in forms if " " in form]
        if relation.get("plurals"):
            forms += [form.removesuffix("s") if form.endswith("s") else f"{form}s" for form in forms]
        accepted[x] = tuple(dict.fromkeys(forms))
    made = []
    for x, forms in accepted.items():
        others = sorted({other[0] for other in accepted.values() if not set(other) & set(forms)})
        question, indirect, template = (
            relation[key].replace("{x}", x) for key in ("question", "indirect", "statement")
        )
        made.append(Fact(name, x, question, indirect, forms, rng.choice(others), template))
    return made


# ------------------------------------------------- verifiers


def says(*any_: str, all_: tuple[str, ...] = (), none: tuple[str, ...] = ()) -> Spec:
    """Whole words and numbers, wherever they stand."""
    spec: Spec = {"kind": "says"}
    spec |= {"all": list(all_)} if all_ else {}
    spec |= {"any": list(any_)} if any_ else {}
    return spec | ({"none": list(none)} if none else {})


def holds(*stems: str) -> Spec:
    """A word that begins with one of some stems; one of up to three letters is a whole word unless it ends in a star."""
    ends = [
        re.escape(stem.rstrip("*")) + (r"\w*" if len(stem) > 3 or not stem.isalpha() else r"(?:s|es)?")
        for stem in stems
    ]
    return matches(rf"(?is)(?:.*\W)?(?:{'|'.join(ends)})(?:\W.*)?")


def matches(pattern: str) -> Spec:
    """A pattern of the whole answer."""
    return {"kind": "matches", "pattern": pattern}


def words(at_most: int, at_least: int = 1) -> Spec:
    """A number of words."""
    return {"kind": "count", "unit": "words", "min": at_least, "max": at_most}


def sentences(at_most: int, at_least: int = 1) -> Spec:
    """A number of sentences."""
    return {"kind": "count", "unit": "sentences", "min": at_least, "max": at_most}


def both(*parts: Spec) -> Spec:
    """Every part."""
    return {"kind": "all", "of": list(parts)}


def number(value: int) -> Spec:
    """A number, in digits or in words."""
    return says(*number_forms(value))


def number_forms(value: int) -> list[str]:
    """Lists how a number is written."""
    forms = [str(value)]
    if value >= 1000:
        forms.append(f"{value:,}")
    if value <= 100:
        forms += in_words(value)
    return forms


def in_words(value: int) -> list[str]:
    """Writes a number up to 100 in words, with and without hyphen."""
    if value == 100:
        return ["one hundred", "a hundred", "hundred"]
    if value < 20:
        return [ONES[value]]
    tens, ones = TENS[value // 10], value % 10
    return [f"{tens}-{ONES[ones]}", f"{tens} {ONES[ones]}"] if ones else [tens]


def in_order(parts: list[str]) -> Spec:
    """Words in an order, with nothing but commas, dashes, "and" or "then" between them."""
    between = r"[\s,;<>→–\"'*-]+(?:(?:and|then)[\s,]+)*(?:\d+[.)]\s*)?[\"'*]*"
    return matches(rf"(?is)(.*\W)?{between.join(map(re.escape, parts))}(\W.*)?")


def first_named(right: str, wrong: str, adjective: str) -> Spec:
    """The right one is named before the other one, or said to be it."""
    one, other = (rf"(?:{'|'.join(re.escape(f) for f in forms(thing))})" for thing in (right, wrong))
    said = rf"(?:the )?{re.escape(adjective)}"
    return matches(rf"(?is)(?:(?!\b{other}\b).)*\b{one}\b.*|.*\b{one} (?:is|are|was) (?:[\w ]+ )?{said}.*")


def forms(thing: str) -> list[str]:
    """Lists a thing's names, with and without its article."""
    bare = re.sub(r"^(an?|the) ", "", thing)
    return list(dict.fromkeys([thing, bare, *ALIASES.get(thing, [])]))


def verdict(word: str, *others: str) -> Spec:
    """An answer that begins with a verdict, such as yes or true."""
    accepted = "|".join([word, *others])
    frame = r"(?:(?:the |my )?(?:answer|statement|verdict)(?: is)?:?\W*|(?:it|that|this)(?: is|'s) )?"
    return matches(rf"(?is)\W*{frame}(?:{accepted})\b(?! or (?:no|false)\b).*")


def choice(label: str) -> Spec:
    """A choice of A or B, with or without a frame around the letter."""
    other = "B" if label == "A" else "A"
    noun = r"(?:answer|sentence|option|choice|one|response)"
    frame = rf"(?:(?:the |my )?(?:better|best|correct|right)?\s*{noun}?(?: is| would be)?:?\s*)?"
    return matches(
        rf"(?s)\W*(?i:{frame})\W*{label}\b(?! (?:better|correct|good|sentence)\b)(?! (?:and|or) {other}\b).*"
    )


def capital(text: str) -> str:
    """Begins a text with a capital."""
    return text[:1].upper() + text[1:]


def lowered(text: str) -> str:
    """Begins a question without its capital, unless it is a name's."""
    return text[:1].lower() + text[1:]
