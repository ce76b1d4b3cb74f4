"""Candidate answers: what is asked for each instruction, behind which exemplars, and which answers can be used."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from alignment.curriculum import Exemplar, Stage
from alignment.prompts import few_shot_prompt, raw_prompt
from alignment.provenance import row_id
from alignment.settings import GenerateSettings


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to draw."""

    instruction: str
    arm: Literal["few_shot", "raw"]
    index: int
    exemplar_set: int
    seed: int

    @property
    def key(self) -> str:
        """Identifies the draw."""
        return row_id(self.instruction, self.arm, self.index)


def exemplar_sets(stage: Stage, sets: int, seed: int) -> list[list[Exemplar]]:
    """Draws fixed exemplar sets: prompts of one set share a prefix, and several sets do not all hang on one choice."""
    rng = random.Random(f"{seed} exemplars")
    count = min(stage.generation.response_exemplars, len(stage.exemplars))
    return [rng.sample(stage.exemplars, count) for _ in range(sets)]


def candidates(instructions: Sequence[str], settings: GenerateSettings, seed: int) -> list[Candidate]:
    """Lists the answers to draw: N few-shot ones an instruction, each behind another set, and a raw one to reject."""
    asked = []
    for instruction in instructions:
        rng = random.Random(f"{seed} answers {instruction}")
        start = rng.randrange(settings.exemplar_sets)
        for index in range(settings.candidates):
            chosen = (start + index) % settings.exemplar_sets
            asked.append(Candidate(instruction, "few_shot", index, chosen, rng.getrandbits(63)))
        asked.append(Candidate(instruction, "raw", 0, 0, rng.getrandbits(63)))
    return sorted(asked, key=lambda c: (c.arm, c.exemplar_set, c.instruction, c.index))


def prompt_of(candidate: Candidate, stage: Stage, sets: Sequence[Sequence[Exemplar]]) -> str:
    """Builds the prompt that draws an answer."""
    if candidate.arm == "raw":
        return raw_prompt(stage, candidate.instruction)
    return few_shot_prompt(stage, sets[candidate.exemplar_set], candidate.instruction)


def unusable(text: str, finish_reason: str, new_turn: Iterable[str]) -> str:
    """Says why an answer cannot be used, or "": it was cut off, is empty, or opens a new turn. Length is no reason."""
    if finish_reason == "length":
        return "cut_off"
    if not text.strip():
        return "empty"
    return "new_turn" if any(mark in text for mark in new_turn) else ""
