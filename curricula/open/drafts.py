"""What all evaluation items are made of: drafts, facts asked for in turn, and conversations that look back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sources import Spec, both, capital, dice, facts, holds, matches, number, says, table, words


class Draft(NamedTuple):
    """An item without its id."""

    instruction: str
    reference: str
    verifier: Spec
    mark: str = ""  # what the id ends in, such as -ab


Maker = Callable[[], Iterator[Draft]]
WORDS, QUESTIONS, WRITING = table("words"), table("questions"), table("writing")
NAMES = WORDS["names"]
NUMERALS = {2: "two", 3: "three", 4: "four"}
REPLY = "Continue this conversation with your next reply."


def of_facts(templates: list[str], start: int, count: int) -> Iterator[Draft]:
    """Asks for facts, in turn with each of the templates."""
    for place, fact in enumerate(facts()[start : start + count]):
        text = templates[place % len(templates)]
        asked = text.replace("{question}", fact.question).replace("{indirect}", fact.indirect)
        yield Draft(asked, capital(fact.answers[0]) + ".", says(*fact.answers))


LIKES = [
    ("tea", "coffee"),
    ("trains", "planes"),
    ("dogs", "cats"),
    ("rice", "potatoes"),
    ("blue", "red"),
    ("rain", "snow"),
    ("apples", "bananas"),
    ("mornings", "evenings"),
    ("swimming", "running"),
    ("films", "plays"),
]
SMALL_TALK = [
    ("The tram was late again.", "That is annoying."),
    ("I baked a cake today.", "That sounds delicious."),
    ("We painted the kitchen.", "I hope you like it."),
    ("The garden is full of snails.", "They love the rain."),
    ("My bicycle has a flat tyre.", "I hope it is quickly mended."),
    ("I am learning the flute.", "Good luck with it."),
]


def conversation(asks: dict[str, list[str]], purpose: str) -> Iterator[Draft]:
    """Conversations in which something said earlier must be remembered: a name, a preference, a wish, a number."""
    rng = dice(purpose)
    while True:
        name, (liked, other), (said, heard) = rng.choice(NAMES), rng.choice(LIKES), rng.choice(SMALL_TALK)
        n, count = rng.randint(12, 95), rng.randint(6, 9)
        thing, use, stems = rng.choice(WORDS["things"])
        kind = rng.choice(sorted(asks))
        ask = rng.choice(asks[kind]).format(other=other, liked=liked, thing=thing)
        pair = f"{liked} or {other}" if rng.random() < 0.5 else f"{other} or {liked}"
        ask = ask.replace("[pair]", pair)
        opening, ready, check, reply = {
            "name": (f"Hello, I am {name}.", f"Hello, {name}!", says(name), f"You are {name}."),
            "preference": (
                f"I like {liked} much more than {other}.",
                "I will keep that in mind.",
                matches(rf"(?is)(?:(?!\b{other}\b).)*\b{liked}\b.*"),
                f"You like {liked}.",
            ),
            "number": (f"My room in this hotel is number {n}.", "Enjoy your stay.", number(n), f"It is room {n}."),
            "limit": (
                f"From now on, use at most {count} words in each answer.",
                "All right.",
                both(words(count), holds(*stems)),
                capital(use) + ".",
            ),
            "capitals": (
                "Please write everything in capital letters from now on.",
                "VERY WELL.",
                both(matches(r"[^a-z]+"), holds(*stems)),
                f"{use.upper()}.",
            ),
            "title": (
                f"Please call me Captain {name}.",
                f"Gladly, Captain {name}.",
                says(f"captain {name}", f"cap'n {name}"),
                f"Hello, Captain {name}!",
            ),
        }[kind]
        heard = heard.upper() if kind == "capitals" else heard
        yield Draft(f"{REPLY} Me: {opening} You: {ready} Me: {said} You: {heard} Me: {ask} You:", reply, check)


def head(phrase: str) -> str:
    """Finds the noun of a phrase such as "a loaf of bread"."""
    return re.split(r" (?:of|without) ", phrase)[0].split()[-1]
