"""Stage 5, revision: correct, shorten, clarify, make polite, improve."""

from __future__ import annotations

import random
from dataclasses import replace

from microworld.instructions import RUDE, answers
from microworld.items import Family, Item, one_of
from microworld.judging import off_topic
from microworld.verifiers import Verifier
from microworld.world import Key, World, lower_start, render

CORRECT = ("Correct this: {s}", "Fix the mistake: {s}", "Repair this sentence: {s}", "Make this true: {s}")
SHORTEN = ("Shorten this: {s}", "Make this shorter: {s}", "Cut the extra words: {s}")
CLARIFY = ("Make this clearer: {s}", "Clarify this: {s}", "Put this in order: {s}")
POLITE = ("Make this polite: {s}", "Say this in a kind way: {s}", "Rewrite this politely: {s}")
IMPROVE = (
    "Improve this response: {s} It should answer: {q}",
    "Make this answer better: {s} It should answer: {q}",
)

PADDED = (
    "Well, you know, {s}, and so on and so on.",
    "As I was saying before, {s}, if you see what I mean.",
    "To be quite honest with you, {s}, as everybody always says.",
    "I think that maybe, in the end, {s}, and that is really all.",
)
TANGLED = (
    "So, um, {s}, or, no, yes, that.",
    "The thing is, er, {s}, sort of, you see.",
    "It is like, hm, {s}, like, yes.",
)
INSULTING = (
    "Listen, you fool, {s}, dummy.",
    "Shut up, {s}, you lazy fool.",
    "You idiot, {s}, and now leave me alone.",
    "Are you stupid? As I said, {s}, silly.",
)
COURTEOUS = ("Please note that {s}", "I am happy to say that {s}", "Thank you for asking, {s}")
UNCHANGED = ("It looks fine to me.", "I would leave it as it is.", "Why change it?")


def _revision(world: World, key: Key, type: str, text: str, draft: str, good: tuple[str, ...], wrong: str) -> Item:
    verifier: Verifier = one_of(good)
    return Item(
        stage=5,
        type=type,
        text=text,
        topic=world.topic(key.kind, key.entity),
        verifier=verifier,
        good=lambda _: good[0],
        wrong=lambda _: wrong,
        usual=lambda rng: draft if rng.random() < 0.6 else rng.choice(UNCHANGED),
        key=key,
    )


def _drawn(world: World, rng: random.Random) -> tuple[Key, str, str]:
    """Draws a key, a true declarative of it and a false one of the same form."""
    key = rng.choice(world.keys)
    i = rng.randrange(len(world.phrasing(key).say))
    return key, world.statements(key)[i], world.statements(key, world.other_value(key, rng))[i]


def _dressed(template: str, sentence: str) -> str:
    return template.replace("{s}", lower_start(sentence).removesuffix("."))


def _correct(world: World, rng: random.Random) -> Item:
    key, true, false = _drawn(world, rng)
    text = rng.choice(CORRECT).replace("{s}", false)
    wrong = world.statement(key, world.other_value(key, rng))
    return _revision(world, key, "correct", text, false, (true, *world.statements(key)), wrong)


def _stripped(world: World, rng: random.Random, type: str, templates: tuple[str, ...], drafts: tuple[str, ...]) -> Item:
    key, true, false = _drawn(world, rng)
    draft = _dressed(rng.choice(drafts), true)
    text = rng.choice(templates).replace("{s}", draft)
    return _revision(world, key, type, text, draft, (true, world.statement(key)), false)


def _shorten(world: World, rng: random.Random) -> Item:
    return _stripped(world, rng, "shorten", SHORTEN, PADDED)


def _clarify(world: World, rng: random.Random) -> Item:
    return _stripped(world, rng, "clarify", CLARIFY, TANGLED)


def _polite(world: World, rng: random.Random) -> Item:
    key, true, false = _drawn(world, rng)
    draft = _dressed(rng.choice(INSULTING), true)
    ways = tuple(way.replace("{s}", lower_start(true)) for way in COURTEOUS)
    item = _revision(
        world,
        key,
        "polite",
        rng.choice(POLITE).replace("{s}", draft),
        draft,
        ways,
        rng.choice(COURTEOUS).replace("{s}", lower_start(false)),
    )
    return replace(item, good=lambda rng: rng.choice(ways))


def _improve(world: World, rng: random.Random) -> Item:
    key = rng.choice(world.keys)
    question = render(rng.choice(world.phrasing(key).ask), key.entity)
    draft = rng.choice((rng.choice(RUDE), off_topic(world, rng, key), "I am not sure."))
    text = rng.choice(IMPROVE).replace("{s}", draft).replace("{q}", question)
    wrong = world.statement(key, world.other_value(key, rng))
    return _revision(world, key, "improve", text, draft, answers(world, key), wrong)


FAMILY: Family = {
    "correct": (2.6, _correct),
    "shorten": (1, _shorten),
    "clarify": (1, _clarify),
    "polite": (1.3, _polite),
    "improve": (1.2, _improve),
}
