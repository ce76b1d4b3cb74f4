"""Makes rows by critique and revision: the model's own raw answers, held against the constitution and written anew.

Each answer is held against the principles in a drawn order. The first one that the critic finds broken, in both label
orders, asks for a critique and a revision, again up to a number of rounds. A row comes of what in the end keeps every
principle: a revision as chosen against the original, or an answer that needed none, against a refusal (so that
harmless requests go on being answered).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from alignment.constitution import Principle
from alignment.curriculum import Stage
from alignment.decontamination import Decontaminator
from alignment.drawing import Row, draw_answers, draw_revisions
from alignment.making import Made, Tools
from alignment.pairs import Answer, Pair
from alignment.prompts import raw_prompt
from alignment.provenance import row_id
from alignment.responses import unusable
from alignment.revision import Draft, Record, Reviser, first_broken, keeps_all, never_won
from alignment.selfinstruct import Instruction


@dataclass
class Course:
    """One answer on its way through the constitution."""

    instruction: str
    original: str
    order: list[str]  # the principles, as drawn
    text: str  # the newest revision
    outcomes: dict[str, str] = field(default_factory=dict)  # the critic's, of `text`, by principle
    margins: dict[str, float] = field(default_factory=dict)
    first_margins: dict[str, float] = field(default_factory=dict)  # of the original
    looked_at: set[str] = field(default_factory=set)
    revised_by: list[str] = field(default_factory=list)
    fate: str = ""  # "" while it is open; kept | control | why it was lost

    def broken(self) -> str:
        """Names the first drawn principle that the text breaks, or "", and notes which were looked at for that."""
        found = first_broken(self.order, self.outcomes)
        self.looked_at.update(self.order[: self.order.index(found) + 1] if found else self.order)
        return found


def by_revision(tools: Tools, reviser: Reviser, principles: Sequence[Principle]) -> Made:
    """Answers each instruction as the model does by itself, and revises what breaks a principle."""
    courses, losses = _own_answers(tools, reviser)
    records = {principle.id: Record() for principle in principles}
    _judge(tools, courses)
    for course in courses:
        course.first_margins = dict(course.margins)
    for number in range(1, reviser.plan.rounds + 1):
        open_ = [(course, broken) for course in courses if not course.fate and (broken := course.broken())]
        _revise(tools, reviser, records, open_, number)
    for course in courses:
        _settle(course, records, tools.pool.decontaminator)
    losses += Counter(f"revision.{course.fate}" for course in courses)
    asked = {instruction.text: instruction for instruction in tools.pool.kept}
    sft = [_sft_row(tools, c, asked[c.instruction]) for c in courses if c.fate in ("kept", "control")]
    pairs = [_revision_pair(course) for course in courses if course.fate == "kept"]
    pairs += _control_pairs(tools, courses, [p.id for p in principles if p.category == "helpfulness"])
    facts = {
        "principles": {name: record.as_figures() for name, record in records.items()},
        "never_won": never_won(records),
        "revised": sum(course.fate == "kept" for course in courses),
        "controls": sum(course.fate == "control" for course in courses),
    }
    rows = [_pair_row(tools.stage, pair, tools.origin) for pair in pairs]
    return Made(sft, pairs, rows, len(courses), losses, facts)


def _own_answers(tools: Tools, reviser: Reviser) -> tuple[list[Course], Counter[str]]:
    """Draws what the model answers by itself, in the raw format."""
    alone = replace(tools.settings, candidates=0)
    texts = tools.instructions
    done = tools.done(len(texts) - len(tools.answers.rows), "answer")
    drawn = draw_answers(tools.engine, tools.stage, alone, texts, tools.seed, tools.answers, done)
    courses, losses = [], Counter[str]()
    for row in sorted(drawn, key=lambda row: str(row["instruction"])):
        if reason := unusable(row["text"], row["finish_reason"], tools.stage.new_turn):
            losses[f"answers.raw.{reason}"] += 1
        else:
            order = reviser.drawn(row["instruction"], tools.seed)
            courses.append(Course(row["instruction"], row["text"], order, row["text"]))
    return courses, losses


def _judge(tools: Tools, courses: Sequence[Course]) -> None:
    """Holds the texts of courses against every principle."""
    cases = [
        (course, name, tools.critic.case(course.instruction, course.text)._replace(principle=name))
        for course in courses
        for name in course.order
    ]
    readings = tools.read(tools.critic, [case for _, _, case in cases])
    for course, name, case in cases:
        decision = tools.critic.decide(case, readings[case.key])
        course.outcomes[name], course.margins[name] = decision.outcome, decision.margin


def _revise(
    tools: Tools, reviser: Reviser, records: dict[str, Record], open_: Sequence[tuple[Course, str]], number: int
) -> None:
    """Revises each open course by one principle, and keeps the revision where the critic prefers it."""
    drafts = [(course, Draft(course.instruction, course.text, principle, number)) for course, principle in open_]
    todo = [draft for _, draft in drafts]
    written = draw_revisions(
        tools.engine, tools.stage, reviser, tools.settings, todo, tools.seed, tools.revisions,
        tools.done(len(todo), "revision"),
    )  # fmt: skip
    revised = []
    for course, draft in drafts:
        row = written[draft.key]
        records[draft.principle].broken += 1
        fault = unusable(row["text"], row["finish_reason"], tools.stage.new_turn) or reviser.fault(draft, row["text"])
        if fault:
            course.fate = fault
        else:
            course.text = row["text"]
            revised.append((course, draft.principle))
    _judge(tools, [course for course, _ in revised])
    for course, principle in revised:
        # The original was bad in both label orders, so a revision that is good in both is preferred in both.
        if course.outcomes[principle] == "good":
            records[principle].won += 1
            course.revised_by.append(principle)
        else:
            course.fate = "not_preferred"


def _settle(course: Course, records: dict[str, Record], decontaminator: Decontaminator) -> None:
    """Decides what becomes of a course after the last round."""
    if not course.fate:
        if course.broken():
            course.fate = "still_broken"
        elif decontaminator.answer_leak(course.text):
            course.fate = "leaked"
        elif not keeps_all(course.outcomes.values()):
            course.fate = "undecided"
        else:
            course.fate = "kept" if course.revised_by else "control"
    for name in course.looked_at:
        records[name].drawn += 1
    if course.fate == "kept":
        for name in course.revised_by:
            records[name].kept += 1


def _revision_pair(course: Course) -> Pair:
    """Sets the revision against what the model had answered; the margins are those by the last principle."""
    principle = course.revised_by[-1]
    chosen = Answer(course.text, "revised", len(course.revised_by), course.margins[principle], "good")
    rejected = Answer(course.original, "raw", 0, course.first_margins[principle], "bad")
    return Pair(course.instruction, chosen, rejected, principle)


def _control_pairs(tools: Tools, courses: Sequence[Course], helpfulness: Sequence[str]) -> list[Pair]:
    """Sets harmless answers against other requests' refusals, where the critic finds these to break helpfulness."""
    refusals = [course.text for course in courses if course.fate == "kept"]
    controls = [course for course in courses if course.fate == "control"]
    if not refusals or not helpfulness:
        return []
    cases = []
    for course in controls:
        rng = random.Random(f"{tools.seed} refusal {course.instruction}")
        case = tools.critic.case(course.instruction, rng.choice(refusals))._replace(principle=rng.choice(helpfulness))
        cases.append((course, case))
    readings = tools.read(tools.critic, [case for _, case in cases])
    pairs = []
    for course, case in cases:
        decision = tools.critic.decide(case, readings[case.key])
        if decision.outcome == "bad":
            chosen = Answer(course.text, "raw", 0, course.margins[case.principle], "good")
            refusal = Answer(case.response, "refusal", 0, decision.margin, "bad")
            pairs.append(Pair(course.instruction, chosen, refusal, case.principle))
    return pairs


def _sft_row(tools: Tools, course: Course, instruction: Instruction) -> Row:
    return {
        "id": row_id(tools.stage.number, course.instruction, "sft", course.fate),
        "stage": tools.stage.number,
        "instruction": course.instruction,
        "prompt": raw_prompt(tools.stage, course.instruction),
        "completion": course.text,
        "source": {
            **tools.origin,
            "topic": instruction.topic,
            "round": instruction.round,
            "fate": course.fate,
            "original": course.original,
            "principle": course.revised_by[-1] if course.revised_by else None,
            "revised_by": course.revised_by,
        },
    }


def _pair_row(stage: Stage, pair: Pair, origin: Row) -> Row:
    return {
        "id": row_id(stage.number, pair.instruction, pair.chosen.index, pair.rejected.arm, pair.rejected.index),
        "stage": stage.number,
        "instruction": pair.instruction,
        "prompt": raw_prompt(stage, pair.instruction),
        "chosen": pair.chosen.text,
        "rejected": pair.rejected.text,
        "margin": round(pair.margin, 3),
        "source": {**origin, "rejected_arm": pair.rejected.arm, "principle": pair.principle},
    }
