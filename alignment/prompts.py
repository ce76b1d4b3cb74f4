"""Prompts: the arms in which an instruction is put to a model, built from a stage's templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alignment.curriculum import Exemplar, Stage


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to ask: what makes the prompt, and the strings that end the answer."""

    name: str
    prompt: Callable[[str], str]  # of an instruction
    stop: tuple[str, ...]


def raw_prompt(stage: Stage, instruction: str) -> str:
    """Puts an instruction in the raw format, which the stage teaches."""
    return fill(stage.raw_template, instruction=instruction)


def cue_prompt(stage: Stage, instruction: str) -> str:
    """Puts an instruction behind a plain cue."""
    return fill(stage.cue_template, instruction=instruction)


def few_shot_prompt(stage: Stage, exemplars: Sequence[Exemplar], instruction: str) -> str:
    """Puts an instruction behind answered exemplars."""
    shots = (fill(stage.few_shot_template, instruction=e.instruction, response=e.response) for e in exemplars)
    return "".join(shots) + cue_prompt(stage, instruction)


def spread(exemplars: Sequence[Exemplar], count: int) -> list[Exemplar]:
    """Picks fixed exemplars, evenly over the file, so that they differ in kind."""
    step = len(exemplars) / min(count, len(exemplars))
    return [exemplars[int(index * step)] for index in range(min(count, len(exemplars)))]


def arms(stage: Stage, few_shot: int) -> Mapping[str, Arm]:
    """Builds a stage's arms: raw, cue and few-shot with `few_shot` fixed exemplars."""
    shots = spread(stage.exemplars, few_shot)
    return {
        "raw": Arm("raw", lambda instruction: raw_prompt(stage, instruction), stage.stop.raw),
        "cue": Arm("cue", lambda instruction: cue_prompt(stage, instruction), stage.stop.cue),
        "few_shot": Arm("few_shot", lambda text: few_shot_prompt(stage, shots, text), stage.stop.few_shot),
    }


def fill(template: str, **values: str) -> str:
    """Fills a template's places in one pass, so that braces inside the values stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda place: values.get(place[1], place[0]), template)
