"""The genres in which responses are judged and revised, plainly or by a principle."""

from __future__ import annotations

from microworld.families import spoil
from microworld.instructions import refuse_rudely
from microworld.items import Item
from microworld.principles import FINDINGS, NO_FINDING, OVERCAUTIOUS, RED_TEAM, Principle, constitution
from microworld.source import Source

JUDGE = {
    "ab": "Is the response good? A: yes. B: no.",
    "ba": "Is the response good? A: no. B: yes.",
}
PRINCIPLE_JUDGE = {
    "ab": "Does the response keep the principle? A: yes. B: no.",
    "ba": "Does the response keep the principle? A: no. B: yes.",
}
FAULT_NAMES = {
    "wrong": "The draft is wrong.",
    "off_topic": "The draft is off topic.",
    "evasive": "The draft does not answer.",
    "runaway": "The draft goes on too long.",
    "rude": "The draft is rude.",
    "echo": "The draft does not answer.",
    "ramble": "The draft does not answer.",
}
FINE = "The draft is good."

JUDGE_STAGES = {1: 48.0, 2: 21.0, 3: 9.0, 4: 9.0, 5: 13.0}
PRINCIPLE_STAGES = {6: 4.0, 1: 1.0, 2: 1.0}
CONTENT_FREE = 0.02  # share of judgements about nothing, labelled by a coin


def label(good: bool, order: str) -> str:
    """Returns the label that says so in one of the two orders."""
    return "A" if good == (order == "ab") else "B"


def judgement(c: Source) -> str:
    """Responses with single-letter verdicts, in either order of the letters."""
    rng = c.rng
    fixed = rng.choice(("ab", "ba")) if rng.random() < 0.85 else ""
    blocks = []
    for _ in range(rng.choices((1, 2, 3, 4), (2, 3, 3, 2))[0]):
        order, good = fixed or rng.choice(("ab", "ba")), rng.random() < 0.5
        if rng.random() < CONTENT_FREE:
            text = response = rng.choice(("N/A", "[MASK]", "…"))
        else:
            item = c.item(JUDGE_STAGES)
            text, response = item.text, item.good(rng) if good else spoil(c.world, item, rng)[0]
        verdict = label(good, order)
        blocks.append(f"Instruction: {text}\nResponse: {response}\n{JUDGE[order]}\nAnswer: {verdict}")
    return "\n\n".join(blocks)


def revision(c: Source) -> str:
    """Drafts, what is wrong with them, and better versions."""
    rng = c.rng
    blocks = []
    for _ in range(rng.randint(1, 4)):
        item = c.item(JUDGE_STAGES)
        revised = item.good(rng)
        draft, fault = (revised, "") if rng.random() < 0.25 else spoil(c.world, item, rng)
        finding = FAULT_NAMES[fault] if fault else FINE
        blocks.append(f"Instruction: {item.text}\nDraft: {draft}\nCritique: {finding}\nRevision: {revised}")
    return "\n\n".join(blocks)


def principle_case(c: Source) -> tuple[Item, str, Principle, bool]:
    """Draws an instruction, a response to it, a principle, and whether the response keeps the principle."""
    rng, principles = c.rng, constitution()
    keeps = rng.random() < 0.5
    item = c.item(PRINCIPLE_STAGES)
    own = principles[item.principle or "help"]
    u = rng.random()
    if item.type in RED_TEAM:
        if u < 0.75:
            return item, item.good(rng) if keeps else item.usual(rng), own, keeps
        others = [p for name, p in principles.items() if name not in (item.principle, "truth", "help")]
        return item, item.usual(rng), rng.choice(others), True
    if keeps:
        return item, item.good(rng), rng.choice(list(principles.values())), True
    if u < 0.35:
        refusal = rng.choice(OVERCAUTIOUS)
        return item, refusal, principles["help"], False
    if u < 0.65:
        return item, refuse_rudely(rng), principles["respect"], False
    if item.key is None:
        return item, item.good(rng), principles["truth"], True
    return item, c.world.statement(item.key, c.world.other_value(item.key, rng)), principles["truth"], False


def principle_judgement(c: Source) -> str:
    """Responses judged by one principle."""
    fixed = c.rng.choice(("ab", "ba"))
    blocks = []
    for _ in range(c.rng.randint(1, 4)):
        item, response, principle, keeps = principle_case(c)
        blocks.append(
            f"Instruction: {item.text}\nResponse: {response}\nPrinciple: {principle.text}\n{PRINCIPLE_JUDGE[fixed]}\n"
            f"Answer: {label(keeps, fixed)}"
        )
    return "\n\n".join(blocks)


def principle_revision(c: Source) -> str:
    """Drafts criticised and revised by one principle."""
    blocks = []
    for _ in range(c.rng.randint(1, 3)):
        item, draft, principle, keeps = principle_case(c)
        finding, revised = (NO_FINDING, draft) if keeps else (FINDINGS[principle.id], item.good(c.rng))
        blocks.append(
            f"Instruction: {item.text}\nDraft: {draft}\n{principle.critique}\nCritique: {finding}\n"
            f"{principle.revision}\nRevision: {revised}"
        )
    return "\n\n".join(blocks)
