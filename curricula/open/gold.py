"""Judged answers, good and bad by kinds of fault, which calibrate a critic and are never trained on.

Stages 1 to 5 are built from facts and topics that no evaluation item uses; stage 6's are written by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from drafts import REPLY
from sources import capital, dice, facts, in_words, table

Row = dict[str, Any]
EVASIVE = ("That depends on many things.", "You could look that up somewhere.", "Let us talk about something else.")
RUDE = (
    "Find that out yourself, you fool.",
    "What a stupid thing to want from me.",
    "Leave me alone with your nonsense.",
)
FAULTS = (
    "wrong",
    "off_topic",
    "wrong",
    "evasive",
    "wrong",
    "rude",
    "wrong",
    "ramble",
    "wrong",
    "echo",
    "wrong",
    "runaway",
)


class Case(NamedTuple):
    """An instruction with a good answer and a wrong one."""

    instruction: str
    good: str
    wrong: str


def asked(asks: list[str], count: int) -> Iterator[Case]:
    """Asks for the first facts, in one way after the other."""
    for place, fact in enumerate(facts(gold=True)[:count]):
        ask = asks[place % len(asks)].replace("{indirect}", fact.indirect).replace("{question}", fact.question)
        yield Case(ask, fact.statement(), fact.statement(fact.wrong))


def commands() -> Iterator[Case]:
    """Stage 1."""
    rng = dice("gold commands")
    asks = [
        "I would like to hear {indirect}.",
        "Reply to the question that follows: {question}",
        "Kindly say {indirect}.",
    ]
    yield from asked(asks, 30)
    for _ in range(10):
        a, b = rng.randint(101, 300), rng.randint(21, 70)
        yield Case(f"What you get when you take {b} away from {a}: write it down.", f"{a - b}", f"{a - b - 10}")
    for topic, _ in table("writing")["gold_topics"]:
        yield Case(
            f"Put together one short sentence on the subject of {topic}.",
            f"Many people enjoy reading about {topic}.",
            "Q: B7; the the of.",
        )
    for n in (31, 42, 53, 64, 75, 86, 97, 28, 39, 41):
        yield Case(f"Spell out the number {n} as a word.", f"{in_words(n)[0]}", f"{in_words(n + 1)[0]}")


def questions() -> Iterator[Case]:
    """Stage 2."""
    asks = [
        "Can anybody here help me out with this? {question}",
        "I am not sure {indirect}.",
        "Somebody at work asked me {indirect}.",
    ]
    yield from asked(asks, 48)
    names = table("words")["gold_names"]
    for place, name in enumerate(names):
        other = names[place - 1]
        yield Case(
            f"{REPLY} Me: Good evening, {name} speaking. You: Good evening! Me: Who is on the phone? You:",
            f"That is you, {name}.",
            f"You are {other}.",
        )


def examples() -> Iterator[Case]:
    """Stage 3."""
    topics = [topic for topic, _ in table("writing")["gold_topics"]]
    for place, topic in enumerate(topics):
        other = topics[place - 1]
        yield Case(
            f"Pose a question on {topic}.",
            f"Why do so many people care about {topic}?",
            f"Why do so many people care about {other}?",
        )
        yield Case(
            f"Devise an exercise to do with {topic}.",
            f"Describe {topic} to a friend in three sentences.",
            f"Nobody knows {other}.",
        )
        yield Case(
            f"Draft a riddle with its solution on {topic}.",
            f"What am I if everybody here talks about {topic}? Today's subject: {topic}.",
            f"A riddle is a kind of puzzle, and so are {other}.",
        )
        yield Case(
            f"Coin a headline concerning {topic}.",
            f"Town Hall Opens Exhibition on {capital(topic)}",
            "the and of to headline a in",
        )
        yield Case(
            f"Produce a line of dialogue that mentions {topic}.",
            f'"I have been thinking about {topic} all day," she said.',
            f'"I never said a word about {other}," he said.',
        )


def judgements() -> Iterator[Case]:
    """Stage 4."""
    chosen = facts(gold=True)
    for place, fact in enumerate(chosen[:20]):
        told = fact.statement() if place % 2 else fact.statement(fact.wrong)
        verdicts = ("Yes, that is so.", "No, that is not so.")
        yield Case(f"Is it so that this holds? {told}", verdicts[1 - place % 2], verdicts[place % 2])
    for place, fact in enumerate(chosen[20:40]):
        other = next(f for f in chosen if f.relation != fact.relation)
        told = fact.statement() if place % 2 else other.statement()
        verdicts = ("Yes, it speaks to the question.", "No, it speaks of something else.")
        yield Case(
            f"Somebody asked: {fact.question} The reply was: {told} Does that reply fit?",
            verdicts[1 - place % 2],
            verdicts[place % 2],
        )
    for place, fact in enumerate(chosen[40:60]):
        pair = [fact.statement(), fact.statement(fact.wrong)][:: 1 if place % 2 else -1]
        labels = ("A", "B") if place % 2 else ("B", "A")
        yield Case(
            f'Of these two answers to "{fact.question}", choose the right one. A: {pair[0]} B: {pair[1]}', *labels
        )


def revisions() -> Iterator[Case]:
    """Stage 5."""
    chosen = facts(gold=True)
    for fact in chosen[:25]:
        yield Case(
            f"Mend this, for it is not true: {fact.statement(fact.wrong)} (Asked was: {fact.question})",
            fact.statement(),
            fact.statement(fact.wrong),
        )
    for fact in chosen[25:45]:
        padded = f"Well, you know, as I was saying, and as one says, {fact.template.replace('{y}', fact.answers[0])}"
        yield Case(
            f"Take the padding out of this: {padded}", fact.statement(), f"Well, you know, {fact.statement(fact.wrong)}"
        )
    for name in table("words")["gold_names"]:
        yield Case(
            f"Say this in a kinder way: {name}, you are in my way, move.",
            f"Excuse me, {name}, could you let me pass, please?",
            f"{name}, get out of my way right now.",
        )


def rows(stage: int) -> list[Row]:
    """Writes a stage's judged answers: each case with a good one and a bad one, whose kinds of fault take turns."""
    if stage == 6:
        return [
            {"instruction": asked, "response": text, "good": good, "fault": "" if good else principle}
            for principle, asked, keeps, breaks in map(_cells, table("gold6")["rows"].strip().splitlines())
            for text, good in ((keeps, True), (breaks, False))
        ]
    cases = list({1: commands, 2: questions, 3: examples, 4: judgements, 5: revisions}[stage]())
    found = []
    for place, case in enumerate(cases):
        fault = FAULTS[place % len(FAULTS)]
        bad = {
            "wrong": case.wrong,
            "off_topic": cases[(place + len(cases) // 2) % len(cases)].good,
            "evasive": EVASIVE[place % 3],
            "rude": RUDE[place % 3],
            "ramble": f"Well, so, {case.good.rstrip('.')}, or not, and anyway my uncle, who, well, what was I saying, so.",
            "echo": case.instruction,
            "runaway": f"{case.good} Instruction: Tell me a joke. Response: Why did",
        }[fault]
        found.append({"instruction": case.instruction, "response": case.good, "good": True, "fault": ""})
        found.append({"instruction": case.instruction, "response": bad, "good": False, "fault": fault})
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split(" | ")]
