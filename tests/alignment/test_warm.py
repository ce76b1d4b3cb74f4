from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alignment.checkpoint import Checkpoint, resolve_checkpoint
from alignment.engines import Engine, Sampling, open_engine
from alignment.engines.padded import PaddedModel
from alignment.engines.server import LIFE, SOCKET, spec_of
from alignment.engines.warm import FOLDER, _ask, _connect, key_of, lease_model, take_device
from alignment.locations import INSTALLATION
from alignment.refusal import Refusal
from alignment.settings import EngineSettings, ModelSettings
from daemon import doctor, shim, workers
from daemon.workspace import Workspace

pytestmark = pytest.mark.model
BASE = resolve_checkpoint(ModelSettings(), INSTALLATION)
PROMPTS = ["Say hello.\n", "Tell me what colour the plum is.\n", "Say the opposite of up.\n"]
LIMIT_S = 60.0


def settings(warm_s: float = 60.0, **more: Any) -> EngineSettings:
    """The transformers engine, served."""
    return EngineSettings(**{"name": "transformers", "device": "cpu", "warm_s": warm_s, **more})


def holder(workspace: Path) -> dict[str, Any]:
    """Reads who has, or had, the device."""
    found: dict[str, Any] = json.loads((workspace / FOLDER / "holder.json").read_text())
    return found


def lives(workspace: Path) -> bool:
    """Tells whether anybody holds the device."""
    with open(workspace / FOLDER / LIFE) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def ends(workspace: Path, act: Callable[[], object]) -> float:
    """Acts, waits for the server's process to end, and gives the seconds that it took."""
    process = os.pidfd_open(holder(workspace)["pid"])
    clock = time.monotonic()
    act()
    assert select.select([process], [], [], LIMIT_S)[0], "the server lives on"
    os.close(process)
    return time.monotonic() - clock


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """A workspace whose path is longer than a socket's address can be, without a server at the end."""
    deep = tmp_path / ("long-" * 20)
    deep.mkdir()
    yield deep
    if (deep / FOLDER / LIFE).exists() and lives(deep):
        ends(deep, lambda: os.kill(holder(deep)["pid"], signal.SIGKILL))


def test_a_served_model_gives_what_it_gives_in_process(workspace: Path) -> None:
    """Samples, finish reasons, counts, hashes and log-probabilities are the same on both sides of the socket."""
    sampling = Sampling(12, temperature=1.0, top_p=0.95, stop=("\n",), seed=3)
    served, own = open_engine(settings(), BASE, workspace), open_engine(settings(0.0), BASE, workspace)
    assert served.complete(PROMPTS, sampling) == own.complete(PROMPTS, sampling)
    assert served.logprobs(PROMPTS, [" A", " B"]) == own.logprobs(PROMPTS, [" A", " B"])
    assert served.facts["engine"] == "transformers"
    served.close()


def test_who_uses_a_served_model_imports_no_library_of_models(workspace: Path) -> None:
    """A handler is at work within a second: torch and transformers are the server's."""
    script = (
        "import sys; from pathlib import Path\n"
        "from alignment.checkpoint import resolve_checkpoint; from alignment.engines import Sampling, open_engine\n"
        "from alignment.locations import INSTALLATION; from alignment.settings import EngineSettings, ModelSettings\n"
        "import handlers.baseline, handlers.generate, handlers.evaluate\n"
        "settings = EngineSettings(name='transformers', device='cpu', warm_s=60.0)\n"
        "engine = open_engine(settings, resolve_checkpoint(ModelSettings(), INSTALLATION), Path(sys.argv[1]))\n"
        "assert engine.complete(['Say hello.\\n'], Sampling(4)) and engine.count_tokens(['Say hello.'])\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'numpy', 'datasets'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(workspace)], cwd=INSTALLATION, check=True, capture_output=True, text=True
    )
    assert said.stdout.splitlines()[-1] == "[]"


def test_the_next_user_finds_the_model_loaded(workspace: Path) -> None:
    """One process serves consecutive users of one checkpoint, and users at the same time."""
    first = open_engine(settings(), BASE, workspace)
    pid = holder(workspace)["pid"]
    first.close()
    second, third = open_engine(settings(), BASE, workspace), open_engine(settings(), BASE, workspace)
    assert second.complete(PROMPTS, Sampling(4)) == third.complete(PROMPTS, Sampling(4))
    assert holder(workspace)["pid"] == pid
    told = doctor._model(Workspace(workspace))
    assert f"process {pid} has {BASE.base} loaded" in told.finding
    second.close()
    third.close()


