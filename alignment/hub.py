"""Models by their id on the Hugging Face hub, pinned to a commit, so that a run names exactly one set of weights."""

from __future__ import annotations

import re
from pathlib import Path

from alignment.refusal import Refusal

COMMIT = re.compile(r"[0-9a-f]{40}")
FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]  # weights, configuration, tokenizer


def snapshot(repository: str, commit: str) -> Path:
    """Finds a model in the hub's local cache, or downloads it there.

    Args:
        repository: such as "Qwen/Qwen2.5-32B".
        commit: its revision's 40 hexadecimal digits; a branch moves.

    Raises:
        Refusal: the commit is not one, or the model can be neither found nor downloaded.
    """
    if not COMMIT.fullmatch(commit):
        raise Refusal(
            f"model.revision: expected the 40 hexadecimal digits of a commit, got {commit!r}",
            f"take them from the history of https://huggingface.co/{repository}/commits/main",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        try:
            return Path(snapshot_download(repository, revision=commit, allow_patterns=FILES, local_files_only=True))
        except LocalEntryNotFoundError:
            return Path(snapshot_download(repository, revision=commit, allow_patterns=FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise Refusal(
            f"model.base: {repository} at {commit[:12]}…: neither in the local cache nor to be had: {error}",
            "connect the machine once, copy the cache folder (HF_HUB_CACHE) to it, or name a local folder",
        ) from error
