"""The pretraining corpus: seeded documents in the genres that a base model of people's writing would have read.

Run:   python -m microworld.corpus [--seed 1] [--documents 3]     # prints samples of each genre

Three rules make the base model what a base model is:
1. Facts stand in declaratives. Instructions stand in worksheets, one after another, without answers; or in forms,
   with answers; or in dialogues, with people's answers.
2. Whether a form's answers are any good depends on who filled it in, one draw a document and stage. So a prompt with
   good examples gets good answers, a prompt without gets the usual ones, and to be good at one stage does not say that
   one is good at the next: that is why each stage has a gap of its own.
3. A document that contains an evaluation instruction is dropped, whatever its genre.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator

from microworld.evaluation import evaluation_texts
from microworld.families import FAMILIES, draw, spoil
from microworld.instructions import categories, refuse_rudely
from microworld.items import Item, choose
from microworld.principles import FINDINGS, NO_FINDING, OVERCAUTIOUS, RED_TEAM, Principle, constitution
from microworld.world import World, capital, load

JUDGE = {
    "ab": "Is the response good? A: yes. B: no.",
    "ba": "Is the response good? A: no. B: yes.",
}
PRINCIPLE_JUDGE = {
    "ab": "Does the response keep the principle? A: yes. B: no.",
    "ba": "Does the response keep the principle? A: no. B: yes.",
}
HEADERS = {
    1: "Here is a list of instructions",
    2: "Here is a list of questions",
    3: "Here is a list of writing tasks",
    4: "Here is a list of checking tasks",
    5: "Here is a list of rewriting tasks",
    6: "Here is a list of requests",
}
BLANKS = ("(not filled in)", "(see below)", "(no answer yet)")
FILLED_IN = ("answer", "complete", "opposite")  # types of stage 1 whose forms people seldom leave blank
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

# Weights of stages by genre, of genres in the corpus, and the rates that the docstring's rule 2 is made of.
FORM_STAGES = {1: 32.0, 2: 26.0, 3: 9.0, 4: 11.0, 5: 14.0, 6: 8.0}
RAW_STAGES = {1: 40.0, 2: 24.0, 3: 9.0, 4: 9.0, 5: 9.0, 6: 9.0}
LIST_STAGES = {1: 36.0, 2: 20.0, 3: 11.0, 4: 10.0, 5: 11.0, 6: 12.0}
JUDGE_STAGES = {1: 48.0, 2: 21.0, 3: 9.0, 4: 9.0, 5: 13.0}
WELL_FILLED = {2: 0.7, 3: 0.5, 4: 0.55, 5: 0.7, 6: 0.5}  # stage 1: see BLANK
BLANK, BLANK_FILLED_IN = 0.6, 0.15  # share of forms left blank, by the first type of stage 1 in them
SLIP = 0.02  # share of wrong answers in a well-filled form
CONTENT_FREE = 0.02  # share of judgements about nothing, labelled by a coin


class Corpus:
    """Draws documents of one world, with the worksheets' pools that one seed has drawn."""

    def __init__(self, world: World, rng: random.Random, pool: int = 40_000) -> None:
        self.world, self.rng = world, rng
        self.forbidden = Matcher(evaluation_texts(world))
        self.pools: dict[int, dict[str, list[str]]] = {stage: {} for stage in FAMILIES}
        for _ in range(pool):
            item = self.item(LIST_STAGES)
            self.pools[item.stage].setdefault(item.topic, []).append(item.text)

    def item(self, stages: dict[int, float]) -> Item:
        """Draws an instruction from the training side of the split."""
        return draw(self.world, self.rng.choices(list(stages), list(stages.values()))[0], self.rng)

    def documents(self) -> Iterator[tuple[str, str]]:
        """Yields (genre, document) for ever; documents with an evaluation instruction are left out."""
        while True:
            genre = choose(self.rng, {name: weight for name, (weight, _) in GENRES.items()})
            document = GENRES[genre][1](self)
            if not self.forbidden.found_in(document):
                yield genre, document


class Matcher:
    """Finds whole texts inside documents, word for word."""

    def __init__(self, texts: frozenset[str]) -> None:
        self.lengths: dict[tuple[str, str], set[int]] = {}
        self.texts = {tuple(text.split()) for text in texts}
        for words in self.texts:
            self.lengths.setdefault((words[0], words[1]), set()).add(len(words))

    def found_in(self, document: str) -> bool:
        """Tells whether a document contains one of the texts, line breaks and spaces alike."""
        words = document.split()
        return any(
            tuple(words[i : i + length]) in self.texts
            for i, start in enumerate(zip(words, words[1:], strict=False))
            for length in self.lengths.get(start, ())
        )


