"""The micro world: its entities, its facts and how they are said.

Owns the reading of microworld/world/ (one table an entity class, relations.yaml for the phrasings) and nothing else:
it knows neither instructions nor documents. Days, months and sums are rules and have no table.
"""

from __future__ import annotations

import csv
import functools
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TABLES = {
    "animal": "animals.csv",
    "food": "foods.csv",
    "thing": "things.csv",
    "person": "people.csv",
    "country": "countries.csv",
    "job": "jobs.csv",
}
FOLDER = Path(__file__).parent / "world"
LISTS: dict[str, tuple[str, ...]] = {
    name: tuple(words) for name, words in yaml.safe_load((FOLDER / "lists.yaml").read_text()).items()
}
DAYS, MONTHS, NUMBERS, COLOURS = LISTS["days"], LISTS["months"], LISTS["numbers"], LISTS["colours"]
FIXED_TOPICS = {
    "word": "opposites",
    "day": "days and months",
    "month": "days and months",
    "sum": "numbers",
    "colour": "colours",
}


@dataclass(frozen=True, slots=True)
class Key:
    """What a fact is about: which relation of which entity."""

    kind: str
    entity: str
    relation: str


@dataclass(frozen=True, slots=True)
class Relation:
    """The phrasings of one relation; see relations.yaml."""

    say: tuple[str, ...]
    ask: tuple[str, ...]
    tell: tuple[str, ...]
    begin: tuple[str, ...]
    need: tuple[str, ...]


def capital(text: str) -> str:
    """Returns the text with its first letter upper case."""
    return text[:1].upper() + text[1:]


def article(word: str) -> str:
    """Returns the word behind its indefinite article."""
    return ("an " if word[0].lower() in "aeiou" else "a ") + word


def render(phrasing: str, entity: str, value: str = "") -> str:
    """Fills a phrasing, with the indefinite article that the inserted word asks for."""
    text = phrasing
    for slot, word in (("{v}", value), ("{e}", entity)):
        if word and word[0] in "aeiou":
            text = re.sub(r"\b([aA]) " + re.escape(slot), r"\1n " + slot, text)
        text = text.replace(slot, word)
    return capital(text)


class World:
    """All entities and facts, with the phrasings in which they are said, asked and told."""

    def __init__(self, folder: Path) -> None:
        phrasings: dict[str, Any] = yaml.safe_load((folder / "relations.yaml").read_text())
        self.plurals = {kind: body["plural"] for kind, body in phrasings.items()}
        self.subjects = {kind: body["subject"] for kind, body in phrasings.items()}
        self.relations = {
            kind: {
                name: Relation(**{part: tuple(p) for part, p in rel.items()}) for name, rel in body["relations"].items()
            }
            for kind, body in phrasings.items()
        }
        self.facts: dict[Key, str] = {}
        self.topics: dict[tuple[str, str], str] = {}
        self.phones: dict[str, str] = {}
        for kind, name in TABLES.items():
            with open(folder / name, newline="") as table:
                for row in csv.DictReader(table):
                    self.topics[kind, row["name"]] = row["topic"]
                    for relation in self.relations[kind]:
                        self.facts[Key(kind, row["name"], relation)] = row[relation]
                    if kind == "person":
                        self.phones[row["name"]] = row["phone"]
        self._add_rules(folder)
        self.keys = tuple(self.facts)
        self.entities: dict[str, list[str]] = {}
        self.values: dict[tuple[str, str], list[str]] = {}
        for key, value in self.facts.items():
            names = self.entities.setdefault(key.kind, [])
            if key.entity not in names[-1:]:
                names.append(key.entity)
            known = self.values.setdefault((key.kind, key.relation), [])
            if value not in known:
                known.append(value)
        self.keys_by_kind: dict[str, list[Key]] = {}
        for key in self.keys:
            self.keys_by_kind.setdefault(key.kind, []).append(key)
        self.keys_of = {
            (kind, name): [Key(kind, name, relation) for relation in self.relations[kind]]
            for kind, names in self.entities.items()
            for name in names
        }

    def _add_rules(self, folder: Path) -> None:
        with open(folder / "words.csv", newline="") as table:
            for row in csv.DictReader(table):
                self.facts[Key("word", row["name"], "opposite")] = row["opposite"]
                self.facts[Key("word", row["opposite"], "opposite")] = row["name"]
        for kind, names in (("day", DAYS), ("month", MONTHS)):
            for i, name in enumerate(names):
                self.facts[Key(kind, name, "next")] = names[(i + 1) % len(names)]
                self.facts[Key(kind, name, "previous")] = names[i - 1]
        for a in range(1, 10):
            for b in range(1, 10):
                self.facts[Key("sum", f"{NUMBERS[a]} plus {NUMBERS[b]}", "total")] = NUMBERS[a + b]

    def topic(self, kind: str, entity: str) -> str:
        """Returns the topic under which worksheets file an entity."""
        return FIXED_TOPICS.get(kind) or self.topics[kind, entity]

    def subject(self, kind: str, entity: str) -> str:
        """Returns how an entity is named inside a sentence."""
        return str(self.subjects[kind]).replace("{e}", entity)

    def phrasing(self, key: Key) -> Relation:
        """Returns the phrasings of a key's relation."""
        return self.relations[key.kind][key.relation]

    def statements(self, key: Key, value: str = "") -> tuple[str, ...]:
        """Returns every declarative of a key, canonical first; true ones unless a value is given."""
        said = value or self.facts[key]
        return tuple(render(phrasing, key.entity, said) for phrasing in self.phrasing(key).say)

    def statement(self, key: Key, value: str = "") -> str:
        """Returns the canonical declarative of a key; the true one unless a value is given."""
        return render(self.phrasing(key).say[0], key.entity, value or self.facts[key])

    def other_value(self, key: Key, rng: random.Random) -> str:
        """Draws a value of the key's relation that the fact does not have."""
        values = self.values[key.kind, key.relation]
        while True:
            value = rng.choice(values)
            if value != self.facts[key]:
                return value


def lower_start(sentence: str) -> str:
    """Returns a sentence ready to stand behind a comma: its first letter lower case unless it opens with a name."""
    return sentence[0].lower() + sentence[1:] if sentence.split()[0] in _LOWERED else sentence


_LOWERED = frozenset({"The", "A", "People"} | {capital(number) for number in NUMBERS})


@functools.cache
def load() -> World:
    """Reads the world that ships with the project."""
    return World(FOLDER)
