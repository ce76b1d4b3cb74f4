"""The critic: the model itself says whether an answer is good, by one label's log-probability against the other's.

Nothing is sampled. Each answer is judged with both meanings of the labels (A good, then B good); a decision counts only
where both agree, and where the two labels hold enough of the probability to mean anything. The label prior, what the
model prefers whatever is asked, is measured on content-free items and subtracted.

Sources: label and position bias, PriDe (arXiv 2309.03882); content-free calibration, Zhao et al. 2021 (arXiv
2102.09690); one principle a judgement, SALMON (arXiv 2310.05910). Departure: the prior is averaged over both label
orders, so that a content-free item's own lack of merit cancels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from alignment.constitution import CATEGORIES, Principle
from alignment.curriculum import GoldAnswer, Judge
from alignment.engines import Engine
from alignment.prompts import fill
from alignment.provenance import row_id
from alignment.refusal import Refusal
from alignment.statistics import auc

CONTENT_FREE = ("N/A", "[MASK]", "…")
Order = Literal["ab", "ba"]
ORDERS: tuple[Order, Order] = ("ab", "ba")


class Case(NamedTuple):
    """An answer to be judged, behind one of the exemplar sets and, where the template asks for it, by one principle."""

    instruction: str
    response: str
    exemplar_set: int
    principle: str = ""  # its id

    @property
    def key(self) -> str:
        """Identifies the judgement."""
        return row_id(*self)


class Reading(NamedTuple):
    """The log-probabilities of the two labels, in both label orders."""

    ab: tuple[float, float]
    ba: tuple[float, float]
    prompt_tokens: int  # of both prompts


class Decision(NamedTuple):
    """What the critic makes of a reading."""

    outcome: Literal["good", "bad", "abstained", "inconsistent"]
    margin: float  # nats in favour of good, the mean over both orders


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well the critic tells good from bad on answers of known quality."""

    auc: float
    accuracy: float  # of the decided ones
    consistency: float  # share whose two orders agree
    decided: float  # share that is neither inconsistent nor abstained from
    n: int
    priors: tuple[float, ...]  # nats in favour of the first label, by exemplar set


