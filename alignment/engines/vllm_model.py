"""vLLM in this process, for the model server: continuous batching over everything that is asked at any moment.

Its engine core runs in this very process (VLLM_ENABLE_V1_MULTIPROCESSING=0), so that no process of it can outlive a kill
of this one; scheduling is asynchronous all the same, and the card computes a step while the last one is looked at. The
thread that loads the model drives it; others hand their requests in and wait.

Written against vLLM 0.26.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from alignment.checkpoint import Checkpoint
from alignment.engines.interface import Drawn, Sampling, first_stop, joint_seed
from alignment.refusal import Refusal
from alignment.resources import GB, require_room_to_sleep
from alignment.settings import EngineSettings

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM makes room for
_WHOLE_CARD = 0.92  # vLLM's own default share
_BESIDES_BYTES = 4.5e9  # beside its share: context, graphs, sampling; 3.6e9 measured (docs/gpu.md)
_STEP_TOKENS = 8192  # of prompts in one step; more takes memory from keys and values
# Batches for which kernels are recorded at the start, in between they are padded: below 160 rows a step only waits for the
# weights, so that wide gaps cost nothing there. vLLM's own 51 sizes take twice as long to record, at each load. Recording
# steps of decoding alone takes 7 s instead of 14, but steps that take in prompts then leave the card idle for a sixth.
_GRAPH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, *range(160, 256, 16), *range(256, 513, 32))
_WAKE_S = 60.0  # until the one who had the card has given its memory back
_TAKEN_A_STEP = 128  # requests that join between two steps: taking more would let the card wait


@dataclass(slots=True)
class _Job:
    """The requests of one call, and what has come of them."""

    left: int
    outputs: list[Any]
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None


class _Asked(NamedTuple):
    job: _Job
    place: int
    ids: Sequence[int]
    params: Any
    adapter: Any


class VllmModel:
    """A base model in vLLM, whole or with an adapter by request; see `Model`."""

    def __init__(self, llm: Any, width: int, facts: Mapping[str, Any]) -> None:
        import torch
        import vllm

        self.llm = llm
        self.width = width
        self.context = int(llm.llm_engine.model_config.max_model_len)
        self.device = f"{torch.cuda.get_device_name(0)}, vLLM {vllm.__version__}"
        self.facts = facts
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._adapters: dict[str, int] = {}
        self._asleep_bytes = 0

    @classmethod
    def load(cls, settings: EngineSettings, checkpoint: Checkpoint) -> VllmModel:
        """Loads a base model in its own number format; 4 bits are for training.

        Raises:
            Refusal: the card lacks what the settings ask for.
        """
        os.environ |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_BATCH_INVARIANT": str(int(settings.batch_invariant)),
            "VLLM_HOST_IP": "127.0.0.1",  # nothing of it listens to other machines
            "VLLM_USE_FLASHINFER_SAMPLER": "0",  # it does not keep to the seeds of requests
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_DO_NOT_TRACK": "1",
            "THP_MEM_ALLOC_ENABLE": "1",  # large pages for weights that sleep in main memory
            "HF_HUB_OFFLINE": "1",
        }
        import torch

        capability = torch.cuda.get_device_capability(0)
        if settings.batch_invariant and capability < (9, 0):
            raise Refusal(
                f"engine.batch_invariant: the card's compute capability is {capability[0]}.{capability[1]}, below 9.0",
                "set batch_invariant: false in the profile",
            )
        total = torch.cuda.get_device_properties(0).total_memory
        wanted = max(0.0, settings.memory_gb * 1e9 - _BESIDES_BYTES) if settings.memory_gb else total
        share = min(_WHOLE_CARD, wanted / total)
        _refuse_too_large(checkpoint.base, share * total)
        from vllm import LLM

        rank = next((r for r in _RANKS if r >= settings.lora_rank), _RANKS[-1])
        adapters = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1} if settings.lora_rank else {}
        llm = LLM(
            model=os.fspath(checkpoint.base),
            dtype=checkpoint.dtype,
            generation_config="vllm",  # the sampling is ours alone
            load_format="dummy" if checkpoint.weights == "random" else "auto",
            enable_prefix_caching=True,
            gpu_memory_utilization=share,
            max_model_len=settings.context or None,
            max_num_seqs=settings.batch_rows,
            max_num_batched_tokens=_STEP_TOKENS,
            cudagraph_capture_sizes=[size for size in _GRAPH_SIZES if size <= settings.batch_rows],
            enable_sleep_mode=settings.warm_s > 0,
            disable_log_stats=True,
            **adapters,
        )
        facts = {
            "batch_invariant": settings.batch_invariant,
            "memory_share": round(share, 4),
            "dtype": checkpoint.dtype,
        }
        return cls(llm, settings.batch_rows, facts)

    def complete(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Drawn]:
        """Completes prompts; see `Model`."""
        return self._complete(prompts, sampling, seeds, None)

    def logprobs(self, prompts: Sequence[Sequence[int]], labels: Sequence[int]) -> list[tuple[float, ...]]:
        """Reads labels' log-probabilities; see `Model`."""
        return self._logprobs(prompts, labels, None)

    def with_adapter(self, path: Path) -> WithAdapter:
        """Gives the model with an adapter on it. The same path with other content is another adapter."""
        from vllm.lora.request import LoRARequest

        name = f"{path} {(path / 'adapter_model.safetensors').stat().st_mtime_ns}"
        number = self._adapters.setdefault(name, len(self._adapters) + 1)
        return WithAdapter(self, LoRARequest(name, number, os.fspath(path)))

    def sleep(self) -> None:
        """Moves the weights to main memory; see `Model`. Recorded kernels stay, a few GB of the card."""
        from vllm.device_allocator import cumem

        cumem.PIN_MEMORY = False  # pinned, each tensor is rounded up to a power of two: 115 GB for 65 of weights
        held = cumem.CuMemAllocator.get_instance().pointer_to_data.values()
        require_room_to_sleep(sum(one.handle[1] for one in held if one.tag == "weights"))
        self._asleep_bytes = sum(one.handle[1] for one in held)
        self.llm.sleep(level=1)

    def wake(self) -> None:
        """Takes the weights back onto the card; see `Model`."""
        import torch

        deadline = time.monotonic() + _WAKE_S
        while (free := torch.cuda.mem_get_info()[0]) < self._asleep_bytes:
            if time.monotonic() > deadline:
                raise Refusal(
                    f"the card: {free / GB:.1f} GB are free, {self._asleep_bytes / GB:.1f} GB are needed",
                    "end what else holds the card's memory (nvidia-smi)",
                )
            time.sleep(0.05)
        self.llm.wake_up()

    def close(self) -> None:
        """Does nothing: the memory is the process's, and goes with it."""

    def drive(self) -> None:
        """Steps the engine for as long as this process lives."""
        from vllm.inputs.engine import tokens_input

        engine, numbers = self.llm.llm_engine, itertools.count()
        waiting: dict[str, _Asked] = {}
        while True:
            for _ in range(_TAKEN_A_STEP):
                try:
                    asked = self._asked.get(block=not waiting)
                except queue.Empty:
                    break
                name = f"cai-{next(numbers)}"
                try:
                    engine.add_request(name, tokens_input(list(asked.ids)), asked.params, lora_request=asked.adapter)
                except ValueError as error:
                    _settle(asked, None, error)
                else:
                    waiting[name] = asked
            for output in engine.step() if waiting else ():
                if output.finished:
                    _settle(waiting.pop(output.request_id), output.outputs[0], None)

    def _complete(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int], adapter: Any
    ) -> list[Drawn]:
        def params(seed: int) -> Any:
            return _params(
                max_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                stop=list(sampling.stop),
                seed=joint_seed(sampling, seed) if sampling.temperature else None,
                skip_special_tokens=False,
            )

        found = self._run(prompts, [params(seed) for seed in seeds], adapter)
        return [_drawn(output, sampling.stop) for output in found]

    def _logprobs(
        self, prompts: Sequence[Sequence[int]], labels: Sequence[int], adapter: Any
    ) -> list[tuple[float, ...]]:
        params = [
            _params(max_tokens=1, temperature=0.0, logprob_token_ids=list(labels), detokenize=False) for _ in prompts
        ]
        found = self._run(prompts, params, adapter)
        return [tuple(output.logprobs[0][label].logprob for label in labels) for output in found]

    def _run(self, prompts: Sequence[Sequence[int]], params: Sequence[Any], adapter: Any) -> list[Any]:
        job = _Job(len(prompts), [None] * len(prompts))
        if not prompts:
            return []
        for place, (ids, how) in enumerate(zip(prompts, params, strict=True)):
            self._asked.put(_Asked(job, place, ids, how, adapter))
        job.done.wait()
        if job.error:
            raise job.error
        return job.outputs


