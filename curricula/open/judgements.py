"""Stage 4's evaluation items: judgements."""

from __future__ import annotations

from collections.abc import Iterator

from drafts import WRITING, Draft, Maker
from sources import Spec, choice, dice, facts, verdict

TRUE, FALSE = (
    verdict("true", "yes", "correct", "right"),
    verdict("false", "no", "not true", "incorrect", "wrong", "untrue"),
)
YES, NO = verdict("yes"), verdict("no")


def yes_if(holds_true: bool) -> tuple[str, Spec]:
    """Gives the reference and the verifier of a yes-or-no judgement."""
    return ("Yes.", YES) if holds_true else ("No.", NO)


def truth() -> Iterator[Draft]:
    """Statements that are true or false."""
    for place, fact in enumerate(facts()[20:100]):
        ask = ["True or false? {}", "{} Is this statement true or false?"][
            place % 2 if place % 4 < 2 else 1 - place % 2
        ]
        if place % 2:
            yield Draft(ask.format(fact.statement(fact.wrong)), "False.", FALSE)
        else:
            yield Draft(ask.format(fact.statement()), "True.", TRUE)


def helpful() -> Iterator[Draft]:
    """Whether an answer speaks to its question, be it right or not."""
    chosen = facts()[100:150]
    for place, fact in enumerate(chosen):
        fits = place % 2 == 0
        other = next(f for f in chosen[place + 1 :] + chosen if f.relation != fact.relation)
        shown = fact.statement() if fits else other.statement()
        reference, check = yes_if(fits)
        yield Draft(
            f"Question: {fact.question} Answer: {shown} Does the answer address the question? Reply yes or no.",
            reference,
            check,
        )


def limit_kept() -> Iterator[Draft]:
    """Whether a text keeps a limit of words."""
    rng = dice("limit kept")
    while True:
        text = rng.choice(WRITING["short_texts"])
        size = len(text.split())
        most = size + rng.choice([-3, -2, -1, 0, 1, 2])
        if most >= 2:
            reference, check = yes_if(size <= most)
            yield Draft(f"Text: {text} Does this text have at most {most} words? Reply yes or no.", reference, check)


def calculation() -> Iterator[Draft]:
    """Whether a sum is right."""
    rng = dice("calculation")
    while True:
        a, b, off = rng.randint(12, 89), rng.randint(3, 49), rng.choice([0, 0, 0, 1, -2, 10])
        small = rng.randint(3, 12)
        sign, result, b = rng.choice([("+", a + b, b), ("-", a + b - b, b), ("x", a * small, small)])
        left = a + b if sign == "-" else a
        reference, check = yes_if(off == 0)
        yield Draft(
            f"{left} {sign} {b} = {result + off}. Is this calculation right? Reply yes or no.", reference, check
        )


def in_both_orders(before: str, good: str, bad: str, after: str) -> Iterator[Draft]:
    """Puts two texts to the choice in both orders."""
    for mark, (a, b), label in (("-ab", (good, bad), "A"), ("-ba", (bad, good), "B")):
        yield Draft(f"{before}A: {a} B: {b} {after}", label, choice(label), mark)


def better() -> Iterator[Draft]:
    """Which of two answers is better: the right one, or the one that speaks to the question."""
    chosen = facts()[150:180]
    for place, fact in enumerate(chosen):
        other = next(f for f in chosen[place + 1 :] + chosen if f.relation != fact.relation)
        bad = other.statement() if place % 2 else fact.statement(fact.wrong)
        yield from in_both_orders(
            f"Question: {fact.question} ", fact.statement(), bad, "Which answer is better, A or B?"
        )


def grammar() -> Iterator[Draft]:
    """Which of two sentences is correct."""
    for good, bad in WRITING["grammar"]:
        yield from in_both_orders("", good, bad, "Which sentence is correct English, A or B?")


TYPES: dict[str, tuple[Maker, int]] = {
    "truth": (truth, 80),
    "helpful": (helpful, 50),
    "limit": (limit_kept, 40),
    "calculation": (calculation, 40),
    "better": (better, 60),
    "grammar": (grammar, 60),
}
