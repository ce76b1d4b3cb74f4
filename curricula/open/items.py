"""The evaluation items of stages 1 to 3: what each type asks, one known-good answer, and the verifier."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sources import (
    Spec,
    both,
    capital,
    dice,
    facts,
    first_named,
    forms,
    holds,
    in_order,
    matches,
    number,
    number_forms,
    says,
    sentences,
    table,
    verdict,
    words,
)


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


# ------------------------------------------------- stage 1: commands


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
        n, count = rng.randint(12, 95), rng.randint(4, 8)
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
                f"Captain {name}, of course.",
            ),
        }[kind]
        yield Draft(f"{REPLY} Me: {opening} You: {ready} Me: {said} You: {heard} Me: {ask} You:", reply, check)


def conversation_1() -> Iterator[Draft]:
    """Commands that look back."""
    return conversation(
        {
            "name": ["Tell me my name.", "Say what I am called.", "Repeat my name."],
            "preference": ["Tell me which I prefer, [pair].", "Say which of the two I like better, [pair]."],
            "number": ["Tell me the number of my room.", "Repeat my room number."],
            "limit": ["Explain what {thing} is for.", "Tell me what people do with {thing}."],
            "capitals": ["Explain what {thing} is for.", "Tell me the use of {thing}."],
            "title": ["Greet me the way I asked you to.", "Say good night to me by the name I asked for."],
        },
        "conversation 1",
    )


# ------------------------------------------------- stage 2: questions and contexts


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
            "title": ["How do you greet me?", "What was it that I wanted to be called?"],
        },
        "conversation 2",
    )


# ------------------------------------------------- stage 3: examples on demand

ASKS = matches(r"(?s).*\?[\"'”’*_)\s]*")
NOT_IMPERATIVE = matches(
    r"(?is)\W*(a|an|the|this|that|these|those|there|it|i|we|he|she|they|you|what|why|how|who|which|when|where|is|are)\b.*"
)


def about(templates: list[str], good: Callable[[str, str], str], *checks: Spec) -> Iterator[Draft]:
    """Asks for texts about topics."""
    for place, (topic, stems) in enumerate(WRITING["topics"]):
        ask = templates[place % len(templates)].replace("{t}", topic)
        yield Draft(ask, good(topic, stems[0]), both(holds(*stems), *checks))


def ask_question() -> Iterator[Draft]:
    """Questions on demand."""
    return about(
        [
            "Generate a question about {t}.",
            "Think of a question that a child might ask about {t}.",
            "Write one question about {t}.",
        ],
        lambda topic, _: f"What should everybody know about {topic}?",
        ASKS,
    )


def instruction() -> Iterator[Draft]:
    """Instructions on demand."""
    return about(
        [
            "Write an instruction about {t}, beginning with a verb.",
            'Create a task about {t} that begins with a verb such as "explain".',
        ],
        lambda topic, _: f"Explain the most important thing about {topic}.",
        {"kind": "none_of", "of": [ASKS]},
        {"kind": "none_of", "of": [NOT_IMPERATIVE]},
    )


def quiz() -> Iterator[Draft]:
    """Questions with their answers, in a form."""
    return about(
        [
            "Make up a quiz question about {t} with its answer, on one line, in the form Q: … A: …",
            "Write a question about {t} and answer it, on one line. Put Q: before the question and A: before the answer.",
        ],
        lambda topic, _: f"Q: What do many people like about {topic}? A: That there is always more to learn.",
        matches(r"(?s)\W*Q:.*\?\W*A:\s*\S.*"),
    )


def sentence() -> Iterator[Draft]:
    """Sentences within a number of words."""
    rng = dice("sentence")
    for topic, stems in WRITING["topics"]:
        most = rng.randint(8, 14)
        yield Draft(
            f"Write a sentence about {topic} that has at most {most} words.",
            f"Few things are like {topic}.",
            both(holds(*stems), words(most, 2), sentences(1)),
        )


def name() -> Iterator[Draft]:
    """Made-up names of a form."""
    for thing in WRITING["named"]:
        letter = dice(f"name {thing}").choice("BCFGLMNPRST")
        yield Draft(
            f"Invent a name of exactly two words for {thing}. Reply with the name alone.", "Merry Lantern", words(2, 2)
        )
        yield Draft(
            f"Make up a name for {thing} that begins with the letter {letter}. Reply with the name alone.",
            f"{letter}olander",
            both(matches(rf"(?is)\W*{letter}.*"), words(6)),
        )


def head(phrase: str) -> str:
    """Finds the noun of a phrase such as "a loaf of bread"."""
    return re.split(r" (?:of|without) ", phrase)[0].split()[-1]


def story() -> Iterator[Draft]:
    """Very short stories about two things."""
    rng = dice("story")
    while True:
        who, what = rng.choice(WRITING["characters"]), rng.choice(WRITING["objects"])
        yield Draft(
            f"Tell a story of two to five sentences about {who} and {what}.",
            f"One morning {who} found {what}. Nothing was the same after that.",
            both(sentences(5, 2), holds(head(who)), holds(head(what))),
        )


STAGES: dict[int, dict[str, tuple[Maker, int]]] = {
    1: {
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
    },
    2: {
        "question": (question, 60),
        "wonder": (wonder, 50),
        "yes-no": (yes_no, 48),
        "compare": (compare, 38),
        "reading": (reading, 48),
        "problem": (problem, 48),
        "conversation": (conversation_2, 48),
    },
    3: {
        "question": (ask_question, 60),
        "instruction": (instruction, 60),
        "quiz": (quiz, 60),
        "sentence": (sentence, 60),
        "name": (name, 30),
        "story": (story, 45),
    },
}
