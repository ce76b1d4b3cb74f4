"""The transformers engine: left-padded batches by token budget, decoded with rows leaving the batch as they end.

An own loop in place of `generate`, because a prefix that a batch shares (few-shot exemplars) is computed once and
because finished rows leave: 3.6 s -> 1.0 s for 240 four-shot prompts of 130 tokens, 1.7 s -> 1.4 s for 240 raw ones
(2.4 M parameters, one CPU core, transformers 5.17). On a GPU the step is recorded as a CUDA graph instead: launching a large
model's kernels one by one takes longer than computing them.
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from alignment.checkpoint import Checkpoint, device_in_words, load_model, load_tokenizer, ready_process
from alignment.engines.interface import Drawn, Sampling, first_stop
from alignment.resources import release_memory, require_room_to_sleep
from alignment.settings import EngineSettings

_SHARED_TOKENS = 16  # a shorter common prefix costs more as a forward pass of its own than it saves
_SHARED_ROWS = 4
_LEAVE_SHARE = 0.8  # rows are dropped from the batch when fewer than this share still run: dropping copies the cache
_RECORDED_TOKENS = 16  # fewer new ones are not worth a recording (proposal)
# Rows times tokens of a cache of full length, above which attention over all of it takes longer than launching kernels:
# with 32 B parameters 77,000 took 191 ms a token where a growing cache took 113 (one H200, transformers 5.17).
_RECORDED_CACHE = 16384


class PaddedModel:
    """A transformers model in this process."""

    width = 1  # it forms its own batches of what it is given

    def __init__(self, model: Any, tokenizer: Any, settings: EngineSettings, records: bool | None = None) -> None:
        """Takes a loaded model.

        Args:
            records: decode with a cache of fixed length, whose step can be recorded; by default on a GPU, where Unsloth has
                not put layers with caches of their own into transformers.
        """
        self.model, self._home = model, model.device
        self._tokenizer = tokenizer
        self._settings = settings
        self._one_at_a_time = threading.Lock()
        self._ending_tokens: dict[tuple[str, ...], frozenset[int]] = {}
        if records is None:
            records = model.device.type == "cuda" and "unsloth" not in sys.modules
        self._records = records and set(getattr(model.config, "layer_types", None) or ()) <= {"full_attention"}
        self.context = int(model.config.max_position_embeddings)
        self.device = device_in_words(model)
        self.facts: Mapping[str, Any] = {}

    @classmethod
    def load(cls, settings: EngineSettings, checkpoint: Checkpoint) -> PaddedModel:
        """Loads a checkpoint on the device that the settings name."""
        return cls(load_model(checkpoint, ready_process(settings)), load_tokenizer(checkpoint.base), settings)

    def complete(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Drawn]:
        """Completes prompts; see `Model`."""
        completions: list[Drawn | None] = [None] * len(prompts)
        with self._one_at_a_time:
            for batch in self._batches(prompts, sampling.max_new_tokens):
                decoded = self._decode([prompts[i] for i in batch], sampling, [seeds[i] for i in batch])
                for i, (tokens, ended) in zip(batch, decoded, strict=True):
                    completions[i] = Drawn(*self._text(tokens, sampling.stop, ended), len(tokens) + ended)
        return [completion for completion in completions if completion is not None]

    def logprobs(self, prompts: Sequence[Sequence[int]], labels: Sequence[int]) -> list[tuple[float, ...]]:
        """Reads labels' log-probabilities; see `Model`."""
        import torch

        found: list[tuple[float, ...]] = [()] * len(prompts)
        with self._one_at_a_time, torch.inference_mode():
            for batch in self._batches(prompts, 1):
                logits, *_ = self._prefill([prompts[i] for i in batch])
                rows = torch.log_softmax(logits, -1)[:, list(labels)].tolist()
                for i, row in zip(batch, rows, strict=True):
                    found[i] = tuple(row)
        return found

    def sleep(self) -> None:
        """Moves the weights to main memory; see `Model`."""
        if self._home.type != "cpu":
            require_room_to_sleep(self.model.get_memory_footprint())
        self.model.to("cpu")
        release_memory()

    def wake(self) -> None:
        """Takes the weights back onto the device; see `Model`."""
        self.model.to(self._home)

    def close(self) -> None:
        """Lets the weights go; see `Model`."""
        self.model = None
        release_memory()

    def _batches(self, encoded: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
        """Cuts prompts into batches of like beginnings and lengths, within the budget of rows and tokens."""
        beginnings = defaultdict(list)
        for i, ids in enumerate(encoded):
            beginnings[tuple(ids[:_SHARED_TOKENS])].append(i)
        groups = [group for group in beginnings.values() if len(group) >= _SHARED_ROWS]
        groups.append([i for group in beginnings.values() if len(group) < _SHARED_ROWS for i in group])
        for group in groups:
            batch: list[int] = []
            for i in sorted(group, key=lambda i: len(encoded[i])):
                tokens = (len(batch) + 1) * (len(encoded[i]) + new_tokens)
                if batch and (tokens > self._settings.batch_tokens or len(batch) == self._settings.batch_rows):
                    yield batch
                    batch = []
                batch.append(i)
            if batch:
                yield batch

    def _prefill(self, batch: Sequence[Sequence[int]]) -> tuple[Any, Any, Any, Any]:
        """Runs the prompts, the prefix that they share once.

        Returns:
            The next token's logits (B, V), the key/value cache, and the rows' attention mask (B, T) and last positions (B,).
        """
        import torch
        from transformers import DynamicCache

        device = self.model.device
        shared = min(_common_prefix(batch), min(map(len, batch)) - 1)
        if shared < _SHARED_TOKENS or len(batch) < _SHARED_ROWS:
            shared = 0
        width = max(map(len, batch))
        padding = [width - len(ids) for ids in batch]
        rest = torch.tensor([[0] * pad + list(ids[shared:]) for pad, ids in zip(padding, batch, strict=True)])
        mask = torch.tensor([[1] * shared + [0] * pad + [1] * (width - shared - pad) for pad in padding])
        rest, mask = rest.to(device), mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, shared:]
        cache = DynamicCache(config=self.model.config)
        if shared:
            prefix = torch.tensor([list(batch[0][:shared])], device=device)
            self.model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(batch))
        return _forward(self.model, rest, mask, positions, cache), cache, mask, positions[:, -1]

    def _decode(
        self, batch: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]
    ) -> list[tuple[list[int], bool]]:
        """Draws each row's tokens, and tells whether it ended with the end of sequence."""
        import torch

        ending, eos = self._tokens_that_may_end(sampling.stop), self._tokenizer.eos_token_id
        drawn: list[list[int]] = [[] for _ in batch]
        ended = [False] * len(batch)
        running = list(range(len(batch)))  # the batch row behind each row of the tensors
        alive = [True] * len(batch)
        with torch.inference_mode():
            uniforms = _uniforms(sampling, seeds).to(self.model.device)
            logits, cache, mask, position = self._prefill(batch)
            new = sampling.max_new_tokens
            steps: _Growing | _Recorded
            if self._records and new >= _RECORDED_TOKENS and mask.numel() + len(batch) * new <= _RECORDED_CACHE:
                steps = _Recorded(self.model, cache, mask, position, new)
            else:
                steps = _Growing(self.model, cache, mask, position)
            for step in range(new):
                tokens = _choose(logits, sampling, uniforms[:, step])
                for row, token in zip(running, tokens.tolist(), strict=True):
                    if not alive[row]:
                        continue
                    if token == eos:
                        ended[row], alive[row] = True, False
                        continue
                    drawn[row].append(token)
                    if token in ending and first_stop(self._tokenizer.decode(drawn[row]), sampling.stop) is not None:
                        alive[row] = False
                kept = [index for index, row in enumerate(running) if alive[row]]
                if not kept or step == new - 1:
                    break
                if isinstance(steps, _Growing) and len(kept) < _LEAVE_SHARE * len(running):
                    chosen = torch.tensor(kept, device=tokens.device)
                    running = [running[index] for index in kept]
                    tokens, uniforms = tokens[chosen], uniforms[chosen]
                    steps.keep(chosen)
                logits = steps.take(tokens)
        return list(zip(drawn, ended, strict=True))

    def _tokens_that_may_end(self, stop: tuple[str, ...]) -> frozenset[int]:
        """Finds the tokens after which a stop string can be complete: those with the last character of one."""
        if stop not in self._ending_tokens:
            last = {text[-1] for text in stop}
            every = not all(character.isascii() for character in last)  # such a character may span tokens
            self._ending_tokens[stop] = frozenset(
                i
                for i in range(len(self._tokenizer) if stop else 0)
                if every or last & set(self._tokenizer.decode([i]))
            )
        return self._ending_tokens[stop]

    def _text(self, tokens: list[int], stop: tuple[str, ...], ended: bool) -> tuple[str, Literal["stop", "length"]]:
        text = self._tokenizer.decode(tokens)
        cut = first_stop(text, stop)
        if cut is not None:
            return text[:cut], "stop"
        return text, "stop" if ended else "length"


