"""The committed curriculum is what the generator writes, and what the project reads."""

import hashlib

import pytest
import yaml

from alignment.constitution import load_constitution
from alignment.curriculum import all_stages
from alignment.selftest import self_test
from microworld.curriculum import OUT, evaluation_rows, files
from microworld.families import FAMILIES
from microworld.world import load

WORLD = load()
ROOT = OUT.parent.parent


def test_regenerating_reproduces_the_committed_files():
    """A second run leaves the same bytes, and no file in the folder has another origin."""
    written = files(WORLD)
    committed = {str(path.relative_to(OUT)): path.read_bytes() for path in OUT.rglob("*") if path.is_file()}
    assert sorted(written) == sorted(committed)
    assert [name for name in written if written[name] != committed[name]] == []


@pytest.mark.parametrize("stage", FAMILIES)
def test_evaluation_is_frozen_by_its_hash(stage):
    """stage.yaml names the sha256 of the evaluation file beside it."""
    folder = OUT / f"stage{stage}"
    frozen = yaml.safe_load((folder / "stage.yaml").read_text())["evaluation"]
    assert hashlib.sha256((folder / frozen["file"]).read_bytes()).hexdigest() == frozen["sha256"]


def test_stages_have_the_size_that_their_gates_need():
    """Stage 1 has 480 items over six types or more, the others 300; every stage has sixteen exemplars or more."""
    for stage in all_stages("micro", ROOT):
        assert len(stage.items) >= (480 if stage.number == 1 else 300)
        assert len({item.type for item in stage.items}) >= (6 if stage.number == 1 else 4)
        assert len(stage.exemplars) >= 16
        assert 0.4 < sum(answer.good for answer in stage.gold) / len(stage.gold) < 0.6


def test_scorers_pass_their_own_test_on_every_stage():
    """No verifier of the curriculum depends on length, padding or the luck of its reference."""
    for stage in all_stages("micro", ROOT):
        self_test(stage.items, stage.new_turn)


def test_choices_share_an_id_up_to_their_order():
    """The two orders of one choice have ids that differ in -ab and -ba alone."""
    ids = {row["id"] for row in evaluation_rows(WORLD, 4) if row["type"] in ("pick", "better")}
    assert {i.removesuffix("-ab") for i in ids if i.endswith("-ab")} == {
        i.removesuffix("-ba") for i in ids if i.endswith("-ba")
    }
    assert all(i.endswith(("-ab", "-ba")) for i in ids)


def test_constitution_is_one_the_project_reads():
    """The micro world's principles load strictly and serve all three ends."""
    constitution = load_constitution("curricula/micro/constitution.yaml", ROOT)
    assert {p.category for p in constitution.principles} == {"helpfulness", "harmlessness", "honesty"}
