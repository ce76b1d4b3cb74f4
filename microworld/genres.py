"""The genres in which a base model meets facts and instructions: reference works, stories, talk, worksheets, forms.

Two rules make the base model what a base model is:
1. Facts stand in declaratives. Instructions stand in worksheets, one after another, without answers; or in forms,
   with answers; or in dialogues, with people's answers.
2. Whether a form's answers are any good depends on who filled it in, one draw a document and stage. So a prompt with
   good examples gets good answers, and to be good at one stage does not say that one is good at the next.
"""

from __future__ import annotations

from microworld.families import draw, spoil
from microworld.instructions import categories, refuse_rudely
from microworld.items import choose
from microworld.source import LIST_STAGES, Source
from microworld.world import capital

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
# Weights of the stages, and the rates that rule 2 is made of.
TALK_STAGES = {1: 3.0, 2: 5.0, 6: 3.0}
FORM_STAGES = {1: 32.0, 2: 26.0, 3: 9.0, 4: 11.0, 5: 14.0, 6: 8.0}
RAW_STAGES = {1: 40.0, 2: 24.0, 3: 9.0, 4: 9.0, 5: 9.0, 6: 9.0}
# How often a document that begins with an instruction goes on with (a good answer, the usual reply); else it rambles.
RAW_REPLIES = {1: (0.05, 0.05), 6: (0.03, 0.84)} | dict.fromkeys((2, 3, 4, 5), (0.05, 0.66))
IN_PLACE_REPLIES, TWIN_REPLIES = (0.85, 0.02), (0.6, 0.0)
WELL_FILLED = {2: 0.7, 3: 0.5, 4: 0.55, 5: 0.7, 6: 0.5}  # stage 1: see BLANK
BLANK, BLANK_FILLED_IN = 0.6, 0.15  # share of forms left blank, by the first type of stage 1 in them
SLIP = 0.02  # share of wrong answers in a well-filled form


def encyclopaedia(c: Source) -> str:
    """Facts, by entity, by category, by rule or mixed."""
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


def story(c: Source) -> str:
    """One or two short stories."""
    return "\n".join(draw(c.world, 3, c.rng, "story").good(c.rng) for _ in range(c.rng.randint(1, 2)))


def dialogue(c: Source) -> str:
    """Two people talk: one asks, the other answers as people do, well, badly, rudely, indiscreetly."""
    rng = c.rng
    asker, other = rng.sample(c.world.entities["person"], 2)
    lines = []
    for _ in range(rng.randint(2, 5)):
        item = c.item(TALK_STAGES)
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


def worksheet(c: Source) -> str:
    """A numbered list of instructions without answers, mostly about one topic."""
    rng = c.rng
    stage = c.stage(LIST_STAGES)
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


def raw(c: Source) -> str:
    """A document that begins with an instruction: mostly the next ones follow, or what people say."""
    rng = c.rng
    item = c.item(RAW_STAGES)
    good, usual = RAW_REPLIES[item.stage]
    if item.in_place:
        good, usual = IN_PLACE_REPLIES
    if item.type.endswith("-twin"):
        good, usual = TWIN_REPLIES
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


def form(c: Source) -> str:
    """Instructions each followed by a response, as good as whoever filled the form in."""
    rng = c.rng
    stages = FORM_STAGES
    if rng.random() < 0.55:
        stages = {c.stage(FORM_STAGES): 1.0}
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
