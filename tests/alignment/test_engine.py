from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from alignment.checkpoint import resolve_checkpoint, write_checkpoint
from alignment.engines import Sampling, choose_engine, open_engine, padded
from alignment.engines.padded import PaddedModel
from alignment.guard import sha256_of_ids
from alignment.locations import INSTALLATION
from alignment.refusal import Refusal
from alignment.settings import EngineSettings, ModelSettings
from tests.alignment.completions import MODEL, served

pytestmark = pytest.mark.model
SHOTS = "Instruction: Say the opposite of hot.\nResponse: The opposite of hot is cold.\n\n" * 2
PROMPTS = [
    *(
        f"{SHOTS}Instruction: {text}\nResponse:"
        for text in ("Say the opposite of up.", "Add 1 and 2.", "List two animals.")
    ),
    "Tell me what colour the plum is.\n",
    "Instruction: Say the opposite of up.\nResponse:",
    f"{SHOTS}Instruction: Complete this: The cow eats\nResponse:",
]


@pytest.fixture(scope="module")
def local() -> Any:
    """The engine in this process, whose model and tokenizer are what all engines are held against."""
    settings = EngineSettings(name="transformers", device="cpu", batch_rows=4)
    return open_engine(settings, resolve_checkpoint(ModelSettings(), INSTALLATION), INSTALLATION)


