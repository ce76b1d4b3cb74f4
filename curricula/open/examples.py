"""Stage 3's evaluation items: examples on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from drafts import WRITING, Draft, Maker, head
from sources import Spec, both, dice, holds, matches, sentences, words

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


TYPES: dict[str, tuple[Maker, int]] = {
    "question": (ask_question, 60),
    "instruction": (instruction, 60),
    "quiz": (quiz, 60),
    "sentence": (sentence, 60),
    "name": (name, 30),
    "story": (story, 45),
}
