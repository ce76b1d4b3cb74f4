"""Serves any checkpoint through the completions API, for evaluation harnesses: `python scripts/serve_completions.py`.

    python scripts/serve_completions.py --profile micro --model data/RUN --port 8000

It answers /v1/models and /v1/completions for texts, with the engine that the profile names: what generates. Scoring of
given texts (`logprobs`, `echo`) is refused; for tasks that need it serve the model with `vllm serve`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from alignment.checkpoint import resolve_checkpoint
from alignment.engines import Engine, Sampling, open_engine
from alignment.profile import load_profile
from alignment.refusal import Refusal


class Server(ThreadingHTTPServer):
    """Serves one engine under one name."""

    daemon_threads = True

    def __init__(
        self, engine: Engine, name: str, port: int, connection: type[BaseHTTPRequestHandler] | None = None
    ) -> None:
        super().__init__(("127.0.0.1", port), connection or Connection)
        self.engine, self.name = engine, name


class Connection(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Names the model."""
        self._answer(200, {"object": "list", "data": [{"id": self.server.name, "object": "model"}]})

    def do_POST(self) -> None:
        """Completes one prompt or several."""
        try:
            asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self._answer(200, complete(self.server.engine, self.server.name, asked))
        except (Refusal, ValueError, TypeError) as error:
            self._answer(400, {"error": {"message": str(error), "type": "invalid_request_error"}})

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Stays silent."""


def complete(engine: Engine, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Computes the answer to one request.

    Raises:
        ValueError: the request asks for what is not served.
    """
    prompts = [asked["prompt"]] if isinstance(asked.get("prompt"), str) else asked.get("prompt")
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise ValueError("prompt: a text or a list of texts is served; with lm-eval, set tokenized_requests=False")
    if asked.get("logprobs") or asked.get("echo") or asked.get("stream") or asked.get("n", 1) != 1:
        raise ValueError("logprobs, echo, stream and n are not served here; use `vllm serve` for them")
    stop = asked.get("stop") or []
    sampling = Sampling(
        int(asked.get("max_tokens", 16)),
        float(asked.get("temperature", 1.0)),
        float(asked.get("top_p", 1.0)),
        (stop,) if isinstance(stop, str) else tuple(stop),
        int(asked.get("seed") or 0),
    )
    made = engine.complete(prompts, sampling)
    choices = [
        {"index": index, "text": one.text, "finish_reason": one.finish_reason, "logprobs": None}
        for index, one in enumerate(made)
    ]
    used = [sum(one.prompt_tokens for one in made), sum(one.completion_tokens for one in made)]
    usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
    return {
        "id": f"cmpl-{time.time_ns()}", "object": "text_completion", "created": int(time.time()), "model": name,
        "choices": choices, "usage": usage,
    }  # fmt: skip


def main() -> int:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="micro")
    parser.add_argument("--model", help="a run's folder, an adapter or a model; by default the profile's base")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workspace", "-w", type=Path, default=Path.cwd())
    given = parser.parse_args()
    workspace = given.workspace.resolve()
    try:
        profile = load_profile(given.profile, workspace)
        checkpoint = resolve_checkpoint(profile.model, workspace, given.model)
        engine = open_engine(profile.engine, checkpoint, workspace)
    except Refusal as refusal:
        print(f"{refusal.reason}; {refusal.needs}", file=sys.stderr)
        return 2
    name = given.model or profile.model.base
    server = Server(engine, name, given.port)
    print(f"{name} at http://127.0.0.1:{server.server_address[1]}/v1, {engine.device}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main())
