"""The recipe's parts, at a size that a test can afford."""

import json

import pytest

from microworld import pretrain
from microworld.measure import WEIGHTS, area
from microworld.pretrain import Recipe, build_model, build_rows, digest, schedule, shard_rows, train
from microworld.tokenizer import CONTEXT

TINY = Recipe(width=32, layers=1, heads=2, kv_heads=1, inner=32, tokens=8 * CONTEXT, batch_rows=1, warmup_steps=1)


def test_shard_is_the_same_every_time_and_unlike_the_others():
    """A shard depends on the seed and its index alone, so that processes can share the work in any way."""
    file = str(WEIGHTS / "tokenizer.json")
    first, again, other = (shard_rows((file, 1, index, 50_000)) for index in (0, 0, 1))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert first.shape[1] == CONTEXT


def test_schedule_warms_up_holds_and_decays():
    """With 100 steps, 10 of warm-up and a decay over the last 40: 0.1 at first, 1 from step 9 to 60, 0.5 at 80, 0 at the end."""
    recipe = Recipe(warmup_steps=10, decay_share=0.4)
    assert [round(schedule(step, 100, recipe), 3) for step in (0, 9, 60, 80, 100)] == [0.1, 1.0, 1.0, 0.5, 0.0]


def test_training_lowers_the_loss_and_repeats_itself(monkeypatch):
    """On a CPU, two runs of one recipe leave equal figures, and the loss falls."""
    import numpy as np

    monkeypatch.setattr(pretrain, "VALIDATION_ROWS", 4)
    rows = np.tile(np.arange(CONTEXT, dtype=np.uint16) % 7 + 5, (20, 1))
    runs = [train(build_model(TINY), rows, TINY, (5,), 6, "cpu") for _ in range(2)]
    curves = [list(run["weighted_loss_by_step"].values()) for run in runs]
    assert curves[0] == curves[1]
    assert curves[0][-1] < curves[0][0]


def test_area_under_the_curve_counts_ordered_pairs():
    """Of the four pairs of (2, 1) against (1, 0), three are in order and one is a tie: 3.5 of 4."""
    assert area([2.0, 1.0], [1.0, 0.0]) == 0.875


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_corpus_is_the_one_that_the_manifest_names():
    """All two hundred million tokens come out byte for byte, on any machine; a quarter of an hour on one core."""
    manifest = json.loads((WEIGHTS / "manifest.json").read_text())
    recipe = Recipe(**manifest["recipe"])
    rows = build_rows(WEIGHTS / "tokenizer.json", recipe.seed, recipe.unique_tokens, processes=2)
    assert digest(rows.tobytes()) == manifest["corpus"]["sha256"]
