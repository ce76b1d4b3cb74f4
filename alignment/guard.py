"""The tokenizer guard: a completion prompt holds no control token, such as a chat template's.

A base model that meets `<|im_start|>` leaves its pretraining's path, and figures taken so say nothing about it.
"""

from __future__ import annotations

import hashlib
import re
import threading
from array import array
from collections.abc import Sequence
from typing import Any

from alignment.refusal import Refusal

_CONTROL = re.compile(r"<\|.*\|>|\[/?(INST|SYS)\]|<</?SYS>>|</?(start|end)_of_turn>|<(start|end)_of_turn>")


class TokenizerGuard:
    """Turns prompts into token ids and refuses those that hold control tokens."""

    def __init__(self, tokenizer: Any) -> None:
        """Takes the tokenizer's added tokens, and whatever in its vocabulary looks like a chat template's."""
        added = {int(number): str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        looks = {number: token for token, number in tokenizer.get_vocab().items() if _CONTROL.fullmatch(token)}
        self._control = {**looks, **added}
        if tokenizer.bos_token_id is not None and tokenizer.bos_token_id != tokenizer.eos_token_id:
            self._control.pop(tokenizer.bos_token_id, None)  # some tokenizers open every prompt with it
        self._tokenizer, self._one_at_a_time = tokenizer, threading.Lock()

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Tokenizes prompts.

        Raises:
            Refusal: a prompt is empty or holds a control token.
        """
        encoded: list[list[int]] = []
        if prompts:
            with self._one_at_a_time:
                encoded = self._tokenizer(list(prompts), return_attention_mask=False)["input_ids"]
        for prompt, ids in zip(prompts, encoded, strict=True):
            found = sorted({self._control[i] for i in ids if i in self._control})
            if found:
                raise Refusal(
                    f"prompt {_shortened(prompt)}: control tokens {', '.join(found)} in a completion prompt",
                    "take the chat template or the special tokens out of the curriculum's templates and texts",
                )
            if not ids:
                raise Refusal("an empty prompt", "give every instruction of the curriculum a text")
        return encoded


def sha256_of_ids(ids: Sequence[int]) -> str:
    """Hashes a prompt's token ids."""
    return hashlib.sha256(array("q", ids).tobytes()).hexdigest()


def _shortened(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 120 else f"{prompt[:60]} … {prompt[-60:]}")
