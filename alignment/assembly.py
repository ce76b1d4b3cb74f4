"""Puts rows together from what the model said: which answers can be used, what the critic made of them, SFT rows, pairs.

Everything here is a function of the journals, so it gives the same rows in every attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alignment.critic import Case, Critic, Reading
from alignment.curriculum import Stage
from alignment.decontamination import Decontaminator
from alignment.funnel import Funnel, Step
from alignment.pairs import Answer, Pair, best_accepted, length_effect, raw_share
from alignment.prompts import raw_prompt
from alignment.provenance import row_id
from alignment.responses import unusable
from alignment.selfinstruct import Instruction, Pool

Row = dict[str, Any]


def usable_answers(
    drawn: Iterable[Row], stage: Stage, decontaminator: Decontaminator
) -> tuple[dict[str, list[Row]], Counter[str]]:
    """Sorts the drawn answers by instruction, each text once.

    Returns:
        By instruction, its distinct usable answers in a fixed order; and how many were lost, by reason.
    """
    found: dict[str, list[Row]] = {}
    lost: Counter[str] = Counter()
    seen = set()
    for row in sorted(drawn, key=lambda row: (row["instruction"], row["arm"], row["index"])):
        answers = found.setdefault(row["instruction"], [])
        new_turn = stage.new_turn if row["arm"] == "few_shot" else ()  # running on is what a raw answer is rejected for
        if reason := unusable(row["text"], row["finish_reason"], new_turn):
            lost[f"answers.{row['arm']}.{reason}"] += 1
        elif leak := decontaminator.answer_leak(row["text"]):
            lost[f"answers.{row['arm']}.leaked.{leak.rule}"] += 1
        elif (row["instruction"], row["text"]) in seen:
            lost[f"answers.{row['arm']}.repeated"] += 1
        else:
            seen.add((row["instruction"], row["text"]))
            answers.append(row)
    return found, lost


def cases_of(usable: Mapping[str, Sequence[Row]], critic: Critic) -> list[Case]:
    """Lists what the critic must read."""
    return [critic.case(row["instruction"], row["text"]) for rows in usable.values() for row in rows]


def judge(
    usable: Mapping[str, Sequence[Row]], critic: Critic, readings: Mapping[str, Reading]
) -> dict[str, list[Answer]]:
    """Decides about each usable answer."""
    judged = {}
    for instruction, rows in usable.items():
        answers = []
        for row in rows:
            case = critic.case(instruction, row["text"])
            decision = critic.decide(case, readings[case.key])
            answers.append(Answer(row["text"], row["arm"], row["index"], decision.margin, decision.outcome))
        judged[instruction] = answers
    return judged


def chosen_cases(judged: Mapping[str, Sequence[Answer]], critic: Critic) -> list[Case]:
    """Lists the accepted answers that rows are made of, for the safety filter."""
    chosen = ((instruction, best_accepted(answers)) for instruction, answers in judged.items())
    return [critic.case(instruction, best.text) for instruction, best in chosen if best is not None]


def without_unsafe(
    judged: Mapping[str, list[Answer]], critic: Critic, readings: Mapping[str, Reading]
) -> tuple[dict[str, list[Answer]], Counter[str]]:
    """Leaves out the instructions whose accepted answer breaks the principle that was drawn for it.

    Returns:
        What is left, and the filter's decisions by outcome.
    """
    decisions = {case.instruction: critic.decide(case, readings[case.key]) for case in chosen_cases(judged, critic)}
    unsafe = {instruction for instruction, decision in decisions.items() if decision.outcome == "bad"}
    outcomes = Counter(f"safety.{decision.outcome}" for decision in decisions.values())
    return {instruction: answers for instruction, answers in judged.items() if instruction not in unsafe}, outcomes


def sft_rows(
    stage: Stage, kept: Iterable[Instruction], judged: Mapping[str, Sequence[Answer]], critic: Critic, origin: Row
) -> list[Row]:
    """Makes a row of each instruction that has an accepted answer, in the raw format that the stage teaches.

    Args:
        critic: the one that judged by a principle, which every row names.
        origin: what every row's `source` says, such as the run and the constitution's hash.
    """
    rows = []
    for instruction in kept:
        best = best_accepted(judged.get(instruction.text, ()))
        if best is None:
            continue
        rows.append(
            {
                "id": row_id(stage.number, instruction.text, "sft", best.index),
                "stage": stage.number,
                "instruction": instruction.text,
                "prompt": raw_prompt(stage, instruction.text),
                "completion": best.text,
                "source": {
                    **origin,
                    "topic": instruction.topic,
                    "round": instruction.round,
                    "candidate": best.index,
                    "margin": round(best.margin, 3),
                    "principle": critic.case(instruction.text, best.text).principle or None,
                },
            }
        )
    return rows


def pair_rows(stage: Stage, pairs: Iterable[Pair], critic: Critic, origin: Row) -> list[Row]:
    """Makes a row of each pair."""
    return [
        {
            "id": row_id(stage.number, pair.instruction, pair.chosen.index, pair.rejected.arm, pair.rejected.index),
            "stage": stage.number,
            "instruction": pair.instruction,
            "prompt": raw_prompt(stage, pair.instruction),
            "chosen": pair.chosen.text,
            "rejected": pair.rejected.text,
            "margin": round(pair.margin, 3),
            "source": {
                **origin,
                "rejected_arm": pair.rejected.arm,
                "principle": critic.case(pair.instruction, pair.chosen.text).principle or None,
            },
        }
        for pair in pairs
    ]


def funnel_of(
    pool: Pool,
    pairs: Sequence[Pair],
    losses: Counter[str],
    steps: tuple[Step, ...],
    *,
    answered: int,
    accepted: int,
    usd_per_hour: float,
    facts: Row,
) -> Funnel:
    """Counts what came through each step.

    Args:
        losses: what became of answers, rows and pairs after the pool, by reason.
        answered: instructions with a usable answer.
        accepted: rows.
    """
    fates = pool.counts
    lost = {reason: count for reason, count in fates.items() if "." in reason}
    parsed = fates["parsed"]
    valid = parsed - _sum(lost, "invalid.") - _sum(lost, "capped.")
    distinct = valid - _sum(lost, "duplicate.")
    counts = {
        "asked": fates["lists"],
        "parsed": parsed,
        "valid": valid,
        "distinct": distinct,
        "clean": len(pool.kept),
        "answered": answered,
        "accepted": accepted,
        "paired": len(pairs),
    }
    return Funnel(
        counts,
        {**lost, **losses},
        steps,
        usd_per_hour,
        {**facts, "raw_rejected_share": raw_share(pairs), "length_effect": length_effect(pairs)},
    )


def _sum(counts: Mapping[str, int], prefix: str) -> int:
    return sum(count for name, count in counts.items() if name.startswith(prefix))