class Critic:
    """Builds judgement prompts, reads the labels, and decides."""

    def __init__(
        self,
        judge: Judge,
        gold: Sequence[GoldAnswer],
        principles: Sequence[Principle],
        *,
        sets: int,
        seed: int,
        mass: float,
        categories: Sequence[str] = CATEGORIES,
    ) -> None:
        """Draws the exemplar sets from the gold answers; the others remain for calibration.

        Args:
            gold: where the template asks for a principle, the fault of a bad answer names the one that it breaks.
            categories: of the principles that are drawn for judgements.
            sets: fixed exemplar sets, so that judgements share prefixes without all hanging on one choice.
            mass: least probability of both labels together for a decision.
        """
        rng = random.Random(f"{seed} critic")
        good, bad = ([g for g in gold if g.good is quality] for quality in (True, False))
        rng.shuffle(good)
        rng.shuffle(bad)
        self._judge, self._mass = judge, mass
        asked = "{principle}" in judge.template
        self._principles = [p.id for p in principles if asked and p.category in categories]
        self._texts = {principle.id: principle.text for principle in principles}
        self._seed = seed
        self._sets: list[list[GoldAnswer]] = []
        for index in range(sets):
            alternating = [(good, bad)[(index + place) % 2].pop() for place in range(judge.exemplars) if good and bad]
            self._sets.append(alternating)
        self.calibration_answers = [*good, *bad]
        self.priors: tuple[float, ...] = (0.0,) * sets

    def case(self, instruction: str, response: str) -> Case:
        """Prepares an answer for judgement; all answers to one instruction get the same exemplars and principle."""
        draw = random.Random(f"{self._seed} case {instruction}")
        chosen = draw.randrange(len(self._sets))
        return Case(instruction, " ".join(response.split()), chosen, self._drawn_principle(instruction))

    def content_free_cases(self) -> list[Case]:
        """Lists the items on which the label prior is measured, for each exemplar set."""
        principle = self._principles[0] if self._principles else ""
        return [Case(text, text, index, principle) for index in range(len(self._sets)) for text in CONTENT_FREE]

    def read(self, engine: Engine, cases: Sequence[Case]) -> list[Reading]:
        """Reads both label orders of each case.

        Raises:
            Refusal: a label is not one token.
        """
        prompts = [self._prompt(case, order) for order in ORDERS for case in cases]
        found = [(pair[0], pair[1]) for pair in engine.logprobs(prompts, self._judge.labels)]
        tokens = engine.count_tokens(prompts)
        half = len(cases)
        both = zip(found[:half], found[half:], tokens[:half], tokens[half:], strict=True)
        return [Reading(ab, ba, n + m) for ab, ba, n, m in both]

    def decide(self, case: Case, reading: Reading) -> Decision:
        """Decides, with the prior subtracted."""
        prior = self.priors[case.exemplar_set]
        first = reading.ab[0] - reading.ab[1] - prior
        second = reading.ba[1] - reading.ba[0] + prior
        margin = (first + second) / 2
        if min(sum(map(math.exp, pair)) for pair in (reading.ab, reading.ba)) < self._mass:
            return Decision("abstained", margin)
        if (first > 0) != (second > 0):
            return Decision("inconsistent", margin)
        return Decision("good" if margin > 0 else "bad", margin)

    def calibrate(self, readings: Mapping[str, Reading], least_auc: float) -> Calibration:
        """Measures the prior, then the critic itself on the gold answers.

        Raises:
            Refusal: it cannot tell good from bad well enough to be used.
        """
        self.priors = tuple(self._prior(index, readings) for index in range(len(self._sets)))
        cases = [self._gold_case(g) for g in self.calibration_answers]
        decisions = [self.decide(case, readings[case.key]) for case in cases]
        judged = list(zip(self.calibration_answers, decisions, strict=True))
        good, bad = ([d.margin for g, d in judged if g.good is quality] for quality in (True, False))
        if not good or not bad:
            raise Refusal(
                f"gold.jsonl: {len(good)} good and {len(bad)} bad answers are left to calibrate the critic",
                "add answers of both kinds, or lower generate.exemplar_sets in the profile",
            )
        decided = [(g.good, d.outcome == "good") for g, d in judged if d.outcome in ("good", "bad")]
        calibration = Calibration(
            auc=auc(good, bad),
            accuracy=sum(truth is said for truth, said in decided) / max(1, len(decided)),
            consistency=sum(d.outcome != "inconsistent" for d in decisions) / len(decisions),
            decided=len(decided) / len(decisions),
            n=len(decisions),
            priors=self.priors,
        )
        if calibration.auc < least_auc:
            raise Refusal(
                f"the critic's AUC on {calibration.n} gold answers is {calibration.auc:.3f}, below {least_auc}: "
                "it cannot tell good answers from bad",
                "mend the judge's template or gold.jsonl, or start from a stronger model",
            )
        return calibration

    def calibration_cases(self) -> list[Case]:
        """Lists what must be read before `calibrate`."""
        return [*self.content_free_cases(), *map(self._gold_case, self.calibration_answers)]

    def _gold_case(self, gold: GoldAnswer) -> Case:
        return self.case(gold.instruction, gold.response)._replace(principle=self._principle_of(gold))

    def _principle_of(self, gold: GoldAnswer) -> str:
        broken = self._principles and gold.fault in self._texts
        return gold.fault if broken else self._drawn_principle(gold.instruction)

    def _drawn_principle(self, instruction: str) -> str:
        draw = random.Random(f"{self._seed} principle {instruction}")
        return draw.choice(self._principles) if self._principles else ""

    def _prior(self, index: int, readings: Mapping[str, Reading]) -> float:
        cases: Iterable[Case] = (case for case in self.content_free_cases() if case.exemplar_set == index)
        leanings = [pair[0] - pair[1] for case in cases for pair in (readings[case.key].ab, readings[case.key].ba)]
        return sum(leanings) / len(leanings)

    def _prompt(self, case: Case, order: Order) -> str:
        blocks = [
            self._block(g.instruction, g.response, self._principle_of(g), order) + self._label(g.good, order) + "\n\n"
            for g in self._sets[case.exemplar_set]
        ]
        return "".join(blocks) + self._block(case.instruction, case.response, case.principle, order)

    def _block(self, instruction: str, response: str, principle: str, order: Order) -> str:
        return fill(
            self._judge.template,
            instruction=instruction,
            response=" ".join(response.split()),
            question=self._judge.questions[order],
            principle=self._texts.get(principle, ""),
        )

    def _label(self, good: bool, order: Order) -> str:
        return self._judge.labels[0 if good == (order == "ab") else 1]
