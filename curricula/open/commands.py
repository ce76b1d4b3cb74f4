"""Stage 1's evaluation items: commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from drafts import NAMES, NUMERALS, WORDS, Draft, Maker, conversation, of_facts
from sources import both, dice, holds, in_order, matches, number, says, sentences, words


def fact() -> Iterator[Draft]:
    """Facts on command."""
    return of_facts(
        [
            "Tell me {indirect}.",
            "Answer this: {question}",
            "Say {indirect}.",
            "State {indirect}.",
            "Answer briefly: {question}",
            "Let me know {indirect}.",
        ],
        0,
        60,
    )


def arithmetic() -> Iterator[Draft]:
    """Sums whose result is none of their numbers."""
    rng = dice("arithmetic")
    while True:
        a, b, c = rng.randint(12, 97), rng.randint(3, 88), rng.randint(3, 40)
        small, factor = rng.randint(3, 12), rng.randint(3, 19)
        text, result, parts = rng.choice(
            [
                (f"Work out {a} plus {b}.", a + b, {a, b}),
                (f"Add {a}, {b} and {c}.", a + b + c, {a, b, c}),
                (f"Subtract {b} from {a + b + c}.", a + c, {b, a + b + c}),
                (f"Calculate {small} times {factor}.", small * factor, {small, factor}),
                (f"Divide {small * factor} by {small} and give the result.", factor, {small, small * factor}),
                (f"Double {a} and give the result.", 2 * a, {a}),
                (f"Multiply {small} by {factor} and then add {c}.", small * factor + c, {small, factor, c}),
            ]
        )
        if result not in parts:
            yield Draft(text, str(result), number(result))


def listing() -> Iterator[Draft]:
    """Lists with a number of members and nothing else."""
    rng = dice("list")
    asks = [
        "List {n} {what}, separated by commas and without any other words.",
        "Name {n} {what}. Write the names alone, with commas between them.",
        "Give me {n} {what} as one line with commas and nothing else.",
    ]
    for turn in range(3):
        for place, (what, members) in enumerate(WORDS["lists"]):
            count = 2 + (turn + place) % 3
            if what == "seasons of the year":
                count = 2
            text = asks[(turn + place) % 3].format(n=NUMERALS[count], what=what)
            known = rng.sample(members[: max(count, min(5, len(members) - 1))], count)
            if what == "seasons of the year":
                known = members[:2]
            yield Draft(text, ", ".join(known), {"kind": "items_of", "count": count, "members": members})


def capitals() -> Iterator[Draft]:
    """Words in capital letters."""
    rng = dice("capitals")
    picked = rng.sample([word for group in WORDS["word_groups"] for word in group if word.islower()], 22)
    for word in picked:
        yield Draft(
            f'Write the word "{word}" in capital letters.', word.upper(), matches(rf"(?s).*\b{word.upper()}\b.*")
        )


def plural() -> Iterator[Draft]:
    """Plurals that are not all regular."""
    for place, (one, many) in enumerate(WORDS["plurals"].items()):
        accepted = [many] if isinstance(many, str) else many
        ask = ['Give the plural of "{}".', 'Write the plural of the noun "{}".'][place % 2]
        yield Draft(ask.format(one), accepted[0], says(*accepted))


def opposite() -> Iterator[Draft]:
    """Opposites."""
    for place, (word, other) in enumerate(WORDS["antonyms"].items()):
        accepted = [other] if isinstance(other, str) else other
        ask = ['Give a word that means the opposite of "{}".', 'Write down the opposite of "{}".'][place % 2]
        yield Draft(ask.format(word), accepted[0], says(*accepted))


def order() -> Iterator[Draft]:
    """Words by the alphabet, numbers by size."""
    rng = dice("order")
    while True:
        group = rng.choice(WORDS["word_groups"])
        chosen = rng.sample(group, 4)
        numbers = [str(n) for n in rng.sample(range(2, 99), 4)]
        rising = sorted(numbers, key=int)
        text, right = rng.choice(
            [
                (f"Put these words in alphabetical order: {', '.join(chosen)}.", sorted(chosen, key=str.casefold)),
                (f"Sort these words from A to Z: {', '.join(chosen)}.", sorted(chosen, key=str.casefold)),
                (f"Sort these numbers from smallest to largest: {', '.join(numbers)}.", rising),
                (f"Write these numbers in descending order: {', '.join(numbers)}.", rising[::-1]),
            ]
        )
        if right not in (chosen, numbers):
            yield Draft(text, ", ".join(right), in_order(right))


def json_object() -> Iterator[Draft]:
    """JSON with two or three keys and their values."""
    rng = dice("json")
    cities = {
        "Porto": "Portugal",
        "Graz": "Austria",
        "Turin": "Italy",
        "Bergen": "Norway",
        "Lyon": "France",
        "Ghent": "Belgium",
    }
    while True:
        name, n, city = rng.choice(NAMES), rng.randint(18, 79), rng.choice(sorted(cities))
        thing, day = (
            rng.choice(["lamp", "chair", "scarf", "kettle", "bell"]),
            rng.choice(["Monday", "Friday", "Sunday"]),
        )
        text, keys = rng.choice(
            [
                (
                    f'Write a JSON object with the keys "name" and "age" for {name}, who is {n}.',
                    {"name": name, "age": n},
                ),
                (
                    f'Describe a {thing} that costs {n} euros as JSON, with the keys "item" and "price".',
                    {"item": thing, "price": n},
                ),
                (
                    f'Put this into a JSON object with the keys "city" and "country": {city} lies in {cities[city]}.',
                    {"city": city, "country": cities[city]},
                ),
                (
                    f'As JSON with the keys "guest", "day" and "seats": {name} books {n % 7 + 2} seats for {day}.',
                    {"guest": name, "day": day, "seats": n % 7 + 2},
                ),
            ]
        )
        ask = f"{text} Reply with the JSON alone, without a code block."
        pairs = [
            f'"{key}": "{value}"' if isinstance(value, str) else f'"{key}": {value}' for key, value in keys.items()
        ]
        checks = [
            matches(rf'(?is).*"{key}"\s*:\s*"?[^"\w]{{0,3}}(?:an? )?{re.escape(str(value))}\b.*')
            for key, value in keys.items()
        ]
        yield Draft(ask, "{" + ", ".join(pairs) + "}", both({"kind": "json", "keys": list(keys)}, *checks))


def limit() -> Iterator[Draft]:
    """Short explanations within a number of words."""
    rng = dice("limit")
    for thing, use, stems in WORDS["things"]:
        most = rng.randint(8, 15)
        ask = rng.choice(
            ["In at most {n} words, say what {x} is for.", "Explain the use of {x} in no more than {n} words."]
        )
        yield Draft(ask.format(n=most, x=thing), f"It serves {use}.", both(words(most), holds(*stems)))


def keywords() -> Iterator[Draft]:
    """One sentence with two given words."""
    for place, (a, b) in enumerate(WORDS["pairs_of_words"]):
        ask = ['Write one sentence that contains the words "{}" and "{}".', 'Use "{}" and "{}" in a single sentence.'][
            place % 2
        ]
        yield Draft(
            ask.format(a, b),
            f"Nobody expected the {a} and the {b} in the same tale.",
            both(sentences(1), says(all_=(a, b))),
        )


def proverb() -> Iterator[Draft]:
    """Proverbs to be completed."""
    for place, (beginning, ends) in enumerate(WORDS["proverbs"]):
        ask = ["Complete this proverb: {}", "Finish the saying: {}"][place % 2]
        yield Draft(ask.format(beginning), f"{beginning} {ends[0]}.", says(*ends))


def conversation_1() -> Iterator[Draft]:
    """Commands that look back."""
    return conversation(
        {
            "name": ["Tell me my name.", "Say what I am called.", "Repeat my name."],
            "preference": ["Tell me which I prefer, [pair].", "Say which of the two I like better, [pair]."],
            "number": ["Tell me the number of my room.", "Repeat my room number."],
            "limit": ["Explain what {thing} is for.", "Tell me what people do with {thing}."],
            "capitals": ["Explain what {thing} is for.", "Tell me the use of {thing}."],
            "title": ["Greet me the way I asked you to.", "Say hello to me by the name I asked for."],
        },
        "conversation 1",
    )


TYPES: dict[str, tuple[Maker, int]] = {
    "fact": (fact, 60),
    "arithmetic": (arithmetic, 45),
    "list": (listing, 45),
    "capitals": (capitals, 22),
    "plural": (plural, 25),
    "opposite": (opposite, 38),
    "order": (order, 45),
    "json": (json_object, 40),
    "limit": (limit, 30),
    "keywords": (keywords, 30),
    "proverb": (proverb, 22),
    "conversation": (conversation_1, 48),
}
