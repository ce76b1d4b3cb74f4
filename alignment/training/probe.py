"""A fixed probe of a model in training: the same few rows, scored and answered greedily each time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alignment.engines.interface import Sampling
from alignment.engines.padded import PaddedModel
from alignment.monitors import Vitals, distinct, repetition
from alignment.settings import EngineSettings
from alignment.training.rows import Row

# An answer may run this many tokens past the longest one asked for before it counts as not ending by itself.
GRACE_TOKENS = 16


class Probe:
    """Measures a model on rows drawn once from those it is trained on.

    Args:
        rows: the training rows.
        size: rows to draw.
        seed: draws them.
        tokenizer: the model's own.
        own_decoding: the model has a decoding loop, and caches, of its own, as Unsloth's do.
    """

    def __init__(
        self, rows: Sequence[Row], size: int, seed: int, tokenizer: Any, *, own_decoding: bool = False
    ) -> None:
        drawn = random.Random(seed).sample(list(rows), min(size, len(rows)))
        self._tokenizer = tokenizer
        self._own_decoding = own_decoding
        self._prompts: list[list[int]] = [tokenizer(row["prompt"])["input_ids"] for row in drawn]
        answers = [row["chosen"] if "chosen" in row else row["completion"] for row in drawn]
        self._answers: list[list[int]] = [
            tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for answer in answers
        ]
        # One long answer would keep all others waiting, and an engine for 4-bit weights draws few tokens a second.
        lengths = sorted(map(len, self._answers))
        self._asked = [i for i, answer in enumerate(self._answers) if len(answer) <= lengths[len(lengths) // 2]]
        texts = [answers[i] for i in self._asked]
        self.target = Vitals(0.0, 1.0, repetition(texts), distinct(texts))

    def measure(self, model: Any) -> Vitals:
        """Scores the probe's answers and lets the model answer the prompts of the shorter half."""
        with inference(model):
            texts, ended = self._answer(model)
            return Vitals(self._chosen_logp(model), ended, repetition(texts), distinct(texts))

    def chosen_logp(self, model: Any) -> float:
        """Gives the mean log-probability a token of the probe's answers, in nats."""
        with inference(model):
            return self._chosen_logp(model)

    def _chosen_logp(self, model: Any) -> float:
        import torch

        rows = [prompt + answer for prompt, answer in zip(self._prompts, self._answers, strict=True)]
        ids, attention = self._padded(rows, left=False, device=model.device)  # (rows, tokens)
        logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1].float()
        logps = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]  # (rows, tokens - 1)
        total = 0.0
        for row, (prompt, answer) in enumerate(zip(self._prompts, self._answers, strict=True)):
            start = len(prompt) - 1
            total += float(logps[row, start : start + len(answer)].sum())
        return total / sum(map(len, self._answers))

    def _answer(self, model: Any) -> tuple[list[str], float]:
        prompts = [self._prompts[i] for i in self._asked]
        limit = max(len(self._answers[i]) for i in self._asked) + GRACE_TOKENS
        if self._own_decoding:
            return self._generated(model, prompts, limit)
        engine = PaddedModel(model, self._tokenizer, EngineSettings())
        drawn = engine.complete(prompts, Sampling(limit), [0] * len(prompts))
        return [one.text for one in drawn], sum(one.finish_reason == "stop" for one in drawn) / len(drawn)

    def _generated(self, model: Any, prompts: list[list[int]], limit: int) -> tuple[list[str], float]:
        ids, attention = self._padded(prompts, left=True, device=model.device)
        eos = self._tokenizer.eos_token_id
        answered = model.generate(
            input_ids=ids,
            attention_mask=attention,
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=eos,
            pad_token_id=eos,
        )[:, ids.shape[1] :].tolist()
        texts = [self._tokenizer.decode(row, skip_special_tokens=True) for row in answered]
        return texts, sum(eos in row for row in answered) / len(answered)

    def _padded(self, rows: list[list[int]], *, left: bool, device: Any) -> tuple[Any, Any]:
        import torch

        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._tokenizer.eos_token_id)
        attention = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            where = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, where] = torch.tensor(row)
            attention[i, where] = 1
        return ids.to(device), attention.to(device)


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """Holds a model in evaluation mode, without gradients, and gives it back as it was."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
