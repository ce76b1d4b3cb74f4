"""What every engine offers, whichever library or server stands behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. Stop strings end an answer; temperature sets diversity: two settings, never one."""

    max_new_tokens: int
    temperature: float = 0.0  # 0 is greedy
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion, cut before the stop string that ended it."""

    text: str
    finish_reason: Literal["stop", "length"]  # stop: end of sequence or a stop string
    prompt_tokens: int
    completion_tokens: int  # as computed, the one that ended it included
    prompt_sha256: str  # of the prompt's token ids


class Engine(Protocol):
    """Completes prompts with one loaded checkpoint."""

    device: str  # in words, for manifests

    def complete(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int] = ()) -> list[Completion]:
        """Completes prompts.

        Args:
            seeds: one a prompt, beside `sampling.seed`; by default derived from the prompt's text. A prompt's sample
                depends on its seeds alone, never on its neighbours in a batch.

        Raises:
            Refusal: a prompt holds a control token, or is too long for the model.
        """
        ...

    def logprobs(self, prompts: Sequence[str], labels: Sequence[str]) -> list[tuple[float, ...]]:
        """Reads the natural log-probability of each label as the next token.

        Raises:
            Refusal: a label is not one token, or a prompt is refused as in `complete`.
        """
        ...

    def count_tokens(self, prompts: Sequence[str]) -> list[int]:
        """Counts each prompt's tokens."""
        ...


def seed_of(prompt: str) -> int:
    """Derives a prompt's own seed from its text."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big")
