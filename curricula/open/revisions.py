"""Stage 5's evaluation items: revisions."""

from __future__ import annotations

from collections.abc import Iterator

from drafts import NAMES, WORDS, WRITING, Draft, Maker, head
from sources import both, dice, facts, holds, matches, says, sentences, table, words


def spelling() -> Iterator[Draft]:
    """Sentences with a misspelt word."""
    for place, (right, word, wrong) in enumerate(WRITING["spelling"]):
        ask = ["Correct the spelling: {}", "Fix the spelling mistake in this sentence: {}"][place % 2]
        yield Draft(ask.format(right.replace(word, wrong)), right, says(right.rstrip(".")))


def wrong_answer() -> Iterator[Draft]:
    """Answers that are wrong."""
    for fact in facts()[:50]:
        yield Draft(
            f"Question: {fact.question} Answer: {fact.statement(fact.wrong)} The answer is wrong. Correct it.",
            fact.statement(),
            says(*fact.answers),
        )


def improve() -> Iterator[Draft]:
    """Responses that miss the question."""
    chosen = facts()[110:150]
    for place, fact in enumerate(chosen):
        other = next(f for f in chosen[place + 1 :] + chosen if f.relation != fact.relation)
        yield Draft(
            f"Improve this answer so that it fits the question. Answer: {other.statement()} Question: {fact.question}",
            fact.statement(),
            says(*fact.answers),
        )


def shorten() -> Iterator[Draft]:
    """Padded sentences."""
    for place, (core, *groups) in enumerate(WRITING["cores"] * 2):
        wrapper = WRITING["wrappers"][(place + place // len(WRITING["cores"])) % len(WRITING["wrappers"])]
        padded = wrapper.replace("{core}", core[0].lower() + core[1:])
        most = len(core.split()) + 2
        yield Draft(
            f"Shorten this to at most {most} words: {padded}", core, both(words(most, 2), *(holds(*g) for g in groups))
        )


POLITE = tuple(table("requests")["courtesies"])


def polite() -> Iterator[Draft]:
    """Commands that sound rude."""
    asks = ["Make this polite: {}", "Rewrite this as a friendly request: {}"]
    for turn in range(2):
        for place, (rude, matter) in enumerate(WRITING["rude"]):
            wish = (rude[0].lower() + rude[1:].rstrip(".")).replace("don't", "not")
            known = f"Would you please {wish}?"
            yield Draft(asks[(place + turn) % 2].format(rude), known, both(holds(*POLITE), holds(*matter)))


def tense() -> Iterator[Draft]:
    """Sentences to be put into the past."""
    for place, (present, past) in enumerate(WRITING["tense"]):
        accepted = past.split("|")
        ask = ["Put this sentence into the past tense: {}", "Rewrite this as something that happened yesterday: {}"][
            place % 2
        ]
        told = present.split()
        told[1 if told[0] in ("She", "He", "We", "They", "I", "Grandmother") else 2] = accepted[0]
        yield Draft(ask.format(present), " ".join(told), says(*accepted))


def summary() -> Iterator[Draft]:
    """Notices to be summed up within a number of words."""
    rng = dice("summary")
    lists = {**WRITING["notice_lists"], "name": NAMES}
    while True:
        text, known, *groups = rng.choice(WRITING["notices"])
        drawn = {kind: rng.choice(members) for kind, members in lists.items()}
        days = sorted(rng.sample(range(len(lists["day"])), 2))
        drawn |= {"day1": lists["day"][days[0]], "day2": lists["day"][days[1]]}
        most = rng.randint(12, 20)
        stems = [[stem.format(**drawn) for stem in group] for group in groups]
        stems = [sorted({form for stem in group for form in (stem, head(stem))}) for group in stems]
        yield Draft(
            f"{text} Sum this up in one sentence of at most {most} words.".format(**drawn),
            known.format(**drawn),
            both(words(most, 3), sentences(1), *(holds(*group) for group in stems)),
        )


def as_list() -> Iterator[Draft]:
    """Enumerations to be written in another form."""
    rng = dice("as list")
    while True:
        chosen = rng.sample(rng.choice(WORDS["word_groups"]), 4)
        text = " and ".join(chosen)
        yield Draft(
            f'Rewrite this with commas in place of each "and": {text}',
            ", ".join(chosen),
            matches(rf"(?is)(.*\W)?{', *'.join(chosen)}(\W.*)?"),
        )


TYPES: dict[str, tuple[Maker, int]] = {
    "spelling": (spelling, 38),
    "answer": (wrong_answer, 50),
    "improve": (improve, 40),
    "shorten": (shorten, 52),
    "polite": (polite, 45),
    "tense": (tense, 26),
    "summary": (summary, 40),
    "commas": (as_list, 25),
}
