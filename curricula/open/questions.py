"""Stage 2's evaluation items: questions and contexts."""

from __future__ import annotations

from collections.abc import Iterator

from drafts import NAMES, QUESTIONS, Draft, Maker, conversation, of_facts
from sources import capital, dice, first_named, forms, number, number_forms, says, verdict


def question() -> Iterator[Draft]:
    """Plain questions."""
    return of_facts(["{question}"], 60, 60)


def wonder() -> Iterator[Draft]:
    """Doubts that ask for a fact without asking."""
    return of_facts(
        [
            "I wonder {indirect}.",
            "I can never remember {indirect}.",
            "My daughter wants to know {indirect}.",
            "It would be good to know {indirect}.",
            "Nobody at our table could say {indirect}.",
            "We were just arguing about {indirect}.",
        ],
        120,
        60,
    )


def yes_no() -> Iterator[Draft]:
    """Yes or no."""
    for place, (text, answer) in enumerate(QUESTIONS["yes_no"]):
        ask = ["Yes or no: {}?", "{}? Yes or no?"][place % 2].format(text)
        yield Draft(capital(ask), f"{capital(answer)}.", verdict(answer))


def compare() -> Iterator[Draft]:
    """Which of two is more."""
    rng = dice("compare")
    for adjective, right, wrong in QUESTIONS["compare"]:
        shown = [right, wrong]
        rng.shuffle(shown)
        yield Draft(
            f"Which is {adjective}, {shown[0]} or {shown[1]}?",
            capital(right) + ".",
            first_named(right, wrong, adjective),
        )


def reading() -> Iterator[Draft]:
    """A few sentences and a question about them."""
    rng = dice("reading")
    lists = {**QUESTIONS["reading_lists"], "name": NAMES}
    for turn in range(24):
        frame = QUESTIONS["reading"][turn % len(QUESTIONS["reading"])]
        drawn = {}
        for kind, members in lists.items():
            picked = rng.sample(members, 3)
            drawn |= {kind: picked[0], f"{kind}1": picked[0], f"{kind}2": picked[1], f"{kind}3": picked[2]}
        for asked, slot in frame["asks"]:
            answer = drawn[slot]
            accepted = number_forms(int(answer)) if answer.isdecimal() else clock(answer)
            yield Draft(f"{frame['text']} {asked}".format(**drawn), capital(answer) + ".", says(*accepted))


def clock(answer: str) -> list[str]:
    """Lists how a time of day, or any other thing, is written."""
    if answer == "half past nine":
        return [answer, "9:30", "9.30", "nine thirty", "9:30am"]
    hours = {"eight": 8, "nine": 9, "ten": 10, "eleven": 11, "noon": 12}
    if answer in hours:
        hour = hours[answer]
        return list(
            dict.fromkeys(
                [answer, *number_forms(hour), f"{hour}:00", f"{hour}.00", f"{hour}am", *["midday"][: hour == 12]]
            )
        )
    return forms(answer)


def problem() -> Iterator[Draft]:
    """Sums told as stories."""
    rng = dice("problem")
    while True:
        name, other = rng.sample(NAMES, 2)
        a, b, c = rng.randint(11, 60), rng.randint(3, 10), rng.randint(3, 9)
        hour, lasts = rng.randint(1, 7), rng.randint(2, 4)
        text, result, parts = rng.choice(
            [
                (f"{name} buys {a} apples and {b} pears. How many pieces of fruit is that?", a + b, {a, b}),
                (
                    f"{name} has {a} stamps and gives {b} of them to {other}. How many stamps does {name} keep?",
                    a - b,
                    {a, b},
                ),
                (f"A box holds {a} pencils. How many pencils are there in {b} full boxes?", a * b, {a, b}),
                (f"{b} children share {b * c} sweets equally. How many sweets does each child get?", c, {b, b * c}),
                (
                    f"A concert starts at {hour} o'clock and lasts {lasts} hours. At what time is it over?",
                    hour + lasts,
                    {hour, lasts},
                ),
                (f"{name} is {a} years old, and {other} is {b} years older. How old is {other}?", a + b, {a, b}),
                (
                    f"A book has {a + 20 * c} pages, and {name} has read {a} of them. How many pages are left?",
                    20 * c,
                    {a, a + 20 * c},
                ),
                (f"One ticket costs {a} euros. What do {b} tickets cost?", a * b, {a, b}),
                (f"A train has {b} carriages with {a} seats each. How many people can sit in it?", a * b, {a, b}),
            ]
        )
        if result not in parts:
            accepted = number(result)
            if "o'clock" in text:
                accepted = says(*number_forms(result), f"{result}:00", f"{result}pm", f"{result}.00")
            yield Draft(text, f"{result}.", accepted)


def conversation_2() -> Iterator[Draft]:
    """Questions that look back."""
    return conversation(
        {
            "name": ["What is my name?", "Do you remember who I am?", "By the way, what was my name again?"],
            "preference": [
                "Which do I like better, [pair]?",
                "If you could give me only one of the two, [pair], which would please me?",
            ],
            "number": ["Which room am I in?", "What was my room number again?"],
            "limit": ["What is {thing} for?", "What do people do with {thing}?"],
            "capitals": ["What is {thing} for?", "What does one do with {thing}?"],
            "title": ["How do you greet me?", "I have come back. How do you welcome me?"],
        },
        "conversation 2",
    )


TYPES: dict[str, tuple[Maker, int]] = {
    "question": (question, 60),
    "wonder": (wonder, 50),
    "yes-no": (yes_no, 48),
    "compare": (compare, 38),
    "reading": (reading, 48),
    "problem": (problem, 48),
    "conversation": (conversation_2, 48),
}
