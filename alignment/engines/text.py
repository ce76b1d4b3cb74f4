"""The half of an engine that knows text: prompts are guarded, counted and hashed here, and reach a model as token ids."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from alignment.engines.interface import Completion, Model, Sampling, seed_of
from alignment.guard import TokenizerGuard, sha256_of_ids
from alignment.refusal import Refusal


class TextEngine:
    """Completes prompts with a model that knows token ids alone."""

    def __init__(self, tokenizer: Any, model: Model, facts: Mapping[str, Any], device: ExitStack | None = None) -> None:
        """Joins a tokenizer and a model.

        Args:
            device: held for a model in this process, closed when the model goes.
        """
        self.model, self._held = model, device
        self.tokenizer = tokenizer
        self._guard = TokenizerGuard(tokenizer)
        self.device, self.width = model.device, model.width
        self.facts: Mapping[str, Any] = {**facts, **model.facts}

    def over(self, model: Model) -> TextEngine:
        """Gives the same engine over another model that has this tokenizer, such as one with an adapter."""
        other = copy.copy(self)
        other.model = model
        return other

    def complete(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int] = ()) -> list[Completion]:
        """Completes prompts; see `Engine`."""
        encoded = self._encode(prompts, sampling.max_new_tokens)
        drawn = self.model.complete(encoded, sampling, list(seeds) or [seed_of(prompt) for prompt in prompts])
        return [
            Completion(one.text, one.finish_reason, len(ids), one.tokens, sha256_of_ids(ids))
            for ids, one in zip(encoded, drawn, strict=True)
        ]

    def logprobs(self, prompts: Sequence[str], labels: Sequence[str]) -> list[tuple[float, ...]]:
        """Reads labels' log-probabilities; see `Engine`."""
        return self.model.logprobs(self._encode(prompts, 1), label_ids(self._guard, labels))

    def count_tokens(self, prompts: Sequence[str]) -> list[int]:
        """Counts tokens; see `Engine`."""
        return [len(ids) for ids in self._guard.encode(prompts)]

    def close(self) -> None:
        """Lets the model go; see `Engine`."""
        self.model.close()
        if self._held is not None:
            self._held.close()

    def _encode(self, prompts: Sequence[str], new_tokens: int) -> list[list[int]]:
        encoded = self._guard.encode(prompts)
        refuse_too_long(prompts, encoded, new_tokens, self.model.context)
        return encoded


def label_ids(guard: TokenizerGuard, labels: Sequence[str]) -> list[int]:
    """Turns labels into their tokens.

    Raises:
        Refusal: a label is not one token.
    """
    found = []
    for label, ids in zip(labels, guard.encode(labels), strict=True):
        if len(ids) != 1:
            raise Refusal(
                f"judge.labels: {label!r} is {len(ids)} tokens", "choose labels that the tokenizer keeps whole"
            )
        found += ids
    return found


def refuse_too_long(prompts: Sequence[str], encoded: Sequence[Sequence[int]], new_tokens: int, context: int) -> None:
    """Makes sure that each prompt leaves room for its completion.

    Raises:
        Refusal: one does not.
    """
    for prompt, ids in zip(prompts, encoded, strict=True):
        if len(ids) + new_tokens > context:
            raise Refusal(
                f"prompt {prompt[:60]!r}…: {len(ids)} tokens and {new_tokens} new ones, "
                f"but the model's context is {context}",
                "use fewer exemplars or a smaller max_new_tokens in stage.yaml",
            )
