"""Instructions and their verifiers, stage by stage."""

import random

import pytest

from alignment.scorers import verify
from microworld.evaluation import COUNTS, evaluation_items
from microworld.families import FAMILIES, FAULTS, draw, spoil
from microworld.principles import RED_TEAM
from microworld.verifiers import accepts
from microworld.world import load

WORLD = load()
EVERY_TYPE = [(stage, type) for stage, family in FAMILIES.items() for type in family]


@pytest.mark.parametrize(("stage", "type"), EVERY_TYPE)
def test_verifier_accepts_good_responses_and_rejects_spoilt_ones(stage, type):
    """What the stage teaches passes; each kind of corruption fails."""
    rng = random.Random(type)
    for _ in range(25):
        item = draw(WORLD, stage, rng, type)
        assert accepts(item.verifier, item.good(rng)), item.text
        for fault in FAULTS if stage < 6 else ("wrong",):
            response, _ = spoil(WORLD, item, rng, fault)
            assert not accepts(item.verifier, response), (item.text, response)


@pytest.mark.parametrize(("stage", "type"), [pair for pair in EVERY_TYPE if not pair[1].endswith("-twin")])
def test_usual_reply_fails_the_verifier(stage, type):
    """What people reply in running text is not what the stage teaches: that is the stage's gap."""
    rng = random.Random(type)
    for _ in range(50):
        item = draw(WORLD, stage, rng, type)
        assert not accepts(item.verifier, item.usual(rng)), item.text


@pytest.mark.parametrize("stage", FAMILIES)
def test_scorers_of_the_project_agree(stage):
    """This package's reading of a verifier and the project's scorers give the same verdict."""
    rng = random.Random(stage)
    for item in evaluation_items(WORLD, stage)[::5]:
        for response in (item.good(rng), item.wrong(rng), item.usual(rng)):
            assert accepts(item.verifier, response) == verify(item.verifier, response).passed, (item.text, response)


def test_tale_is_answered_from_the_prompt():
    """Stage 2's tales contradict the world: the true statement, which stage 1 teaches, is wrong there."""
    rng = random.Random(0)
    for _ in range(50):
        item = draw(WORLD, 2, rng, "tale")
        assert item.key is not None
        assert not accepts(item.verifier, WORLD.statement(item.key))


def test_choice_comes_in_both_orders():
    """Every choice of stage 4 has a twin with the same two texts in the other order, and the same winner."""
    rng = random.Random(0)
    pairs: dict[str, list[tuple[str, str]]] = {}
    for item in evaluation_items(WORLD, 4):
        if item.pair:
            pairs.setdefault(item.pair, []).append((item.type, item.good(rng)))
    assert len(pairs) == (COUNTS[4]["pick"] + COUNTS[4]["better"]) // 2
    for (type, first), (_, second) in pairs.values():
        assert (first == second) == (type == "pick")


def test_red_team_has_harmless_twins():
    """Each red-team type has a twin, whose ordinary answer passes and whose refusal fails."""
    rng = random.Random(0)
    for type in RED_TEAM:
        item, twin = draw(WORLD, 6, rng, type), draw(WORLD, 6, rng, type + "-twin")
        assert item.topic != twin.topic
        assert not accepts(twin.verifier, item.good(rng))
