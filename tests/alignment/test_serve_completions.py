from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from alignment.checkpoint import resolve_checkpoint
from alignment.engines import Sampling, open_engine
from alignment.engines.openai import OpenAIEngine
from alignment.locations import INSTALLATION
from alignment.settings import EngineSettings, ModelSettings
from scripts.serve_completions import Server

pytestmark = pytest.mark.model
CHECKPOINT = resolve_checkpoint(ModelSettings(), INSTALLATION)
PROMPTS = ["Say hello.\n", "Instruction: Say the opposite of up.\nResponse:"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    engine = open_engine(EngineSettings(name="transformers", device="cpu"), CHECKPOINT, INSTALLATION)
    running = Server(engine, "tiny", 0)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def address(server: Server) -> str:
    """Where it listens."""
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def test_the_openai_engine_reads_the_same_from_it(server: Server) -> None:
    """What a harness gets is what the handlers get: texts, finish reasons and counts."""
    settings = EngineSettings(name="openai", base_url=address(server), served_model="tiny", send_ids=False)
    sampling = Sampling(12, stop=("\n",))
    with closing(OpenAIEngine(settings, CHECKPOINT)) as engine:
        assert engine.complete(PROMPTS, sampling) == server.engine.complete(PROMPTS, sampling)


def test_several_prompts_of_a_request_come_back_in_order(server: Server) -> None:
    """Harnesses send batches; each choice names its prompt's place."""
    body: dict[str, Any] = {"model": "tiny", "prompt": PROMPTS, "max_tokens": 12, "temperature": 0.0, "stop": "\n"}
    answer = httpx.post(f"{address(server)}/completions", json=body).json()
    expected = [one.text for one in server.engine.complete(PROMPTS, Sampling(12, stop=("\n",)))]
    assert [choice["text"] for choice in answer["choices"]] == expected
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"prompt": [[1, 2]]}, "tokenized_requests=False"),
        ({"logprobs": 1}, "vllm serve"),
        ({"prompt": "<|im_start|>user"}, "control tokens"),
    ],
)
def test_what_is_not_served_is_refused_with_a_way_out(server: Server, more: dict[str, Any], told: str) -> None:
    """A request that would be answered wrongly gets a 400 that says so."""
    answer = httpx.post(f"{address(server)}/completions", json={"prompt": "Say hello.\n", **more})
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]