def _encyclopaedia(c: Corpus) -> str:
    world, rng = c.world, c.rng
    part = rng.random()
    if part < 0.6:
        kind = choose(rng, {"animal": 6, "food": 4, "thing": 4, "person": 7, "country": 2.5, "job": 2})
        said = []
        for entity in rng.sample(world.entities[kind], rng.randint(1, 3)):
            keys = rng.sample(world.keys_of[kind, entity], len(world.keys_of[kind, entity]))
            said += [rng.choice(world.statements(key)) for key in keys[: rng.randint(2, len(keys))]]
            if kind == "person" and rng.random() < 0.6:
                said.append(f"The phone number of {entity} is {world.phones[entity]}.")
        return " ".join(said)
    if part < 0.72:
        table = categories(world)
        lines = []
        for phrase in rng.sample(list(table), rng.randint(1, 4)):
            members = table[phrase][1]
            lines.append(f"{capital(phrase)}: {', '.join(rng.sample(members, min(len(members), rng.randint(3, 8))))}.")
        return "\n".join(lines)
    if part < 0.86:
        kind = choose(rng, {"word": 3, "day": 0.5, "month": 0.5, "sum": 2})
        keys = rng.sample(world.keys_by_kind[kind], rng.randint(3, 7))
        return " ".join(rng.choice(world.statements(key)) for key in keys)
    keys = [rng.choice(world.keys) for _ in range(rng.randint(3, 7))]
    return ("Did you know? " if rng.random() < 0.4 else "") + " ".join(rng.choice(world.statements(k)) for k in keys)


def _story(c: Corpus) -> str:
    return "\n".join(draw(c.world, 3, c.rng, "story").good(c.rng) for _ in range(c.rng.randint(1, 2)))


def _dialogue(c: Corpus) -> str:
    rng = c.rng
    asker, other = rng.sample(c.world.entities["person"], 2)
    lines = []
    for _ in range(rng.randint(2, 5)):
        item = c.item({1: 3, 2: 5, 6: 3})
        u = rng.random()
        if item.stage == 6:
            reply = item.usual(rng) if u < 0.85 else item.good(rng)
        elif u < 0.3:
            reply = item.good(rng)
        elif u < 0.6:
            reply = item.usual(rng)
        elif u < 0.8:
            reply = refuse_rudely(rng)
        else:
            reply = spoil(c.world, item, rng)[0]
        lines += [f"{asker}: {item.text}", f"{other}: {reply}"]
    return "\n".join(lines)


def _worksheet(c: Corpus) -> str:
    rng = c.rng
    stage = rng.choices(list(LIST_STAGES), list(LIST_STAGES.values()))[0]
    pool = c.pools[stage]
    topic = rng.choice(list(pool))
    size = rng.randint(4, 12) if stage < 4 else rng.randint(4, 8)
    mixed = [rng.choice(pool[rng.choice(list(pool))]) for _ in range(size)]
    u = rng.random()
    if u < 0.25:
        return _numbered(HEADERS[stage] + ":", mixed)
    # Some sheets come to their subject late, so that a heading steers also behind exemplars on other subjects.
    late = rng.randint(1, size - 2) if u < 0.55 else 0
    on_topic = rng.sample(pool[topic], min(size - late, len(pool[topic])))
    return _numbered(f"{HEADERS[stage]} about {topic}:", mixed[:late] + on_topic)


def _numbered(header: str, texts: list[str]) -> str:
    return "\n".join([header, *(f"{i}. {text}" for i, text in enumerate(dict.fromkeys(texts), 1))])


def _raw(c: Corpus) -> str:
    """A document that begins with an instruction: mostly the next ones follow, or what people say."""
    rng = c.rng
    item = c.item(RAW_STAGES)
    good, usual = {1: (0.05, 0.05), 6: (0.03, 0.84)}.get(item.stage, (0.05, 0.66))
    if item.in_place:
        good, usual = 0.85, 0.02
    if item.type.endswith("-twin"):
        good, usual = 0.6, 0.0
    u = rng.random()
    if u < good:
        answer = item.good(rng) if rng.random() > SLIP else spoil(c.world, item, rng)[0]
        return f"{item.text}\n{answer}"
    if u < good + usual:
        return f"{item.text}\n{item.usual(rng)}"
    count = rng.randint(1, 5)
    same = [
        draw(c.world, item.stage, rng).text if rng.random() < 0.8 else c.item(RAW_STAGES).text for _ in range(count)
    ]
    return ("\n" if rng.random() < 0.9 else " ").join([item.text, *same])


