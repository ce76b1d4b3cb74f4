"""The world: enough of it, and said in English."""

import pytest

from microworld.world import Key, load, lower_start, render

WORLD = load()


def test_world_has_hundreds_of_entities_and_thousands_of_facts():
    """A model that learns the world has something to learn."""
    assert sum(map(len, WORLD.entities.values())) >= 300
    assert len(WORLD.facts) >= 2000


def test_relation_has_values_to_be_wrong_with():
    """Every relation has three values or more, so that a false statement can always be drawn, and a second one."""
    assert {relation for relation, values in WORLD.values.items() if len(values) < 3} == set()


def test_entity_names_are_unique():
    """No two entities of a kind share a name, and no fact is empty."""
    for names in WORLD.entities.values():
        assert len(names) == len(set(names))
    assert all(WORLD.facts.values())


@pytest.mark.parametrize(
    ("phrasing", "entity", "value", "said"),
    [
        ("A baby {e} is called a {v}.", "owl", "owlet", "A baby owl is called an owlet."),
        ("{e} works as a {v}.", "Anna", "singer", "Anna works as a singer."),
        ("{e} is {v}.", "two plus two", "four", "Two plus two is four."),
    ],
)
def test_phrasing_takes_the_article_that_the_word_asks_for(phrasing, entity, value, said):
    """Sentences begin with a capital and have "an" before a vowel."""
    assert render(phrasing, entity, value) == said


def test_sentence_behind_a_comma_keeps_the_capital_of_a_name():
    """Only words that are no names lose their capital."""
    assert lower_start("The fox is red.") == "the fox is red."
    assert lower_start("Anna plays chess.") == "Anna plays chess."


def test_statement_says_the_fact():
    """The canonical statement comes first and holds the table's value."""
    key = Key("animal", "fox", "home")
    assert WORLD.statement(key) == "The fox lives in the forest."
    assert WORLD.statements(key)[0] == WORLD.statement(key)
    assert WORLD.statement(key, "the pond") == "The fox lives in the pond."
