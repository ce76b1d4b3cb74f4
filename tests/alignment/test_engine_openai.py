from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alignment.checkpoint import Checkpoint, resolve_checkpoint
from alignment.engines import Sampling, open_engine
from alignment.engines.openai import OpenAIEngine
from alignment.engines.text import TextEngine
from alignment.locations import INSTALLATION
from alignment.refusal import Refusal
from alignment.settings import EngineSettings, ModelSettings
from tests.alignment.completions import KEY, MODEL, Server, served

pytestmark = pytest.mark.model
CHECKPOINT = Checkpoint(INSTALLATION / "microworld" / "weights", (), "float32", "none")
OPENED: list[OpenAIEngine] = []  # by the test that runs


@pytest.fixture(scope="module")
def model() -> TextEngine:
    checkpoint = resolve_checkpoint(ModelSettings(), INSTALLATION)
    engine = open_engine(EngineSettings(device="cpu"), checkpoint, INSTALLATION)
    assert isinstance(engine, TextEngine)
    return engine


@pytest.fixture
def server(model: TextEngine) -> Iterator[Server]:
    with served(model) as running:
        yield running
        while OPENED:
            OPENED.pop().close()


def connect(server: Server, waited: list[float] | None = None, env: dict[str, str] | None = None, **more: Any) -> Any:
    """Opens the engine on a server; its waiting before further tries is noted instead of done."""
    settings = EngineSettings(**{"name": "openai", "base_url": server.base_url, "served_model": MODEL, **more})
    log = [] if waited is None else waited
    OPENED.append(OpenAIEngine(settings, CHECKPOINT, environment=env or {}, wait=log.append))
    return OPENED[-1]


@pytest.mark.parametrize("fault", [429, 500, 503, "drop"])
def test_a_passing_fault_is_tried_again_with_growing_waits(server: Server, fault: int | str) -> None:
    """Too many requests, a server's error and a dropped connection change nothing but the time that it takes."""
    waited: list[float] = []
    engine = connect(server, waited, concurrency=1)
    undisturbed = engine.complete(["Say hello.\n"], Sampling(5))
    server.faults = [fault] * 3
    assert engine.complete(["Say hello.\n"], Sampling(5)) == undisturbed
    assert waited == [0.5, 1.0, 2.0]


def test_a_fault_that_stays_is_told_with_its_place_and_remedy(server: Server) -> None:
    """After the last try the refusal names the server, the tries and what was seen."""
    waited: list[float] = []
    engine = connect(server, waited, retries=2)
    server.faults = [503] * 3
    with pytest.raises(Refusal, match=r"completions: no answer after 3 tries; the last: status 503"):
        engine.complete(["Say hello.\n"], Sampling(5))
    assert len(waited) == 2


def test_a_no_is_not_asked_again(server: Server) -> None:
    """What the server refuses for good is refused at once, and ends the other requests."""
    waited: list[float] = []
    engine = connect(server, waited)
    server.faults = [422]
    with pytest.raises(Refusal, match="status 422"):
        engine.logprobs(["Say hello.\n"], [" A", " B"])
    assert waited == []


def test_the_key_is_sent_and_never_told(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The key comes from the variable that the profile names; no error and no log line holds it."""
    caplog.set_level("DEBUG")
    server.key = KEY
    engine = connect(server, env={"SERVER_KEY": KEY}, api_key_env="SERVER_KEY")
    assert engine.complete(["Say hello.\n"], Sampling(2))
    server.faults = [400]  # whose message quotes the header
    with pytest.raises(Refusal) as refused:
        engine.complete(["Say hello.\n"], Sampling(2))
    assert r"Bearer [key]" in refused.value.reason
    assert KEY not in caplog.text + refused.value.reason + repr(vars(engine)["_settings"])
    with pytest.raises(Refusal, match="status 401"):
        connect(server).complete(["Say hello.\n"], Sampling(2))


@pytest.mark.parametrize(
    ("variable", "reason"), [("UNSET", "UNSET is not set"), (KEY, "not the name of an environment")]
)
def test_a_key_that_is_not_there_is_refused(server: Server, variable: str, reason: str) -> None:
    """A missing variable is named; a key in the profile itself is refused without being repeated."""
    with pytest.raises(Refusal, match=reason) as refused:
        connect(server, api_key_env=variable)
    assert KEY not in str(refused.value.reason + refused.value.needs)


def test_no_more_requests_at_once_than_the_profile_allows(server: Server) -> None:
    """The limit holds, and is made use of."""
    engine = connect(server, concurrency=3)
    engine.complete([f"Say {n}.\n" for n in range(24)], Sampling(4))
    assert 2 <= server.most_under_way <= 3


def test_seeds_and_stop_strings_reach_the_server(server: Server) -> None:
    """The same seeds ask for the same sample, other ones for another; stop strings are the server's work."""
    engine = connect(server, concurrency=1)
    engine.complete(["Say hello.\n"] * 3, Sampling(3, 1.0, stop=("\n",), seed=1), [5, 5, 6])
    first, second, third = server.asked
    assert first == second
    assert third["seed"] != first["seed"]
    assert (first["stop"], first["temperature"]) == (["\n"], 1.0)


def test_text_can_be_sent_in_place_of_token_ids(server: Server) -> None:
    """A server that takes no token ids gives the same."""
    by_ids, by_text = connect(server), connect(server, send_ids=False)
    assert by_ids.complete(["Say hello.\n"], Sampling(5)) == by_text.complete(["Say hello.\n"], Sampling(5))
    assert [type(body["prompt"]) for body in server.asked] == [list, str]


def test_a_server_that_adds_tokens_is_refused(server: Server) -> None:
    """What the model reads is what was hashed: a token put in front on the way is an error."""
    server.extra_tokens = 1
    with pytest.raises(Refusal, match="tokens counts"):
        connect(server).complete(["Say hello.\n"], Sampling(2))


def test_a_trained_model_is_never_taken_for_the_served_base(server: Server, tmp_path: Path) -> None:
    """An adapter needs a name of its own on the server; without one nothing is asked."""
    trained = Checkpoint(CHECKPOINT.base, (tmp_path / "data" / "r1" / "adapter",), "float32", "none")
    settings = EngineSettings(name="openai", base_url=server.base_url, served_model=MODEL)
    with pytest.raises(Refusal, match="served_adapters: none is"):
        OpenAIEngine(settings, trained)
    named = EngineSettings(
        name="openai", base_url=server.base_url, served_model=MODEL, served_adapters={"data/r1/adapter": "tuned"}
    )
    with pytest.raises(Refusal, match="does not serve 'tuned', but tiny"):
        OpenAIEngine(named, trained)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "base_url is ''"),
        ("localhost:8000", "base_url is"),
        ("http://me:word@localhost/v1", "user name or password"),
    ],
)
def test_an_address_that_cannot_work_is_refused(address: str, reason: str) -> None:
    """The address is checked before anything is sent, and a password in it is not repeated."""
    with pytest.raises(Refusal, match=reason) as refused:
        OpenAIEngine(EngineSettings(name="openai", base_url=address, served_model=MODEL), CHECKPOINT)
    assert "word@" not in refused.value.reason
