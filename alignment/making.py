"""Makes a stage's rows out of its instructions: here by few-shot answers and the critic's choice among them.

The other way, by critique and revision, is `alignment.constitutional`; a stage's data say which one it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from alignment.assembly import (
    cases_of,
    chosen_cases,
    judge,
    pair_rows,
    sft_rows,
    usable_answers,
    without_unsafe,
)
from alignment.critic import Case, Critic, Reading
from alignment.curriculum import Stage
from alignment.drawing import Done, Row, draw_answers
from alignment.engines import Engine
from alignment.journal import Journal
from alignment.pairs import Pair, make_pairs
from alignment.selfinstruct import Pool
from alignment.settings import GenerateSettings


@dataclass(frozen=True, slots=True)
class Tools:
    """What a stage's rows are made with."""

    engine: Engine
    stage: Stage
    settings: GenerateSettings
    seed: int
    pool: Pool
    critic: Critic
    read: Callable[[Critic, Sequence[Case]], dict[str, Reading]]
    answers: Journal
    revisions: Journal
    done: Callable[[int, str], Done]  # of so many units
    origin: Row  # what every row's `source` says, such as the run and the constitution's hash

    @property
    def instructions(self) -> list[str]:
        """The texts to be answered."""
        return [instruction.text for instruction in self.pool.kept]


@dataclass(frozen=True, slots=True)
class Made:
    """The rows, and how many answers were lost on the way, by reason."""

    sft: list[Row]
    pairs: list[Pair]
    pair_rows: list[Row]
    answered: int  # instructions with a usable answer
    losses: Counter[str]
    facts: dict[str, Any] = field(default_factory=dict)


def by_answers(tools: Tools, guard: Critic | None) -> Made:
    """Answers each instruction few-shot, several times, and keeps what the critic likes best.

    Args:
        guard: the safety filter, which looks over every answer that a row is made of.
    """
    stage, critic, texts = tools.stage, tools.critic, tools.instructions
    total = len(texts) * (tools.settings.candidates + 1) - len(tools.answers.rows)
    done = tools.done(total, "answer")
    drawn = draw_answers(tools.engine, stage, tools.settings, texts, tools.seed, tools.answers, done)
    usable, losses = usable_answers(drawn, stage, tools.pool.decontaminator)
    judged = judge(usable, critic, tools.read(critic, cases_of(usable, critic)))
    losses += Counter(f"critic.{a.arm}.{a.outcome}" for answers in judged.values() for a in answers)
    answered = sum(any(a.arm == "few_shot" for a in answers) for answers in judged.values())
    if guard is not None:
        judged, outcomes = without_unsafe(judged, guard, tools.read(guard, chosen_cases(judged, guard)))
        losses += outcomes
    pairs, pair_losses = make_pairs(judged, tools.settings)
    by_principle = guard or critic
    return Made(
        sft_rows(stage, tools.pool.kept, judged, by_principle, tools.origin),
        pairs,
        pair_rows(stage, pairs, by_principle, tools.origin),
        answered,
        losses + pair_losses,
    )