@dataclass(frozen=True, slots=True)
class WithAdapter:
    """A served model with an adapter laid over it; all else is the model's."""

    _model: VllmModel
    _adapter: Any

    @property
    def context(self) -> int:
        """Tokens of a prompt and its completion together."""
        return self._model.context

    def complete(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Drawn]:
        """Completes prompts; see `Model`."""
        return self._model._complete(prompts, sampling, seeds, self._adapter)

    def logprobs(self, prompts: Sequence[Sequence[int]], labels: Sequence[int]) -> list[tuple[float, ...]]:
        """Reads labels' log-probabilities; see `Model`."""
        return self._model._logprobs(prompts, labels, self._adapter)


def _params(**how: Any) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(**how, output_kind=RequestOutputKind.FINAL_ONLY, skip_clone=True)


def _settle(asked: _Asked, output: Any, error: Exception | None) -> None:
    job = asked.job
    job.outputs[asked.place] = output
    job.error = job.error or error
    job.left -= 1
    if not job.left:
        job.done.set()


def _drawn(output: Any, stop: Sequence[str]) -> Drawn:
    cut = first_stop(output.text, stop)
    ended = cut is not None or output.finish_reason == "stop"
    return Drawn(output.text[:cut], "stop" if ended else "length", len(output.token_ids))


def _refuse_too_large(base: Path, room: float) -> None:
    """Makes sure that the weights fit before minutes are spent on loading them.

    Raises:
        Refusal: they leave no room for the prompts' keys and values.
    """
    weights = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    if weights > 0.95 * room:
        raise Refusal(
            f"engine.memory_gb: {base} has {weights / 1e9:.1f} GB of weights, and {room / 1e9:.1f} GB may be used",
            "raise memory_gb in the profile, or take a card with more memory",
        )