@pytest.fixture(scope="module", params=["transformers", "recorded", "served", "openai"])
def engine(request: pytest.FixtureRequest, local: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Every engine that runs here: the contract holds whichever library or server stands behind it."""
    if request.param == "transformers":
        yield local
        return
    if request.param == "recorded":  # decodes as on a GPU, where its step is a CUDA graph
        settings = EngineSettings(device="cpu", batch_rows=4)
        yield local.over(PaddedModel(local.model.model, local.tokenizer, settings, records=True))
        return
    if request.param == "served":
        settings = EngineSettings(name="transformers", device="cpu", batch_rows=4, warm_s=0.1)
        engine = open_engine(settings, resolve_checkpoint(ModelSettings(), INSTALLATION), tmp_path_factory.mktemp("w"))
        yield engine
        engine.close()
        return
    with served(local) as server:
        settings = EngineSettings(name="openai", base_url=server.base_url, served_model=MODEL, concurrency=4)
        engine = open_engine(settings, resolve_checkpoint(ModelSettings(), INSTALLATION), INSTALLATION)
        yield engine
        engine.close()


def test_auto_picks_by_hardware_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM needs both, itself and a card; a profile that names an engine gets it, or is told what is missing."""
    monkeypatch.setenv("PATH", "/nowhere")  # no nvidia-smi
    assert choose_engine(EngineSettings(device="cpu")) == ("transformers", "the profile's device is the CPU")
    assert choose_engine(EngineSettings())[0] == "transformers"
    assert choose_engine(EngineSettings(name="openai")) == ("openai", "the profile names it")
    if find_spec("vllm") is None:
        with pytest.raises(Refusal, match="vllm is not installed"):
            choose_engine(EngineSettings(name="vllm"))


def test_engine_greedy_matches_the_model_run_without_padding_or_cache(engine: Any, local: Any) -> None:
    """Left padding, the shared prefix and rows that leave change nothing: each token is the argmax of a plain pass."""
    import torch

    for prompt, completion in zip(PROMPTS, engine.complete(PROMPTS, Sampling(16)), strict=True):
        ids = local.tokenizer(prompt)["input_ids"]
        assert completion.prompt_sha256 == sha256_of_ids(ids)
        assert completion.prompt_tokens == len(ids)
        for _ in range(completion.completion_tokens):
            with torch.inference_mode():
                logits = local.model.model(input_ids=torch.tensor([ids])).logits[0, -1]
            ids.append(int(logits.argmax()))
        drawn = ids[completion.prompt_tokens :]
        ended = drawn[-1] == local.tokenizer.eos_token_id
        assert completion.text == local.tokenizer.decode(drawn[:-1] if ended else drawn)
        assert completion.finish_reason == ("stop" if ended else "length")


def test_engine_samples_do_not_depend_on_the_batch(engine: Any) -> None:
    """A prompt's sample follows from its own seeds: alone, in another order and in other batches it is the same."""
    sampling = Sampling(20, temperature=1.0, top_p=0.95, stop=("\n",), seed=7)
    together = engine.complete(PROMPTS, sampling)
    assert engine.complete(PROMPTS[::-1], sampling)[::-1] == together
    assert [engine.complete([prompt], sampling)[0] for prompt in PROMPTS] == together
    assert (
        engine.complete([PROMPTS[0]] * 2, sampling, seeds=[1, 1])[0] == engine.complete([PROMPTS[0]], sampling, [1])[0]
    )


def test_engine_seeds_give_different_samples(engine: Any) -> None:
    """Candidates of one prompt differ by their seeds."""
    sampling = Sampling(20, temperature=1.5, stop=("\n",))
    texts = {c.text for c in engine.complete([PROMPTS[2]] * 8, sampling, seeds=range(8))}
    assert len(texts) > 1


def test_recorded_steps_are_for_small_batches_of_long_answers(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere a recording costs more than it saves, and the cache grows."""
    used = []

    class Noted(padded._Recorded):
        def __init__(self, *how: Any) -> None:
            used.append(how)
            super().__init__(*how)

    monkeypatch.setattr(padded, "_Recorded", Noted)
    settings = EngineSettings(device="cpu", batch_tokens=1 << 17)
    model = PaddedModel(local.model.model, local.tokenizer, settings, records=True)
    prompt = [local.tokenizer(PROMPTS[0])["input_ids"]]
    model.complete(prompt, Sampling(16), [0])
    assert len(used) == 1
    model.complete(prompt, Sampling(15), [0])
    model.complete(prompt * 120, Sampling(100), range(120))
    local.model.complete(prompt, Sampling(16), [0])
    assert len(used) == 1


@pytest.mark.parametrize("stop", ["\n", " of", "e"])
def test_engine_cuts_before_the_stop_string(engine: Any, stop: str) -> None:
    """A stop string of one token, of several or inside one ends the answer, is not part of it, and counts as a stop."""
    free, stopped = (engine.complete(PROMPTS, Sampling(30, stop=s)) for s in ((), (stop,)))
    for whole, cut in zip(free, stopped, strict=True):
        assert cut.text == whole.text.split(stop)[0]
        if stop in whole.text:
            assert cut.finish_reason == "stop"
            assert cut.completion_tokens <= whole.completion_tokens


def test_engine_says_when_the_token_limit_ended_an_answer(engine: Any) -> None:
    """`length` is the reason where neither the end of sequence nor a stop string came."""
    completion = engine.complete([PROMPTS[0]], Sampling(2, stop=("\n",)))[0]
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 2)


def test_engine_logprobs_are_those_of_the_next_token(engine: Any, local: Any) -> None:
    """The log-probabilities are over the whole vocabulary, so that the labels' mass can be seen."""
    import torch

    found = engine.logprobs(PROMPTS, [" A", " B"])
    labels = [local.tokenizer(label)["input_ids"][0] for label in (" A", " B")]
    for prompt, pair in zip(PROMPTS, found, strict=True):
        with torch.inference_mode():
            logits = local.model.model(input_ids=torch.tensor([local.tokenizer(prompt)["input_ids"]])).logits[0, -1]
        expected = torch.log_softmax(logits, -1)[labels].tolist()
        assert all(math.isclose(a, b, abs_tol=1e-3) for a, b in zip(pair, expected, strict=True))


@pytest.mark.parametrize("prompt", ["<|im_start|>user\nSay hello.<|im_end|>", "Say hello.<|endoftext|>"])
def test_guard_refuses_control_tokens(engine: Any, prompt: str) -> None:
    """A completion prompt with a chat template's token, or an end of document, never reaches the model."""
    with pytest.raises(Refusal, match="control tokens"):
        engine.complete(["Say hello.", prompt], Sampling(1))
    with pytest.raises(Refusal, match="control tokens"):
        engine.logprobs([prompt], [" A", " B"])


def test_engine_refuses_what_cannot_work(engine: Any) -> None:
    """Too long a prompt and labels of several tokens are refused with their figures."""
    with pytest.raises(Refusal, match="the model's context is"):
        engine.complete(["word " * 600], Sampling(8))
    with pytest.raises(Refusal, match="tokens"):
        engine.logprobs(["Say hello."], [" A", " Absolutely not"])


def test_checkpoint_names_survive_the_disk(tmp_path: Path) -> None:
    """A run's folder with model.json is a model, named by paths that hold on another machine."""
    checkpoint = resolve_checkpoint(ModelSettings(), tmp_path)
    write_checkpoint(tmp_path / "data" / "r1", checkpoint, tmp_path)
    assert '"base": "microworld/weights"' in (tmp_path / "data" / "r1" / "model.json").read_text()
    assert resolve_checkpoint(ModelSettings(), tmp_path, "data/r1") == checkpoint


def test_checkpoint_missing_is_refused(tmp_path: Path) -> None:
    """Each folder that holds no model is named with the remedy."""
    with pytest.raises(Refusal, match=r"model: nowhere: there is no such folder"):
        resolve_checkpoint(ModelSettings(base="nowhere"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refusal, match=r"no config\.json in it"):
        resolve_checkpoint(ModelSettings(), tmp_path, "empty")
