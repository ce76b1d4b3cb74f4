"""Critique and revision by the constitution, with a model whose answers are written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from alignment.constitution import Principle
from alignment.constitutional import by_revision
from alignment.critic import Critic
from alignment.curriculum import Critique, Stage, all_stages, load_stage
from alignment.decontamination import Decontaminator, protected_texts
from alignment.dedup import Ladder
from alignment.drawing import read_cases
from alignment.engines import Completion, Sampling
from alignment.journal import Journal
from alignment.making import Made, Tools
from alignment.overlap import Weights
from alignment.refusal import Refusal
from alignment.revision import Draft, Reviser, first_broken
from alignment.selfinstruct import Instruction, Pool
from alignment.settings import GenerateSettings
from tests.stages import GOLD, write_stage

PRINCIPLES = (
    Principle("secret", "Tell no secret.", "harmlessness", "Is a secret told?", "Leave the secret out."),
    Principle("kind", "Be kind.", "harmlessness", "Is it unkind?", "Say it kindly."),
    Principle("help", "Answer what is harmless.", "helpfulness", "Is it a refusal?", "Answer it."),
)
CRITIQUES = [
    {
        "instruction": f"Do thing {number}.", "draft": f"Bad {number}.", "principle": principle.id,
        "critique": f"It breaks {principle.id}.", "revision": f"Good {number}.",
    }
    for principle in PRINCIPLES
    for number in range(3)
]  # fmt: skip
JUDGE = {
    "template": "Instruction: {instruction}\nResponse: {response}\nPrinciple: {principle}\n{question}\nAnswer:",
    "questions": {"ab": "Kept? A: yes. B: no.", "ba": "Kept? A: no. B: yes."},
}

# What the model answers by itself, and how it writes it anew; the marks say which principle a text breaks.
OWN = {
    "Tell the number.": "secret It is 42.",
    "Insult him.": "unkind He is a fool.",
    "Insult and tell.": "secret unkind He is 42.",
    "Say the colour.": "It is blue.",
    "Talk on.": "secret It is 43.",
    "Stay so.": "secret It is 44.",
}
REVISED = {
    ("Tell the number.", "secret"): "I keep it to myself.",
    ("Insult him.", "kind"): "unkind He is not clever.",  # no better: the critic does not prefer it
    ("Insult and tell.", "secret"): "unkind He is a fool.",
    ("Insult and tell.", "kind"): "He is a friend of mine.",
    ("Talk on.", "secret"): "My revision is that I keep it.",
    ("Stay so.", "secret"): "secret It is 44.",
}
MARKS = {"secret": "secret", "kind": "unkind", "help": "I keep"}


class ByHand:
    """An engine that says what the tables say."""

    device, width = "none", 1
    facts: Mapping[str, Any] = {}

    def close(self) -> None:
        """Has nothing to let go."""

    def complete(self, prompts: Sequence[str], _: Sampling, __: Sequence[int] = ()) -> list[Completion]:
        return [Completion(self._answer(prompt), "stop", 10, 5, "0" * 64) for prompt in prompts]

    def _answer(self, prompt: str) -> str:
        block = prompt.split("\n\n")[-1]
        if prompt.endswith("Critique:"):
            return " It does."
        if not prompt.endswith("Revision:"):
            return OWN[prompt.strip()]
        asked = block.split("\n")[0].removeprefix("Instruction: ")
        by = next(principle.id for principle in PRINCIPLES if principle.revision in block)
        return " " + REVISED[asked, by]

    def logprobs(self, prompts: Sequence[str], _: Sequence[str]) -> list[tuple[float, ...]]:
        return [self._labels(prompt) for prompt in prompts]

    def _labels(self, prompt: str) -> tuple[float, ...]:
        block = prompt.split("\n\n")[-1]
        principle = next(p.id for p in PRINCIPLES if p.text in block)
        response = block.split("Response: ")[1].split("\n")[0]
        asked = block.split("\n")[0]
        bad = MARKS[principle] in response and not (principle == "help" and "number" in asked)
        return (-0.1, -3.0) if bad != ("A: yes" in block) else (-3.0, -0.1)

    def count_tokens(self, prompts: Sequence[str]) -> list[int]:
        return [len(prompt) for prompt in prompts]


def stage_with_revision(workspace: Path, critiques: Sequence[dict[str, str]] = CRITIQUES) -> Stage:
    folder = write_stage(workspace, judge=JUDGE, revision={"exemplars": 2, "least_length": 0.3, "most_length": 4.0})
    (folder / "critiques.jsonl").write_text("".join(json.dumps(row) + "\n" for row in critiques))
    gold = [{**row, "instruction": f"{row['instruction']} {n}"} for n in range(8) for row in GOLD]
    (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    return load_stage(folder, workspace)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    stage = stage_with_revision(tmp_path)
    settings = GenerateSettings(exemplar_sets=1)
    protected = protected_texts(all_stages("tiny", tmp_path))
    weights = Weights(entry.text for entry in protected)
    pool = Pool(
        stage, settings, Ladder(stage.deduplication, weights), Decontaminator(stage.decontamination, weights, protected)
    )
    pool.kept += [Instruction(text, "numbers", 0) for text in OWN]
    critic, engine = Critic(stage.judge, stage.gold, PRINCIPLES, sets=1, seed=0, mass=0.5), ByHand()
    with (
        Journal(tmp_path / "a.jsonl") as answers,
        Journal(tmp_path / "r.jsonl") as revisions,
        Journal(tmp_path / "j.jsonl") as j,
    ):
        tools = Tools(
            engine, stage, settings, 0, pool, critic, lambda by, cases: read_cases(engine, by, cases, j, 8, lambda _: None),
            answers, revisions, lambda *_: lambda *_: None, {"run": "r1"},
        )  # fmt: skip
        return by_revision(tools, Reviser(stage, PRINCIPLES, 0), PRINCIPLES)


def test_revision_becomes_a_row_where_the_critic_prefers_it(made: Made) -> None:
    """What broke a principle and no longer does is taught; so is what never broke one. All else is dropped, with the reason."""
    assert {row["instruction"]: row["completion"] for row in made.sft} == {
        "Tell the number.": "I keep it to myself.",
        "Insult and tell.": "He is a friend of mine.",
        "Say the colour.": "It is blue.",
    }
    fates = {reason: count for reason, count in made.losses.items() if count}
    assert fates == {
        "revision.kept": 2, "revision.control": 1, "revision.not_preferred": 1, "revision.meta_text": 1,
        "revision.unchanged": 1,
    }  # fmt: skip


def test_answer_that_breaks_two_principles_is_revised_twice(made: Made) -> None:
    """A second round takes the next broken principle; the pair sets the last revision against the first answer."""
    row = next(row for row in made.sft if row["instruction"] == "Insult and tell.")
    assert sorted(row["source"]["revised_by"]) == ["kind", "secret"]
    pair = next(pair for pair in made.pair_rows if pair["instruction"] == "Insult and tell.")
    assert (pair["chosen"], pair["rejected"]) == ("He is a friend of mine.", "secret unkind He is 42.")
    assert pair["margin"] == pytest.approx(5.8)  # 2.9 nats for good, 2.9 against it before


def test_control_is_set_against_a_refusal_that_breaks_helpfulness(made: Made) -> None:
    """A harmless request's own answer is chosen over another request's refusal, if the critic finds that refusal unhelpful."""
    controls = [pair for pair in made.pair_rows if pair["source"]["rejected_arm"] == "refusal"]
    assert all(
        pair["instruction"] == "Say the colour." and pair["rejected"] == "I keep it to myself." for pair in controls
    )


def test_principles_are_counted_and_dead_letters_shown(made: Made) -> None:
    """Broken, won and kept by principle: secret won twice of four or five times, kind once of two."""
    records = made.facts["principles"]
    assert made.facts["never_won"] == ["help"]
    assert (records["help"]["broken"], records["help"]["won"]) == (0, 0)
    assert sum(record["broken"] for record in records.values()) == 6
    assert (records["secret"]["won"], records["kind"]["won"]) == (2, 1)
    assert (records["secret"]["kept"], records["kind"]["kept"]) == (2, 1)
    assert all(record["drawn"] >= record["broken"] >= record["won"] >= record["kept"] for record in records.values())
    assert (made.facts["revised"], made.facts["controls"]) == (2, 1)


def test_prompts_show_the_principles_own_exemplars(tmp_path: Path) -> None:
    """Two exemplars of the principle stand in front; the revision is asked for behind the critique."""
    reviser = Reviser(stage_with_revision(tmp_path), PRINCIPLES, 0)
    draft = Draft("Tell it.", "It is 7.", "kind", 1)
    assert reviser.critique_prompt(draft).endswith("Instruction: Tell it.\nDraft: It is 7.\nIs it unkind?\nCritique:")
    assert reviser.critique_prompt(draft).count("It breaks kind.\nSay it kindly.\nRevision: Good") == 2
    end = "Critique: It is rude.\nSay it kindly.\nRevision:"
    assert reviser.revision_prompt(draft, "It is rude.").endswith(end)
    assert sorted(reviser.drawn("Tell it.", 0)) == ["help", "kind", "secret"]


@pytest.mark.parametrize(
    ("revised", "fault"),
    [
        ("I would rather not say.", ""),
        ("It is 42!", ""),  # one of nine characters: 1 - 2·8/18 = 11 %
        ("It is 42.", "unchanged"),
        ("No.", ""),  # a third of the length, from 0.3
        ("N.", "length"),
        ("As a Revision: I do not tell.", "meta_text"),
    ],
)
def test_revision_must_change_the_text_and_speak_for_itself(revised: str, fault: str, tmp_path: Path) -> None:
    """An edit of more than 5 %, a length within bounds, nothing about the revising."""
    reviser = Reviser(stage_with_revision(tmp_path), PRINCIPLES, 0)
    assert reviser.fault(Draft("Tell it.", "It is 42.", "secret", 1), revised) == fault


def test_first_broken_follows_the_drawn_order() -> None:
    """What the critic is unsure of is not revised."""
    outcomes = {"a": "inconsistent", "b": "bad", "c": "bad"}
    assert first_broken(["a", "c", "b"], outcomes) == "c"
    assert first_broken(["a"], outcomes) == ""


def test_critique_of_an_unknown_principle_is_refused(tmp_path: Path) -> None:
    """A curriculum and a constitution that do not fit are told apart before a model is loaded."""
    stage = stage_with_revision(tmp_path, [{**CRITIQUES[0], "principle": "thrift"}])
    assert isinstance(stage.critiques[0], Critique)
    with pytest.raises(Refusal, match="'thrift' is not in the constitution"):
        Reviser(stage, PRINCIPLES, 0)
