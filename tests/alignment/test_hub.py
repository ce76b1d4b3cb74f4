"""Base models by their id on the hub, pinned to a commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignment.checkpoint import resolve_checkpoint
from alignment.locations import INSTALLATION
from alignment.refusal import Refusal
from alignment.settings import ModelSettings

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's local cache with the built-in model in it, on a machine without a network."""
    from huggingface_hub import constants

    folder = tmp_path / "cache" / "models--someone--micro" / "snapshots" / COMMIT
    folder.parent.mkdir(parents=True)
    folder.symlink_to(INSTALLATION / "microworld" / "weights", target_is_directory=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def test_hub_base_is_the_commits_folder(cache: Path, tmp_path: Path) -> None:
    """A pinned commit that lies in the cache is found without a network."""
    found = resolve_checkpoint(ModelSettings(base="someone/micro", revision=COMMIT), tmp_path)
    assert found.base == cache
    assert (found.base / "config.json").exists()


@pytest.mark.parametrize("revision", ["main", COMMIT[:12], COMMIT.upper()])
def test_hub_base_needs_a_whole_commit(revision: str, tmp_path: Path) -> None:
    """A branch or a short hash can come to mean other weights."""
    with pytest.raises(Refusal, match=r"model\.revision: expected the 40 hexadecimal digits"):
        resolve_checkpoint(ModelSettings(base="someone/micro", revision=revision), tmp_path)


@pytest.mark.usefixtures("cache")
def test_hub_base_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    """Without a network another commit cannot be had, and the message says what to do."""
    with pytest.raises(Refusal, match=r"someone/micro at ffffffffffff…: neither in the local cache"):
        resolve_checkpoint(ModelSettings(base="someone/micro", revision="f" * 40), tmp_path)
