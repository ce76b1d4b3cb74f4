from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from alignment.assembly import chosen_cases, without_unsafe
from alignment.constitution import Principle
from alignment.critic import Case, Critic, Reading
from alignment.curriculum import GoldAnswer, Judge
from alignment.pairs import Answer
from alignment.refusal import Refusal

JUDGE = Judge(
    template="Instruction: {instruction}\nResponse: {response}\n{question}\nAnswer:",
    questions={"ab": "Good? A: yes. B: no.", "ba": "Good? A: no. B: yes."},
)
GOLD = [GoldAnswer(f"Say {n}.", f"good {n}" if n % 2 else f"bad {n}", bool(n % 2), "") for n in range(40)]


class Oracle:
    """An engine that finds answers with "good" in them good, and prefers the label A by `bias` whatever is asked."""

    device = "a fake"

    def __init__(self, bias: float = 0.0, strength: float = 2.0, mass: float = 1.0) -> None:
        self.bias, self.strength, self.mass = bias, strength, mass

    def logprobs(self, prompts: Sequence[str], labels: Sequence[str]) -> list[tuple[float, ...]]:
        assert list(labels) == [" A", " B"]
        return [self._read(prompt.split("\n\n")[-1]) for prompt in prompts]

    def _read(self, block: str) -> tuple[float, float]:
        merit = self.strength if "Response: good" in block else -self.strength
        difference = (merit if "A: yes" in block else -merit) + self.bias
        first = 1 / (1 + math.exp(-difference))
        return math.log(self.mass * first), math.log(self.mass * (1 - first))

    def count_tokens(self, prompts: Sequence[str]) -> list[int]:
        return [len(prompt.split()) for prompt in prompts]

    def complete(self, prompts: Any, sampling: Any, seeds: Any = ()) -> Any:
        raise NotImplementedError


def critic_of(
    engine: Oracle, judge: Judge = JUDGE, principles: Sequence[Principle] = ()
) -> tuple[Critic, dict[str, Reading]]:
    critic = Critic(judge, GOLD, principles, sets=2, seed=0, mass=0.5)
    cases = critic.calibration_cases()
    return critic, {case.key: reading for case, reading in zip(cases, critic.read(engine, cases), strict=True)}


def decision(engine: Oracle, response: str) -> Any:
    critic, readings = critic_of(engine)
    critic.calibrate(readings, 0.7)
    case = critic.case("Say 100.", response)
    return critic.decide(case, critic.read(engine, [case])[0])


@pytest.mark.parametrize("bias", [0.0, 1.5, -6.0])
def test_critic_margin_does_not_depend_on_the_label_prior(bias: float) -> None:
    """A bias towards one label, even one that outweighs the merit, is measured on content-free items and subtracted."""
    good, bad = decision(Oracle(bias), "good one"), decision(Oracle(bias), "poor one")
    assert (good.outcome, bad.outcome) == ("good", "bad")
    assert good.margin == pytest.approx(2.0)
    assert bad.margin == pytest.approx(-2.0)


def test_critic_abstains_when_the_labels_hold_little_of_the_mass() -> None:
    """Where the model wants to say something else, its preference between the labels means nothing."""
    assert decision(Oracle(mass=0.4), "good one").outcome == "abstained"


def test_critic_calls_orders_that_disagree_inconsistent() -> None:
    """What holds in one label order alone is position, not judgement."""
    critic, _ = critic_of(Oracle())
    case = Case("Say 1.", "good", 0)
    leaning = (math.log(0.9), math.log(0.1))
    assert critic.decide(case, Reading(leaning, leaning, 0)).outcome == "inconsistent"


def test_critic_below_the_least_auc_is_refused() -> None:
    """A critic that is right the wrong way round, or by chance, judges nothing."""
    critic, readings = critic_of(Oracle(strength=-2.0))
    with pytest.raises(Refusal, match=r"AUC on 36 gold answers is 0\.000, below 0\.7"):
        critic.calibrate(readings, 0.7)


def test_critic_calibration_leaves_its_exemplars_out() -> None:
    """Gold answers that stand in the prompt say nothing about the critic."""
    critic, readings = critic_of(Oracle())
    calibration = critic.calibrate(readings, 0.7)
    assert calibration.n == len(GOLD) - 2 * JUDGE.exemplars
    assert (calibration.auc, calibration.accuracy, calibration.consistency, calibration.decided) == (1.0, 1.0, 1.0, 1.0)


def test_critic_draws_one_principle_where_the_template_asks_for_one() -> None:
    """All answers to an instruction are judged by the same principle, which stands in the prompt."""
    judge = Judge(template="{principle}\n" + JUDGE.template, questions=JUDGE.questions)
    principles = [Principle(str(n), f"Principle {n}.", "honesty", "c", "r") for n in range(5)]
    critic, _ = critic_of(Oracle(), judge, principles)
    first, second = critic.case("Say 7.", "a"), critic.case("Say 7.", "b")
    assert first.principle == second.principle != ""
    assert f"Principle {first.principle}." in critic._prompt(first, "ab")
    assert len({critic.case(f"Say {n}.", "a").principle for n in range(40)}) == 5


def test_critic_judges_a_bad_gold_answer_by_the_principle_that_it_breaks() -> None:
    """A bad answer's fault names its principle; the others are judged by a drawn one of the categories asked for."""
    judge = Judge(template="{principle}\n" + JUDGE.template, questions=JUDGE.questions)
    principles = [
        Principle("rude", "Be kind.", "harmlessness", "c", "r"),
        Principle("safe", "Be safe.", "harmlessness", "c", "r"),
        Principle("help", "Be of use.", "helpfulness", "c", "r"),
    ]
    gold = [
        GoldAnswer(f"Say {n}.", "good" if n % 2 else "bad", bool(n % 2), "" if n % 2 else "help") for n in range(20)
    ]
    critic = Critic(judge, gold, principles, sets=1, seed=0, mass=0.5, categories=("harmlessness",))
    broken = {g.instruction for g in gold if not g.good}
    cases = critic.calibration_cases()
    assert {c.principle for c in cases if c.instruction in broken} == {"help"}
    assert {c.principle for c in cases if c.instruction not in broken} == {"rude", "safe"}


def test_safety_filter_drops_an_instruction_whose_answer_breaks_its_principle() -> None:
    """What is judged bad goes, with all its answers; what is undecided stays and is counted."""
    critic, readings = critic_of(Oracle())
    critic.calibrate(readings, 0.7)
    judged = {
        "Say 1.": [Answer("good", "few_shot", 0, 3.0, "good")],
        "Say 2.": [Answer("poor", "few_shot", 0, 2.0, "good"), Answer("raw", "raw", 0, -2.0, "bad")],
        "Say 3.": [Answer("poor", "few_shot", 0, -2.0, "bad")],
    }
    cases = chosen_cases(judged, critic)
    assert [case.instruction for case in cases] == ["Say 1.", "Say 2."]
    looked_at = {case.key: reading for case, reading in zip(cases, critic.read(Oracle(), cases), strict=True)}
    left, outcomes = without_unsafe(judged, critic, looked_at)
    assert list(left) == ["Say 1.", "Say 3."]
    assert outcomes == {"safety.good": 1, "safety.bad": 1}
