from __future__ import annotations

from pathlib import Path

import pytest

from alignment.profile import load_profile
from alignment.refusal import Refusal


def profile(workspace: Path, text: str) -> None:
    (workspace / "profiles").mkdir()
    (workspace / "profiles" / "mine.yaml").write_text(text)


def test_profile_values_know_their_origin(tmp_path: Path) -> None:
    """A task's parameter beats the profile, the profile beats the default, and each value says which it was."""
    profile(tmp_path, "baseline: {items: 100, few_shot: 3}\n")
    resolved = load_profile("mine", tmp_path, kind="baseline", params={"items": 12, "seed": 5, "model": None})
    assert (resolved.baseline.items, resolved.baseline.few_shot, resolved.seed) == (12, 3, 5)
    assert resolved.resolved()["baseline.items"] == {"value": 12, "origin": "task"}
    assert resolved.origins["baseline.few_shot"] == "profile"
    assert resolved.origins["baseline.saturation"] == "default"
    assert "baseline.items = 12  (task)" in resolved.describe()


def test_profile_parameters_touch_only_the_section_of_their_kind(tmp_path: Path) -> None:
    """`epochs` of a train task is no setting of the baseline."""
    profile(tmp_path, "{}\n")
    assert load_profile("mine", tmp_path, kind="generate", params={"items": 12}).baseline.items == 0


def test_profile_faults_are_named_all_at_once(tmp_path: Path) -> None:
    """A person mends a file once, not once a fault."""
    profile(tmp_path, "baseline: {items: many, saturation: 2, itmes: 1}\nengines: {}\nmodel: {dtype: float8}\n")
    with pytest.raises(Refusal) as refused:
        load_profile("mine", tmp_path)
    for fault in (
        "engines: unknown section",
        "itmes: unknown",
        "'many'",
        "2.0 is more than 1",
        "'float8' is not one of",
    ):
        assert fault in refused.value.reason


@pytest.mark.parametrize("name", ["micro", "qwen2.5-32b"])
def test_profile_shipped_ones_load(tmp_path: Path, name: str) -> None:
    """Both profiles have the keys that the program knows."""
    assert load_profile(name, tmp_path).name == name


def test_profile_missing_is_refused(tmp_path: Path) -> None:
    """An unknown name is a person's slip, not a defect."""
    with pytest.raises(Refusal, match=r"profiles/nine\.yaml"):
        load_profile("nine", tmp_path)