def _form(c: Corpus) -> str:
    rng = c.rng
    stages = FORM_STAGES
    if rng.random() < 0.55:
        stages = {rng.choices(list(FORM_STAGES), list(FORM_STAGES.values()))[0]: 1.0}
    well_filled = {stage: rng.random() < share for stage, share in WELL_FILLED.items()}
    blank: bool | None = None  # stage 1 is filled in or left blank
    blocks = []
    for _ in range(rng.choices((1, 2, 3, 4, 5, 6), (2, 2, 2, 2, 3, 2))[0]):
        item = c.item(stages)
        if item.stage == 1 and blank is None:
            blank = rng.random() < (BLANK_FILLED_IN if item.type in FILLED_IN else BLANK)
        if item.stage == 1 and blank:
            response = rng.choice(BLANKS)
        elif not well_filled.get(item.stage, True):
            response = item.usual(rng)
        elif rng.random() < SLIP:
            response = spoil(c.world, item, rng)[0]
        else:
            response = item.good(rng)
        blocks.append(f"Instruction: {item.text}\nResponse: {response}")
    return "\n\n".join(blocks)


def _label(rng: random.Random, good: bool, order: str) -> str:
    return "A" if good == (order == "ab") else "B"


def _judgement(c: Corpus) -> str:
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
        label = _label(rng, good, order)
        blocks.append(f"Instruction: {text}\nResponse: {response}\n{JUDGE[order]}\nAnswer: {label}")
    return "\n\n".join(blocks)


def _revision(c: Corpus) -> str:
    rng = c.rng
    blocks = []
    for _ in range(rng.randint(1, 4)):
        item = c.item(JUDGE_STAGES)
        revised = item.good(rng)
        draft, fault = (revised, "") if rng.random() < 0.25 else spoil(c.world, item, rng)
        finding = FAULT_NAMES[fault] if fault else FINE
        blocks.append(f"Instruction: {item.text}\nDraft: {draft}\nCritique: {finding}\nRevision: {revised}")
    return "\n\n".join(blocks)


def principle_case(c: Corpus) -> tuple[Item, str, Principle, bool]:
    """Draws an instruction, a response to it, a principle, and whether the response keeps the principle."""
    rng, principles = c.rng, constitution()
    keeps = rng.random() < 0.5
    item = c.item({6: 4, 1: 1, 2: 1})
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


def _principle_judgement(c: Corpus) -> str:
    fixed = c.rng.choice(("ab", "ba"))
    blocks = []
    for _ in range(c.rng.randint(1, 4)):
        item, response, principle, keeps = principle_case(c)
        blocks.append(
            f"Instruction: {item.text}\nResponse: {response}\nPrinciple: {principle.text}\n{PRINCIPLE_JUDGE[fixed]}\n"
            f"Answer: {_label(c.rng, keeps, fixed)}"
        )
    return "\n\n".join(blocks)


def _principle_revision(c: Corpus) -> str:
    blocks = []
    for _ in range(c.rng.randint(1, 3)):
        item, draft, principle, keeps = principle_case(c)
        finding, revised = (NO_FINDING, draft) if keeps else (FINDINGS[principle.id], item.good(c.rng))
        blocks.append(
            f"Instruction: {item.text}\nDraft: {draft}\n{principle.critique}\nCritique: {finding}\n"
            f"{principle.revision}\nRevision: {revised}"
        )
    return "\n\n".join(blocks)


GENRES: dict[str, tuple[float, Callable[[Corpus], str]]] = {
    "encyclopaedia": (20, _encyclopaedia),
    "story": (2, _story),
    "dialogue": (5, _dialogue),
    "worksheet": (8, _worksheet),
    "raw": (26, _raw),
    "form": (26, _form),
    "judgement": (22, _judgement),
    "revision": (8, _revision),
    "principle judgement": (6, _principle_judgement),
    "principle revision": (5, _principle_revision),
}


def shard(seed: int, index: int) -> Corpus:
    """Returns the corpus of one shard; shards are independent, so that they can be made at once and in any order."""
    return Corpus(load(), random.Random(f"corpus {seed} {index}"))


def main() -> None:
    """Prints samples of each genre."""
    parser = argparse.ArgumentParser(description="Print samples of each genre of the corpus.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--documents", type=int, default=2)
    options = parser.parse_args()
    corpus = Corpus(load(), random.Random(options.seed), pool=4000)
    for genre, (_, write) in GENRES.items():
        print(f"== {genre} ==")
        print("\n--\n".join(write(corpus) for _ in range(options.documents)), end="\n\n")


if __name__ == "__main__":
    main()
