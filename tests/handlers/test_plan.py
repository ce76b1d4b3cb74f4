"""Plans: whole stages as task files that the queue takes as they are."""

from __future__ import annotations

import datetime
import itertools

import pytest

from alignment.settings import PlanSettings
from daemon.taskfile import order, parse
from handlers.plan import plan
from handlers.rounds import Choices, TaskFile

BEGIN = datetime.datetime(2026, 1, 5, 9, 0, 0, tzinfo=datetime.UTC)


def planned(*stages: int, settings: PlanSettings | None = None, **more: object) -> list[TaskFile]:
    return plan(stages, BEGIN, Choices(settings or PlanSettings(), **more))  # type: ignore[arg-type]


def test_plan_is_made_of_task_files_that_the_queue_accepts() -> None:
    """Each file of a plan parses, names its stage, and depends only on files of the plan."""
    files = planned(1, 2, 3)
    names = {file.name for file in files}
    for file in files:
        spec = parse(file.name, file.text)
        assert spec.handler == file.handler
        assert set(spec.depends_on) <= names


def test_stage_is_baseline_generate_train_evaluate_in_order() -> None:
    """A stage measures before it makes, trains on what it has made, and measures again; the names say the order."""
    files = planned(1)
    assert [file.handler for file in files] == ["baseline", "generate", "train", "evaluate"]
    by_name = {file.name: parse(file.name, file.text) for file in files}
    for before, after in itertools.pairwise(files):
        assert by_name[after.name].depends_on[0] == before.name


def test_next_stage_builds_on_the_one_before() -> None:
    """A stage begins when the evaluation of the stage before it is done, and its files come later in the queue."""
    files = planned(1, 2)
    second = next(file for file in files if "stage2_baseline" in file.name)
    first = next(file for file in files if "stage1_round1_evaluate" in file.name)
    assert parse(second.name, second.text).depends_on == (first.name,)
    assert order(second.name) > order(first.name)


def test_methods_of_a_profile_follow_one_another() -> None:
    """SFT then DPO are two tasks: the second goes on from the model of the first, and the last one is evaluated."""
    files = planned(1, settings=PlanSettings(methods=("sft", "dpo")))
    specs = {file.name: parse(file.name, file.text) for file in files}
    sft, dpo = (name for name in specs if "_train" in name)
    assert (specs[sft].params["method"], specs[dpo].params["method"]) == ("sft", "dpo")
    assert specs[dpo].depends_on[0] == sft
    assert specs[files[-1].name].depends_on == (dpo,)


def test_profile_can_ask_for_reviews_before_training_and_promotion() -> None:
    """A reviewer can be put before each stage's first training, and before a model starts the next stage."""
    files = planned(
        1, 2, settings=PlanSettings(methods=("sft", "dpo"), review_training="method", review_promotion="pi")
    )
    reviews = {file.name.partition("_P1_")[2]: parse(file.name, file.text).review for file in files}
    assert {name for name, reviewer in reviews.items() if reviewer == "method"} == {
        "stage1_round1_train1_sft",
        "stage2_round1_train1_sft",
    }
    assert {name for name, reviewer in reviews.items() if reviewer == "pi"} == {"stage2_baseline"}


@pytest.mark.parametrize("rounds", [1, 3])
def test_evaluation_knows_how_many_rounds_are_left(rounds: int) -> None:
    """The evaluation carries its round and the rounds that the stage may take."""
    last = planned(1, rounds=rounds)[-1]
    assert parse(last.name, last.text).params == {"profile": "micro", "seed": 0, "round": 1, "rounds": rounds}