def test_the_server_outlives_the_attempt_that_started_it(workspace: Path, tmp_path: Path) -> None:
    """The shim buries what an attempt leaves behind and lets the server be: it belongs to no attempt."""
    script = (
        "import subprocess, sys; from pathlib import Path; from tests.alignment.test_warm import *\n"
        "open_engine(settings(), BASE, Path(sys.argv[1])).close()\n"
        "print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    )
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    command = [sys.executable, "-I", "-S", shim.__file__, str(attempt), "5", "--"]
    command += [sys.executable, "-c", script, str(workspace)]
    marked = {**os.environ, workers.MARK: str(attempt)}
    ended = subprocess.run(command, cwd=INSTALLATION, env=marked, check=True, capture_output=True, text=True)
    assert json.loads((attempt / "exit.json").read_text())["code"] == 0
    assert not Path(f"/proc/{ended.stdout.splitlines()[-1]}").exists()
    workers.bury(attempt)
    assert lives(workspace)
    engine = open_engine(settings(), BASE, workspace)
    assert engine.complete(PROMPTS, Sampling(4))
    engine.close()


def test_an_idle_server_leaves_by_itself(workspace: Path) -> None:
    """The idle time begins when the last user goes, even one that was killed; a user stops it."""
    script = (
        "import sys, time; from pathlib import Path; from tests.alignment.test_warm import *\n"
        "engine = open_engine(settings(0.4), BASE, Path(sys.argv[1])); print('there', flush=True); time.sleep(600)"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", script, str(workspace)], cwd=INSTALLATION, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout
    while "there" not in user.stdout.readline():
        assert user.poll() is None
    assert lives(workspace)
    assert 0.3 < ends(workspace, user.kill) < LIMIT_S
    assert not lives(workspace)
    user.wait()
    user.stdout.close()


def test_another_model_takes_the_place(workspace: Path, tmp_path: Path) -> None:
    """A server that nobody uses makes room for another checkpoint; there is one at any time."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(BASE.base), str(copy)], check=True)
    first = open_engine(settings(), BASE, workspace)
    first.close()
    old = holder(workspace)["pid"]
    second = open_engine(settings(), Checkpoint(copy, (), "float32", "none"), workspace)
    assert holder(workspace)["pid"] != old
    assert not Path(f"/proc/{old}/exe").exists()
    second.close()


def test_the_same_path_with_other_weights_is_another_model(workspace: Path, tmp_path: Path) -> None:
    """A model that was trained anew in its place is not taken for the one that is loaded."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(BASE.base), str(copy)], check=True)
    checkpoint = Checkpoint(copy, (), "float32", "none")
    open_engine(settings(), checkpoint, workspace).close()
    old = holder(workspace)["pid"]
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    open_engine(settings(), checkpoint, workspace).close()
    assert holder(workspace)["pid"] != old


def test_training_takes_the_device_from_an_idle_server(workspace: Path) -> None:
    """Memory is free before another model is loaded, and a server waits for whoever trains."""
    open_engine(settings(), BASE, workspace).close()
    pid = holder(workspace)["pid"]
    held = take_device(workspace, "a training", alone=True)
    assert not Path(f"/proc/{pid}/exe").exists()
    assert holder(workspace)["what"] == "a training"
    assert lives(workspace)
    held.close()
    open_engine(settings(0.0), BASE, workspace).close()


def test_a_server_sleeps_while_a_training_has_the_device(workspace: Path) -> None:
    """The next user of the same model wakes it instead of loading it anew, and gets what it would have got before."""
    sampling = Sampling(12, temperature=1.0, top_p=0.95, stop=("\n",), seed=3)
    engine = open_engine(settings(), BASE, workspace)
    before = engine.complete(PROMPTS, sampling)
    engine.close()
    pid = holder(workspace)["pid"]
    for _ in range(2):
        held = take_device(workspace, "a training")
        assert holder(workspace)["what"] == "a training"
        assert json.loads((workspace / FOLDER / "asleep.json").read_text())["pid"] == pid
        with pytest.raises(ConnectionError), _connect(workspace / FOLDER) as connection:
            _ask(connection, {"do": "hello"})  # as one would who came while it fell asleep, and looks again
        held.close()
    again = open_engine(settings(), BASE, workspace)
    assert (holder(workspace)["pid"], (workspace / FOLDER / "asleep.json").exists()) == (pid, False)
    assert again.complete(PROMPTS, sampling) == before
    again.close()


def test_a_sleeping_server_counts_its_idle_time_from_the_end_of_the_training(workspace: Path) -> None:
    """However long a training lasts; afterwards it leaves as an idle one does."""
    open_engine(settings(0.4), BASE, workspace).close()
    pid = holder(workspace)["pid"]
    held = take_device(workspace, "a training")
    time.sleep(1.0)
    process = os.pidfd_open(pid)
    held.close()
    assert select.select([process], [], [], LIMIT_S)[0], "the server sleeps on"
    os.close(process)
    assert not lives(workspace)


def test_a_sleeping_server_leaves_for_another_model(workspace: Path, tmp_path: Path) -> None:
    """There is one server at any time, whether it sleeps or not; a killed one is no hindrance."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(BASE.base), str(copy)], check=True)
    open_engine(settings(), BASE, workspace).close()
    first = holder(workspace)["pid"]
    take_device(workspace, "a training").close()
    open_engine(settings(), Checkpoint(copy, (), "float32", "none"), workspace).close()
    second = holder(workspace)["pid"]
    assert not Path(f"/proc/{first}/exe").exists()
    take_device(workspace, "a training").close()
    os.kill(second, signal.SIGKILL)
    open_engine(settings(), BASE, workspace).close()
    assert holder(workspace)["pid"] not in (first, second)


def test_a_server_that_cannot_sleep_leaves(workspace: Path) -> None:
    """Without room in main memory its weights are loaded anew; the log says why."""
    engine = EngineSettings(name="transformers", device="cpu", warm_s=60.0)
    script = (
        "import sys; from pathlib import Path\n"
        "from alignment.engines import padded, server; from alignment.refusal import Refusal\n"
        "def full(self): raise Refusal('main memory is full', '')\n"
        "padded.PaddedModel.sleep = full\n"
        "import json; server.main(Path(sys.argv[1]), json.loads(sys.argv[2]))"
    )
    spec = spec_of("transformers", engine, BASE)
    (workspace / FOLDER).mkdir(parents=True)
    with open(workspace / "log", "w") as log:
        command = [
            sys.executable,
            "-c",
            script,
            str(workspace / FOLDER),
            json.dumps({**spec, "key": key_of(spec, BASE)}),
        ]
        process = subprocess.Popen(command, cwd=INSTALLATION, stdout=log)
    while not (workspace / FOLDER / SOCKET).exists():
        time.sleep(0.02)
    open_engine(engine, BASE, workspace).close()
    assert holder(workspace)["pid"] == process.pid
    take_device(workspace, "a training").close()
    assert process.wait(LIMIT_S) == 0
    assert "cannot sleep: main memory is full" in (workspace / "log").read_text()


def test_a_killed_server_is_replaced(workspace: Path) -> None:
    """Whoever used it is told so; the next one gets a new server."""
    engine = open_engine(settings(), BASE, workspace)
    pid = holder(workspace)["pid"]
    ends(workspace, lambda: os.kill(pid, signal.SIGKILL))
    with pytest.raises(Refusal, match="the model server went away"):
        engine.complete(PROMPTS, Sampling(4))
    again = open_engine(settings(), BASE, workspace)
    assert again.complete(PROMPTS, Sampling(4))
    again.close()


def test_a_model_that_cannot_be_loaded_is_told_with_the_cause(workspace: Path, tmp_path: Path) -> None:
    """The server's own error reaches the task, and no server stays."""
    broken = tmp_path / "broken"
    subprocess.run(["cp", "-r", str(BASE.base), str(broken)], check=True)
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(Refusal, match=r"broken/model\.safetensors: not a safetensors file"):
        lease_model("transformers", settings(), Checkpoint(broken, (), "float32", "none"), workspace, {})


def test_a_refusal_of_the_model_comes_through(workspace: Path) -> None:
    """What is asked for is guarded on the other side of the socket as everywhere."""
    engine: Engine = open_engine(settings(), BASE, workspace)
    with pytest.raises(Refusal, match="the model's context is 512"):
        engine.complete(["word " * 600], Sampling(8))
    with pytest.raises(Refusal, match="control tokens"):
        engine.complete(["<|im_start|>user"], Sampling(8))
    engine.close()


def test_vllm_takes_one_adapter_of_a_rank_that_it_has_room_for(tmp_path: Path) -> None:
    """What vLLM cannot serve is refused before anything is started."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 32}')
    one, two = (Checkpoint(BASE.base, (adapter,) * n, "bfloat16", "none") for n in (1, 2))
    with pytest.raises(Refusal, match=r"lora_rank: 16, but .* has rank 32"):
        lease_model("vllm", EngineSettings(lora_rank=16), one, tmp_path, {})
    with pytest.raises(Refusal, match="2 adapters"):
        lease_model("vllm", EngineSettings(), two, tmp_path, {})


def test_the_in_process_model_is_used_where_nothing_is_to_stay_warm(workspace: Path) -> None:
    """On a CPU a small model loads in no time: no server, no state."""
    engine: Any = open_engine(settings(0.0), BASE, workspace)
    assert isinstance(engine.model, PaddedModel)
    assert not (workspace / FOLDER).exists()
