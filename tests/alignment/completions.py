"""A real HTTP server with the completions API around the real tiny model, and faults on demand.

transformers' own `serve` ignores `logprobs` (5.17), which the critic needs, so this one serves our transformers engine,
from the shell of scripts/serve_completions.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alignment.engines import Sampling
from alignment.engines.text import TextEngine
from scripts import serve_completions

MODEL = "tiny"
KEY = "k-3f9a-secret"


class Server(serve_completions.Server):
    """Serves one model. `faults` are given, in order, in place of answers: a status, or "drop"."""

    engine: TextEngine
    daemon_threads = False  # closing waits for its connections, which every engine must have closed

    def __init__(self, engine: TextEngine) -> None:
        super().__init__(engine, MODEL, 0, Handler)
        self.lock, self.computing = threading.Lock(), threading.Lock()
        self.faults: list[int | str] = []
        self.asked: list[dict[str, Any]] = []  # the bodies of all completion requests, faulty ones too
        self.under_way = self.most_under_way = 0
        self.key = ""  # what must be sent; empty for nothing
        self.extra_tokens = 0  # what this server puts in front of prompts

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stays silent about connections that a client, or a fault, has cut."""


class Handler(serve_completions.Connection):
    """Answers one connection, with a fault where one is due."""

    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "drop":
            self._done()
            self.close_connection = True
            self.connection.close()
        elif isinstance(fault, int):
            self._answer(fault, {"error": f"fault {fault} for {self.headers.get('Authorization', 'nobody')}"})
        elif self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self._answer(401, {"error": "no such key"})
        else:
            with self.server.computing:
                answer = completion(self.server.engine, body, self.server.extra_tokens)
            self._answer(200, answer)

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        if self.command == "POST":
            self._done()  # before it is told: the client asks again at once
        super()._answer(status, body)

    def _done(self) -> None:
        with self.server.lock:
            self.server.under_way -= 1


def completion(engine: TextEngine, body: dict[str, Any], extra_tokens: int) -> dict[str, Any]:
    """Computes one completion object."""
    import torch

    tokenizer, model = engine.tokenizer, engine.model.model
    ids = tokenizer(body["prompt"])["input_ids"] if isinstance(body["prompt"], str) else body["prompt"]
    choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": "length", "logprobs": None}
    tokens = 0
    if "logprobs" in body:
        with torch.inference_mode():
            found = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].float(), -1)  # (T, V)
        best = found[-1].topk(body["logprobs"])
        top = dict(zip(map(tokenizer.decode, best.indices.tolist()), best.values.tolist(), strict=True))
        echoed = [None, *(float(found[place, token]) for place, token in enumerate(ids[1:]))]
        choice["logprobs"] = {"token_logprobs": echoed if body.get("echo") else [max(top.values())]}
        choice["logprobs"]["top_logprobs"] = [None] * len(ids) if body.get("echo") else [top]
    if body["max_tokens"]:
        sampling = Sampling(
            body["max_tokens"], body["temperature"], body.get("top_p", 1.0), tuple(body.get("stop", ())),
            seed=body.get("seed", 0),
        )  # fmt: skip
        made = engine.complete([tokenizer.decode(ids)], sampling, [0])[0]
        choice |= {"text": made.text, "finish_reason": made.finish_reason}
        tokens = made.completion_tokens
    usage = {"prompt_tokens": len(ids) + extra_tokens, "completion_tokens": tokens}
    return {"object": "text_completion", "model": MODEL, "choices": [choice], "usage": usage}


@contextmanager
def served(engine: TextEngine) -> Iterator[Server]:
    """Serves a model until the block ends."""
    server = Server(engine)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
