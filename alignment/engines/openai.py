"""The openai engine: any server that speaks the completions API (`/v1/completions`), such as `vllm serve`.

The tokenizer stays here: prompts are guarded, counted and hashed as for a model in this process, and travel as the very
token ids that were hashed. One request a prompt, because each has its own seed; so many at once as the profile allows.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from alignment.checkpoint import Checkpoint, load_tokenizer
from alignment.engines.interface import Completion, Sampling, first_stop, joint_seed, seed_of
from alignment.engines.text import label_ids, refuse_too_long
from alignment.guard import TokenizerGuard, sha256_of_ids
from alignment.refusal import Refusal
from alignment.settings import EngineSettings

if TYPE_CHECKING:
    import httpx

S = TypeVar("S")
T = TypeVar("T")
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # statuses that another try may mend
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_SHOWN = 300  # characters of a server's message


class OpenAIEngine:
    """Completes prompts with a model that a server has loaded."""

    def __init__(
        self,
        settings: EngineSettings,
        checkpoint: Checkpoint,
        *,
        environment: Mapping[str, str] = os.environ,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Asks the server whether it serves the checkpoint.

        Args:
            environment: where the key is looked up; it is sent to the server and goes nowhere else.
            wait: called with the seconds before another try.

        Raises:
            Refusal: the settings are incomplete, the key is not set, the server cannot be reached, or it does not serve
                this model.
        """
        import httpx

        _check_address(settings)
        self._settings, self._wait = settings, wait
        self._tokenizer = load_tokenizer(checkpoint.base)
        self._guard = TokenizerGuard(self._tokenizer)
        config = json.loads((checkpoint.base / "config.json").read_text(encoding="utf-8"))
        self._context = int(config["max_position_embeddings"])
        self._model = _served_name(settings, checkpoint)
        self._key = _key(settings.api_key_env, environment)
        self._client = httpx.Client(
            base_url=settings.base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(settings.timeout_s, connect=min(10.0, settings.timeout_s)),
            limits=httpx.Limits(max_connections=settings.concurrency),
        )
        try:
            self._require_served()
        except BaseException:
            self.close()
            raise
        self.device = f"{self._model} at {settings.base_url}"
        self.width = settings.concurrency
        self.facts: Mapping[str, Any] = {"engine": "openai", "model": self._model, "served_by": settings.base_url}

    def _require_served(self) -> None:
        served = [str(entry["id"]) for entry in self._ask("GET", "models")["data"]]
        if self._model not in served:
            raise Refusal(
                f"engine.base_url: {self._settings.base_url} does not serve {self._model!r}, but {', '.join(served)}",
                "start the server with this model, or mend engine.served_model in the profile",
            )

    def complete(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int] = ()) -> list[Completion]:
        """Completes prompts; see `Engine`. How a seed becomes a sample is the server's."""
        encoded = self._encode(prompts, sampling.max_new_tokens)
        own_seeds = list(seeds) or [seed_of(prompt) for prompt in prompts]

        def one(asked: tuple[str, list[int], int]) -> Completion:
            prompt, ids, seed = asked
            choice, usage = self._completion(
                prompt,
                ids,
                max_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=joint_seed(sampling, seed),
                **({"stop": list(sampling.stop)} if sampling.stop else {}),
            )
            text, reason = _cut(str(choice["text"]), choice["finish_reason"], sampling.stop)
            return Completion(text, reason, len(ids), int(usage["completion_tokens"]), sha256_of_ids(ids))

        return self._at_once(one, list(zip(prompts, encoded, own_seeds, strict=True)))

    def logprobs(self, prompts: Sequence[str], labels: Sequence[str]) -> list[tuple[float, ...]]:
        """Reads labels' log-probabilities; see `Engine`. Those below the likeliest tokens are read by an echo."""
        tokens = label_ids(self._guard, labels)

        def one(asked: tuple[str, list[int]]) -> tuple[float, ...]:
            prompt, ids = asked
            choice, _ = self._completion(
                prompt, ids, max_tokens=1, temperature=0.0, logprobs=self._settings.top_logprobs
            )
            likeliest = _field(choice, "logprobs", "top_logprobs")[0]
            return tuple(
                float(likeliest[label]) if label in likeliest else self._echoed(prompt + label, [*ids, token])
                for label, token in zip(labels, tokens, strict=True)
            )

        return self._at_once(one, list(zip(prompts, self._encode(prompts, 1), strict=True)))

    def count_tokens(self, prompts: Sequence[str]) -> list[int]:
        """Counts tokens; see `Engine`."""
        return [len(ids) for ids in self._guard.encode(prompts)]

    def close(self) -> None:
        """Closes the connections; see `Engine`. The server's model stays."""
        self._client.close()

    def _encode(self, prompts: Sequence[str], new_tokens: int) -> list[list[int]]:
        encoded = self._guard.encode(prompts)
        refuse_too_long(prompts, encoded, new_tokens, self._context)
        return encoded

    def _echoed(self, text: str, ids: list[int]) -> float:
        """Reads the log-probability of a text's last token by having the text itself echoed."""
        choice, _ = self._completion(text, ids, max_tokens=0, temperature=0.0, logprobs=1, echo=True)
        return float(_field(choice, "logprobs", "token_logprobs")[len(ids) - 1])

    def _completion(self, prompt: str, ids: list[int], **wanted: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        sent = ids if self._settings.send_ids else prompt
        answer = self._ask("POST", "completions", {"model": self._model, "prompt": sent, **wanted})
        usage = _field(answer, "usage")
        if usage["prompt_tokens"] != len(ids):
            raise Refusal(
                f"{self._settings.base_url}: a prompt of {len(ids)} tokens counts {usage['prompt_tokens']} there",
                "serve the very model that model.base names, without tokens of its own in front of prompts",
            )
        return _field(answer, "choices")[0], usage

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sends a request, again and again while what is wrong may pass.

        Raises:
            Refusal: the server says no, or nothing but errors came.
        """
        import httpx

        for tried in range(self._settings.retries + 1):
            asked_to_wait = 0.0
            try:
                response = self._client.request(method, path, json=body)
                if response.is_success:
                    answer: dict[str, Any] = response.json()
                    return answer
                seen = f"status {response.status_code}: {self._without_key(response.text)[:_SHOWN]}"
                if response.status_code not in _PASSING:
                    raise Refusal(f"{self._settings.base_url}/{path}: {seen}", "mend what the server complains about")
                asked_to_wait = _seconds(response)
            except (httpx.TransportError, json.JSONDecodeError) as error:
                seen = self._without_key(f"{type(error).__name__}: {error}")
            if tried < self._settings.retries:
                self._wait(min(_LONGEST_WAIT_S, max(asked_to_wait, _FIRST_WAIT_S * 2**tried)))
        raise Refusal(
            f"{self._settings.base_url}/{path}: no answer after {self._settings.retries + 1} tries; the last: {seen}",
            "start the server, or mend engine.base_url in the profile; then retry the task",
        )

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text

    def _at_once(self, work: Callable[[S], T], asked: Sequence[S]) -> list[T]:
        """Works on several requests at a time; the first failure ends all."""
        pool = ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="completions")
        try:
            return list(pool.map(work, asked))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _check_address(settings: EngineSettings) -> None:
    try:
        parts = urlsplit(settings.base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        secret = bool(parts.password or parts.username)
    except ValueError:
        good = secret = False
    if secret:
        raise Refusal("engine.base_url: holds a user name or password", "name the key's variable in engine.api_key_env")
    if not good or not settings.served_model:
        raise Refusal(
            f"engine: base_url is {settings.base_url!r} and served_model {settings.served_model!r}",
            "the openai engine needs both in the profile, such as http://localhost:8000/v1 and Qwen2.5-32B",
        )


def _served_name(settings: EngineSettings, checkpoint: Checkpoint) -> str:
    """Finds the name under which the server knows a checkpoint; a base model never stands in for a trained one."""
    if not checkpoint.adapters:
        return settings.served_model
    newest = checkpoint.adapters[-1].as_posix()
    for folder, name in settings.served_adapters.items():
        if f"/{newest}".endswith(f"/{folder.strip('/')}"):
            return str(name)
    raise Refusal(
        f"engine.served_adapters: none is {newest}, and the server's {settings.served_model!r} is the untrained model",
        "serve the adapter (vllm serve --enable-lora --lora-modules NAME=PATH) and add `PATH: NAME` to the profile",
    )


def _key(variable: str, environment: Mapping[str, str]) -> str:
    if not variable:
        return ""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise Refusal(
            "engine.api_key_env: not the name of an environment variable",  # it may be the key itself: not shown
            "name the variable that holds the key; the key itself belongs in no file",
        )
    if not environment.get(variable):
        raise Refusal(
            f"engine.api_key_env: the environment variable {variable} is not set",
            "set it where `cai up` is started, or empty api_key_env where the server asks for no key",
        )
    return environment[variable]


def _field(answer: Mapping[str, Any], *path: str) -> Any:
    found: Any = answer
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if not found:
        raise Refusal(
            f"the server's answer has no {'.'.join(path)}",
            "the critic needs a server that gives logprobs with completions, such as `vllm serve`",
        )
    return found


def _cut(text: str, reason: object, stop: Sequence[str]) -> tuple[str, Literal["stop", "length"]]:
    """Cuts at a stop string, which some servers leave at the end."""
    at = first_stop(text, stop)
    if at is not None:
        return text[:at], "stop"
    return text, "stop" if reason == "stop" else "length"


def _seconds(response: httpx.Response) -> float:
    """Reads for how long the server asks to be left alone; a date instead of seconds counts as not said."""
    try:
        return float(response.headers.get("Retry-After", 0))
    except ValueError:
        return 0.0
