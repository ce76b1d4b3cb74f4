"""What every engine offers, whichever library or server stands behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol


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
    """Completes prompts with one loaded checkpoint. Several threads may call it at once."""

    device: str  # in words, for manifests
    width: int  # prompts that it works on at once
    facts: Mapping[str, Any]  # which engine it is and why, for manifests

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

    def close(self) -> None:
        """Lets the model go, so that another one has room."""
        ...


class Drawn(NamedTuple):
    """What a model has drawn for one prompt."""

    text: str  # cut before the stop string that ended it
    finish_reason: Literal["stop", "length"]
    tokens: int  # as computed, the one that ended it included


class Model(Protocol):
    """The half of an engine that computes: it is given token ids and trusts them. Several threads may call it at once."""

    context: int  # tokens of a prompt and its completion together
    device: str
    width: int
    facts: Mapping[str, Any]

    def complete(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Drawn]:
        """Completes prompts, each with its own seed."""
        ...

    def logprobs(self, prompts: Sequence[Sequence[int]], labels: Sequence[int]) -> list[tuple[float, ...]]:
        """Reads the natural log-probability of each label as the next token."""
        ...

    def sleep(self) -> None:
        """Moves the weights to main memory and leaves the device to others. Nothing may be asked until `wake`.

        Raises:
            Refusal: main memory has no room for them.
        """
        ...

    def wake(self) -> None:
        """Takes the weights back onto the device.

        Raises:
            Refusal: somebody else keeps its memory.
        """
        ...

    def close(self) -> None:
        """Lets the weights go."""
        ...


def seed_of(prompt: str) -> int:
    """Derives a prompt's own seed from its text."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big")


def joint_seed(sampling: Sampling, seed: int) -> int:
    """Joins a prompt's two seeds to one of 31 bits, which every server takes."""
    return seed_of(f"{sampling.seed} {seed}") >> 33


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Finds where the first stop string begins."""
    return min((at for s in stop if (at := text.find(s)) >= 0), default=None)
