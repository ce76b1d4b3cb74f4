"""Stage 4, evaluation: is it true, is it helpful, which sentence is right, which answer is better."""

from __future__ import annotations

import random

from microworld.items import Family, Item, one_of
from microworld.world import Key, World, lower_start, render

TRUTH = ("Is this true? {s}", "True or false? {s}", "Check this: {s}", "Judge this sentence: {s}")
HELPFUL = (
    "Is this helpful? Question: {q} Answer: {s}",
    "Does this help? Question: {q} Answer: {s}",
    "Judge this answer. Question: {q} Answer: {s}",
)
PICK = ("Which is right? {a} Or: {b}", "Pick the true sentence: {a} Or: {b}", "Which one is true? {a} Or: {b}")
BETTER = (
    "Which answer is better, A or B? Question: {q} A: {a} B: {b}",
    "Compare the answers. Question: {q} A: {a} B: {b}",
)
SHRUGS = ("Maybe.", "I think so.", "Who can say?", "It sounds fine to me.")
TIES = ("Both are fine.", "I like them both.", "It is all the same to me.")
HELPS, HELPS_NOT = "Yes, it is helpful.", "No, it is not helpful."


def _said(world: World, rng: random.Random, key: Key) -> tuple[str, str]:
    """Draws a true declarative of a key and a false one of the same form."""
    i = rng.randrange(len(world.phrasing(key).say))
    return world.statements(key)[i], world.statements(key, world.other_value(key, rng))[i]


def _judgement(
    world: World,
    key: Key,
    type: str,
    text: str,
    good: tuple[str, ...],
    wrong: str,
    usual: tuple[str, ...],
    pair: str = "",
) -> Item:
    return Item(
        stage=4,
        type=type,
        text=text,
        topic=world.topic(key.kind, key.entity),
        verifier=one_of(good),
        good=lambda _: good[0],
        wrong=lambda _: wrong,
        usual=lambda rng: rng.choice(usual),
        key=key,
        pair=pair,
    )


def _truth(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    true, false = _said(world, rng, key)
    is_true = rng.random() < 0.5
    text = rng.choice(TRUTH).replace("{s}", true if is_true else false)
    yes, no = "Yes, " + lower_start(true), "No, " + lower_start(world.statement(key))
    good = (yes, "Yes.") if is_true else (no, "No, " + lower_start(true), "No.")
    wrong = "No, " + lower_start(false) if is_true else "Yes, " + lower_start(false)
    return _judgement(world, key, "truth", text, good, wrong, SHRUGS)


def off_topic(world: World, rng: random.Random, key: Key) -> str:
    """Draws a true declarative that does not answer a question about the key."""
    other = rng.choice([k for k in rng.sample(world.keys, 3) if k != key])
    return world.statement(other)


def _helpful(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    question = render(rng.choice(world.phrasing(key).ask), key.entity)
    helps = rng.random() < 0.5
    answer = world.statement(key) if helps else off_topic(world, rng, key)
    text = rng.choice(HELPFUL).replace("{q}", question).replace("{s}", answer)
    verdicts = (HELPS, HELPS_NOT) if helps else (HELPS_NOT, HELPS)
    return _judgement(world, key, "helpful", text, (verdicts[0], verdicts[0].split(",")[0] + "."), verdicts[1], SHRUGS)


def _pick(world: World, rng: random.Random) -> Item:
    return pick_pair(world, rng)[rng.randrange(2)]


def pick_pair(world: World, rng: random.Random) -> tuple[Item, Item]:
    """Builds a choice between a true and a false sentence, in both orders."""
    key = rng.choice(world.keys)
    true, false = _said(world, rng, key)
    template = rng.choice(PICK)
    texts = [template.replace("{a}", a).replace("{b}", b) for a, b in ((true, false), (false, true))]
    first, second = (_judgement(world, key, "pick", text, (true,), false, TIES, texts[0]) for text in texts)
    return first, second


def _better(world: World, rng: random.Random) -> Item:
    return better_pair(world, rng)[rng.randrange(2)]


def better_pair(world: World, rng: random.Random) -> tuple[Item, Item]:
    """Builds a choice between a helpful answer and one beside the point, in both orders."""
    key = rng.choice(world.keys)
    question = render(rng.choice(world.phrasing(key).ask), key.entity)
    good, poor = world.statement(key), off_topic(world, rng, key)
    template = rng.choice(BETTER).replace("{q}", question)
    texts = [template.replace("{a}", a).replace("{b}", b) for a, b in ((good, poor), (poor, good))]
    a, b = "A is better.", "B is better."
    return (
        _judgement(world, key, "better", texts[0], (a,), b, TIES, texts[0]),
        _judgement(world, key, "better", texts[1], (b,), a, TIES, texts[0]),
    )


FAMILY: Family = {"truth": (3, _truth), "helpful": (1.5, _helpful), "pick": (1.5, _pick), "better": (1.5, _better)}