class _Growing:
    """Decodes with a cache that grows by each token, from which rows can leave."""

    def __init__(self, model: Any, cache: Any, mask: Any, position: Any) -> None:
        self._model, self._cache, self._mask, self._position = model, cache, mask, position

    def keep(self, chosen: Any) -> None:
        """Drops all rows but the chosen ones."""
        self._mask, self._position = self._mask[chosen], self._position[chosen]
        self._cache.batch_select_indices(chosen)

    def take(self, tokens: Any) -> Any:
        """Computes the logits (B, V) after one more token of each row (B,)."""
        import torch

        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], -1)
        self._position = self._position + 1
        return _forward(self._model, tokens[:, None], self._mask, self._position[:, None], self._cache)


class _Recorded:
    """Decodes with a cache of full length from the start, so that every step is the same and can be replayed.

    The first step runs as it is, which loads what kernels need; the second is recorded. Rows stay until the last one ends:
    a step of a large model waits for the weights, however few rows there are.
    """

    def __init__(self, model: Any, cache: Any, mask: Any, position: Any, new_tokens: int) -> None:
        import torch
        from transformers import StaticCache

        self._model = model
        self._cache = StaticCache(config=model.config, max_cache_len=mask.shape[1] + new_tokens)
        for layer, grown in zip(self._cache.layers, cache.layers, strict=True):
            layer.update(grown.keys, grown.values)
            grown.keys = grown.values = None  # two whole caches may not fit
        self._mask = torch.cat([mask, mask.new_ones(len(mask), new_tokens)], -1)  # causality hides what is yet to come
        self._position = position[:, None].clone()
        self._tokens = torch.empty_like(self._position)
        self._graph: Any = None
        self._logits: Any = None

    def take(self, tokens: Any) -> Any:
        """Computes the logits (B, V) after one more token of each row (B,); the next step writes over them."""
        self._tokens.copy_(tokens[:, None])
        self._position.add_(1)
        if self._graph is None and self._logits is not None and self._tokens.device.type == "cuda":
            self._record()
        if self._graph is None:
            self._logits = self._step()
        else:
            self._graph.replay()
        return self._logits

    def _record(self) -> None:
        import torch

        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._logits = self._step()

    def _step(self) -> Any:
        return _forward(self._model, self._tokens, self._mask, self._position, self._cache)


