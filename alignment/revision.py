"""Critique and revision by one principle: the prompts, which revisions can be used, and what became of each principle.

Pure: what the model says comes from `alignment.drawing`, what its critic says from `alignment.critic`.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from alignment.constitution import Principle
from alignment.curriculum import Critique, Stage
from alignment.curriculum import Revision as Plan
from alignment.prompts import fill
from alignment.provenance import row_id
from alignment.refusal import Refusal


class Draft(NamedTuple):
    """An answer that breaks a principle, to be criticised and revised."""

    instruction: str
    text: str
    principle: str  # its id
    round: int  # from 1

    @property
    def key(self) -> str:
        """Identifies the revision."""
        return row_id(*self)


@dataclass
class Record:
    """What became of a principle."""

    drawn: int = 0  # answers that were looked at by it
    broken: int = 0  # … that the critic found to break it, and that were revised by it
    won: int = 0  # … whose revision the critic prefers in both label orders
    kept: int = 0  # … whose revision became a row

    def as_figures(self) -> dict[str, int]:
        """Gives the record as JSON."""
        return asdict(self)


class Reviser:
    """Builds the prompts of critiques and revisions, behind exemplars of the same principle."""

    def __init__(self, stage: Stage, principles: Sequence[Principle], seed: int) -> None:
        """Draws each principle's exemplars once, so that prompts by one principle share a beginning.

        Raises:
            Refusal: the stage does not revise, or an exemplar names a principle that the constitution lacks.
        """
        if stage.revision is None:
            raise Refusal(f"stage {stage.number}: stage.yaml has no revision section", "add one, with critiques.jsonl")
        self.plan: Plan = stage.revision
        self._principles = {principle.id: principle for principle in principles}
        if unknown := sorted({c.principle for c in stage.critiques} - self._principles.keys()):
            raise Refusal(
                f"critiques.jsonl: principle {unknown[0]!r} is not in the constitution",
                f"name principles out of {', '.join(self._principles)}",
            )
        self._prefixes = {}
        for name in self._principles:
            rng = random.Random(f"{seed} critiques {name}")
            own = [c for c in stage.critiques if c.principle == name]
            others = [c for c in stage.critiques if c.principle != name]
            shown = rng.sample(own, min(len(own), self.plan.exemplars))
            shown += rng.sample(others, min(len(others), self.plan.exemplars - len(shown)))
            rng.shuffle(shown)
            self._prefixes[name] = "".join(map(self._exemplar, shown))

    def drawn(self, instruction: str, seed: int) -> list[str]:
        """Draws the order in which an answer is held against the principles."""
        return random.Random(f"{seed} principles {instruction}").sample(list(self._principles), len(self._principles))

    def critique_prompt(self, draft: Draft) -> str:
        """Asks what in a draft breaks its principle."""
        return self._prefixes[draft.principle] + self._block(draft.instruction, draft.text, draft.principle)

    def revision_prompt(self, draft: Draft, critique: str) -> str:
        """Asks for the answer anew, after the critique."""
        return f"{self.critique_prompt(draft)} {critique}{self._demand(draft.principle)}"

    def fault(self, draft: Draft, revised: str) -> str:
        """Says why a revision cannot be used, or "": it changes nothing, changes too much in length, or talks of itself."""
        changed = 1 - difflib.SequenceMatcher(None, draft.text, revised, autojunk=False).ratio()
        if changed <= self.plan.least_edit:
            return "unchanged"
        if not self.plan.least_length <= len(revised) / len(draft.text) <= self.plan.most_length:
            return "length"
        words = revised.casefold()
        return "meta_text" if any(mark in words for mark in self.plan.meta_text) else ""

    def _exemplar(self, shown: Critique) -> str:
        block = self._block(shown.instruction, shown.draft, shown.principle)
        return f"{block} {shown.critique}{self._demand(shown.principle)} {shown.revision}\n\n"

    def _block(self, instruction: str, draft: str, principle: str) -> str:
        question = self._principles[principle].critique
        return fill(self.plan.critique_template, instruction=instruction, draft=draft, question=question)

    def _demand(self, principle: str) -> str:
        return fill(self.plan.revision_template, demand=self._principles[principle].revision)


def first_broken(order: Sequence[str], outcomes: Mapping[str, str]) -> str:
    """Names the first of the drawn principles that an answer breaks, or ""."""
    return next((name for name in order if outcomes[name] == "bad"), "")


def never_won(records: Mapping[str, Record]) -> list[str]:
    """Lists the principles that changed nothing: a constitution's dead letters."""
    return [name for name, record in records.items() if not record.won]


def keeps_all(outcomes: Iterable[str]) -> bool:
    """Tells whether the critic is sure, in both label orders, that an answer keeps every principle."""
    return all(outcome == "good" for outcome in outcomes)