def _forward(model: Any, ids: Any, mask: Any, positions: Any, cache: Any) -> Any:
    """Computes the last logits (B, V) of some tokens (B, T) after what is in the cache."""
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1].float()


def _common_prefix(batch: Sequence[Sequence[int]]) -> int:
    """Counts the tokens with which every prompt of a batch begins: those of its first and last in order."""
    first, last = min(map(list, batch)), max(map(list, batch))
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _uniforms(sampling: Sampling, seeds: Sequence[int]) -> Any:
    """Draws the uniform numbers (B, max_new_tokens) that decide each row's samples, from the row's own seeds."""
    import numpy as np
    import torch

    if sampling.temperature == 0:
        return torch.zeros(len(seeds), sampling.max_new_tokens)
    rows = [np.random.default_rng([sampling.seed, seed]).random(sampling.max_new_tokens, np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def _choose(logits: Any, sampling: Sampling, uniform: Any) -> Any:
    """Picks the next tokens (B,) from logits (B, V): the likeliest, or by the inverse of the cumulative distribution.

    Source: nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751.
    """
    import torch

    if sampling.temperature == 0:
        return logits.argmax(-1)
    probability = torch.softmax(logits / sampling.temperature, -1)
    probability, order = probability.sort(-1, descending=True)
    before = probability.cumsum(-1) - probability
    probability = probability.masked_fill(before >= sampling.top_p, 0.0)
    cumulative = probability.cumsum(-1)
    index = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    last = (probability > 0).sum(-1, keepdim=True) - 1  # a product rounded up would fall outside the nucleus
    return order.gather(-1, torch.minimum(index, last))[:, 0]
