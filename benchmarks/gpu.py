"""Measures serving and training of a 32B-shaped model on an NVIDIA GPU: `make bench-gpu`, or `python -m benchmarks.gpu`.

1. vLLM alone: the prompts of one measurement handed to its `generate` at once, in the process that then serves.
2. The same prompts through the project's own drawing code and critic, in another process, over the model server.
3. The handlers baseline, generate and evaluate by task requests, with the GPU's utilisation beside each.
4. The padded transformers engine, and `generate` one prompt at a time.
5. Training, by benchmarks.gpu_train.

Weights are random: the figures are speed and memory, and the verdicts are refusals. All of it is one run; the table comes
last, and rows.json has it as data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from alignment.checkpoint import load_tokenizer, resolve_checkpoint
from alignment.constitution import load_constitution
from alignment.critic import ORDERS, Case, Critic
from alignment.curriculum import Stage, load_stage, stage_folder
from alignment.drawing import draw_answers, read_cases
from alignment.engines import Sampling, open_engine
from alignment.engines.interface import joint_seed
from alignment.guard import TokenizerGuard
from alignment.journal import Journal
from alignment.locations import INSTALLATION
from alignment.profile import Profile, load_profile
from alignment.provenance import now
from alignment.responses import candidates, exemplar_sets, prompt_of
from benchmarks.shaped import write_shape
from handlers.contract import REQUEST, Input, Request

Row = dict[str, Any]  # what, value, unit, peak_gb, seconds, to_meet
PROFILE = "shaped"
SHARED, OWN, NEW = 150, 50, 100  # tokens of a prompt that all share, its own, and drawn ones


def row(what: str, value: float, unit: str, seconds: float, peak_gb: float | None = None, to_meet: Any = None) -> Row:
    """Makes one line of the table."""
    return {
        "what": what, "value": value, "unit": unit, "peak_gb": peak_gb, "seconds": seconds, "to_meet": to_meet
    }  # fmt: skip


class Rows:
    """The lines so far, on the disk at once: a run that is cut off leaves what it has measured."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Row] = []

    def add(self, one: Row) -> None:
        """Adds a line."""
        print(one, flush=True)
        self._rows.append(one)
        self._path.write_text(json.dumps(self._rows, indent=1) + "\n")


class Card:
    """Samples the GPU's utilisation and memory while a block runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.samples: list[tuple[float, float, float]] = []  # seconds, share of the last 1/6 s or so, bytes

    @contextmanager
    def watched(self) -> Iterator[Card]:
        """Looks five times a second."""
        command = [
            "nvidia-smi",
            "--query-gpu=utilization.gpu,memory.used",
            "--format=csv,noheader,nounits",
            "-lms",
            "200",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looking:
            reader = threading.Thread(target=self._read, args=(looking,), daemon=True)
            reader.start()
            try:
                yield self
            finally:
                looking.terminate()
                reader.join(5)
        lines = [f"{at:.2f},{busy:.0f},{memory / 1e9:.2f}\n" for at, busy, memory in self.samples]
        self._path.write_text("seconds,utilisation_percent,memory_gb\n" + "".join(lines))

    def _read(self, looking: subprocess.Popen[str]) -> None:
        assert looking.stdout
        for line in looking.stdout:
            busy, memory = line.split(",")
            self.samples.append((time.time(), float(busy), float(memory) * 2**20))

    def between(self, begin: float, end: float) -> tuple[float, float]:
        """Gives the mean idle share and the peak memory in 10^9 bytes."""
        found = [(busy, memory) for at, busy, memory in self.samples if begin <= at <= end]
        if not found:
            return float("nan"), float("nan")
        return 1 - statistics.mean(busy for busy, _ in found) / 100, max(memory for _, memory in found) / 1e9


# ------------------------------------------------- the workspace of the run


def write_workspace(root: Path, memory_gb: float, layers: int, engine: dict[str, Any]) -> Path:
    """Makes a workspace whose profile is that of Qwen2.5-32B, on random weights."""
    root.mkdir(parents=True, exist_ok=True)
    raw = yaml.safe_load((INSTALLATION / "profiles" / "qwen2.5-32b.yaml").read_text())
    write_shape(root / "models" / "shaped", num_hidden_layers=layers)
    raw["model"]["base"] = "models/shaped"
    raw["engine"] |= {"name": "vllm", "weights": "random", "memory_gb": memory_gb, "warm_s": 600.0, **engine}
    # One round of lists and a critic that need not be right, so that random weights get through the steps.
    raw["generate"] |= {"list_prompts": 256, "list_tokens": 128, "stale_rounds": 2, "critic_auc": 0.5, "safety": "none"}
    (root / "profiles").mkdir(exist_ok=True)
    (root / "profiles" / f"{PROFILE}.yaml").write_text(yaml.safe_dump(raw))
    return root


def attempt(root: Path, handler: str, run_id: str, inputs: Sequence[Input], **params: Any) -> Path:
    """Writes the request of one attempt."""
    data = root / "data" / run_id
    data.mkdir(parents=True, exist_ok=True)
    asked = {"profile": PROFILE, **params}
    request = Request(run_id, run_id, 1, handler, 1, asked, root, data, tuple(inputs), 1.74)
    folder = root / "state" / "runs" / run_id / "attempt-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REQUEST).write_text(request.to_json())
    return folder


# ------------------------------------------------- the prompts of the measurements


def plain_prompts(count: int, vocabulary: int) -> list[list[int]]:
    """Makes prompts of 200 tokens, of which all share the first 150."""
    rng = random.Random(0)
    shared = [rng.randrange(1000, vocabulary) for _ in range(SHARED)]
    return [shared + [rng.randrange(1000, vocabulary) for _ in range(OWN)] for _ in range(count)]


class Work:
    """The prompts that the handlers would send: candidate answers, and judgements of them."""

    def __init__(self, profile: Profile, root: Path, instructions: int) -> None:
        self.profile = replace(profile, generate=replace(profile.generate, candidates=8))
        self.stage: Stage = load_stage(stage_folder(profile.curriculum.world, 1, root), root)
        rng = random.Random(0)
        self.instructions = [item.instruction for item in rng.sample(list(self.stage.items), instructions)]
        principles = load_constitution(profile.curriculum.constitution, root).principles
        settings = self.profile.generate
        self.critic = Critic(
            self.stage.judge,
            self.stage.gold,
            principles,
            sets=settings.exemplar_sets,
            seed=0,
            mass=settings.critic_mass,
        )
        gold = [answer.response for answer in self.stage.gold]
        self.cases: list[Case] = [
            self.critic.case(text, gold[index % len(gold)] + f" {index}")
            for index, text in enumerate(self.instructions * 16)
        ]

    def answer_prompts(self) -> tuple[list[str], Sampling, list[int]]:
        """Gives the prompts, the sampling and the seeds of all candidate answers."""
        settings, stage = self.profile.generate, self.stage
        sets = exemplar_sets(stage, settings.exemplar_sets, 0)
        asked = candidates(self.instructions, settings, 0)
        sampling = Sampling(
            stage.max_new_tokens, settings.answer_temperature, settings.answer_top_p, stage.stop.few_shot
        )
        return [prompt_of(one, stage, sets) for one in asked], sampling, [one.seed for one in asked]

    def judgement_prompts(self) -> list[str]:
        """Gives both label orders of every case."""
        return [self.critic._prompt(case, order) for order in ORDERS for case in self.cases]


# ------------------------------------------------- vLLM alone, then serving


def alone(llm: Any, tokenizer: Any, work: Work) -> Iterator[Row]:
    """Measures vLLM's own `generate` on one batch after the other, nothing cached before."""
    from vllm import SamplingParams

    def timed(prompts: Sequence[Sequence[int]], params: Any) -> tuple[list[Any], float]:
        llm.reset_prefix_cache()
        clock = time.monotonic()
        found = llm.generate([{"prompt_token_ids": list(ids)} for ids in prompts], params, use_tqdm=False)
        return found, time.monotonic() - clock

    def tokens(found: list[Any]) -> int:
        return sum(len(one.outputs[0].token_ids) for one in found)

    vocabulary = int(llm.llm_engine.model_config.get_vocab_size())
    sampled = SamplingParams(max_tokens=NEW, temperature=1.0, top_p=0.95, ignore_eos=True)
    timed(plain_prompts(64, vocabulary), replace_tokens(sampled, 8))  # the kernels' first use
    for count, to_meet in ((256, 4005), (512, 5681)):
        found, seconds = timed(plain_prompts(count, vocabulary), sampled)
        yield row(
            f"vLLM alone, {count} requests of 200 + 100", tokens(found) / seconds, "tok/s", seconds, to_meet=to_meet
        )
    guard = TokenizerGuard(tokenizer)
    prompts, sampling, seeds = work.answer_prompts()
    encoded = guard.encode(prompts)
    for label, seeded in (("no seeds", False), ("a seed each", True)):
        params = [
            SamplingParams(
                max_tokens=sampling.max_new_tokens, temperature=sampling.temperature, top_p=sampling.top_p,
                stop=list(sampling.stop), seed=joint_seed(sampling, seed) if seeded else None,
            )
            for seed in seeds
        ]  # fmt: skip
        found, seconds = timed(encoded, params)
        yield row(f"vLLM alone, {len(prompts)} candidate answers, {label}", tokens(found) / seconds, "tok/s", seconds)
    judged = guard.encode(work.judgement_prompts())
    found, seconds = timed(judged, SamplingParams(max_tokens=1, temperature=0.0, logprobs=5))
    yield row(f"vLLM alone, critic, {len(judged)} prompts", len(judged) / seconds, "prompts/s", seconds, to_meet=843)
    llm.reset_prefix_cache()


def replace_tokens(params: Any, limit: int) -> Any:
    """Copies sampling parameters with another token limit."""
    other = params.clone()
    other.max_tokens = limit
    return other


def serve_and_measure(root: Path, out: Path, instructions: int) -> None:
    """Loads the model once, measures vLLM alone, and serves it to the processes that measure ours."""
    from alignment.engines import server, warm
    from alignment.engines.vllm_model import VllmModel

    profile = load_profile(PROFILE, root)
    checkpoint = resolve_checkpoint(profile.model, root)
    spec = server.spec_of("vllm", profile.engine, checkpoint)
    folder = root / warm.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    serving = server.ModelServer(server.listen(folder, {**spec, "key": warm.key_of(spec, checkpoint)}), 600.0)
    serving.start()
    rows = Rows(out / "serving.json")
    with Card(out / "utilisation.csv").watched() as card:
        begin, clock = time.time(), time.monotonic()
        model = VllmModel.load(profile.engine, checkpoint)
        rows.add(row("load", time.monotonic() - clock, "s", time.monotonic() - clock))
        for one in alone(model.llm, load_tokenizer(checkpoint.base), Work(profile, root, instructions)):
            rows.add({**one, "peak_gb": card.between(begin, time.time())[1]})
        threading.Thread(target=_measure_ours, args=(root, out, instructions, card, rows), daemon=True).start()
        server.serve(serving, model)


def _measure_ours(root: Path, out: Path, instructions: int, card: Card, rows: Rows) -> None:
    """Runs our side in other processes, then ends this one."""
    try:
        command = [
            sys.executable,
            "-m",
            "benchmarks.gpu",
            str(out),
            "--step",
            "ours",
            "--instructions",
            str(instructions),
        ]
        _timed_process("drawing and critic", [*command, "--root", str(root)], out, card, rows)
        for found in json.loads((out / "ours.json").read_text()):
            idle, peak = card.between(found.pop("begin"), found.pop("end"))
            rows.add({**found, "peak_gb": peak})
            rows.add(row(f"GPU idle in: {found['what']}", 100 * idle, "%", found["seconds"], None, "≤ 10"))
        given: list[Input] = []
        for handler, params in (
            ("baseline", {"items": 100}), ("generate", {"instructions": 200}), ("evaluate", {"model": "models/shaped"}),
        ):  # fmt: skip
            for seed in range(
                4
            ):  # random weights judge at random: with some seed the critic gets past its gold answers
                folder = attempt(root, handler, f"{handler}.{seed}", given, seed=seed, **params)
                _timed_process(f"handler {handler}", [sys.executable, "-m", "handlers", str(folder)], out, card, rows)
                outcome = json.loads((folder / "outcome.json").read_text())
                print(handler, json.dumps(outcome)[:600], flush=True)
                if not str(outcome.get("reason", "")).startswith("the critic's AUC"):
                    break
            given.insert(0, Input(handler, folder.parent.name, handler, 1, root / "data" / folder.parent.name, {}, ()))
    finally:
        os._exit(0)


def _timed_process(what: str, command: Sequence[str], out: Path, card: Card, rows: Rows) -> None:
    begin, clock = time.time(), time.monotonic()
    with open(out / "log", "a") as log:
        print("+", *command, file=log, flush=True)
        subprocess.run(command, cwd=INSTALLATION, stdout=log, stderr=log, check=True, timeout=400)
    idle, peak = card.between(begin, time.time())
    seconds = time.monotonic() - clock
    rows.add(row(f"{what}: GPU idle, start and end of the process included", 100 * idle, "%", seconds, peak))


def measure_ours(root: Path, out: Path, instructions: int) -> None:
    """Measures our drawing and our critic through the engine that the profile names."""
    profile = load_profile(PROFILE, root)
    work = Work(profile, root, instructions)
    engine = open_engine(profile.engine, resolve_checkpoint(profile.model, root), root)
    settings, rows = work.profile.generate, []

    def timed(what: str, unit: str, to_meet: Any, act: Callable[[Journal], int]) -> None:
        with Journal(out / f"{len(rows)}.jsonl") as journal:
            begin, clock = time.time(), time.monotonic()
            count = act(journal)
            seconds = time.monotonic() - clock
        rows.append({**row(what, count / seconds, unit, seconds, to_meet=to_meet), "begin": begin, "end": time.time()})

    def nothing(_: int) -> None:
        pass

    def answers(journal: Journal) -> int:
        found = draw_answers(engine, work.stage, settings, work.instructions, 0, journal, nothing)
        return sum(one["completion_tokens"] for one in found)

    def judgements(journal: Journal) -> int:
        return 2 * len(read_cases(engine, work.critic, work.cases, journal, settings.chunk, nothing))

    timed("ours, the same candidate answers", "tok/s", "≥ 95 % of alone", answers)
    timed("ours, critic", "prompts/s", "≥ 95 % of alone", judgements)
    (out / "ours.json").write_text(json.dumps(rows))


# ------------------------------------------------- without vLLM


def measure_padded(root: Path, out: Path) -> None:
    """Measures the padded engine, and transformers' own `generate` on one prompt at a time."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from alignment.engines.padded import PaddedModel

    profile = load_profile(PROFILE, root)
    base = resolve_checkpoint(profile.model, root).base
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base), dtype=torch.bfloat16)
    model.eval().requires_grad_(False)
    engine = PaddedModel(model, load_tokenizer(base), replace(profile.engine, batch_rows=256, batch_tokens=1 << 20))
    prompts = plain_prompts(256, int(model.config.vocab_size))
    engine.complete(prompts[:8], Sampling(4), range(8))
    clock = time.monotonic()
    found = engine.complete(prompts, Sampling(NEW, 1.0, 0.95), range(256))
    seconds = time.monotonic() - clock
    tokens = sum(one.tokens for one in found)
    rows = [
        row("transformers, padded batch of 256, shared prefix once", tokens / seconds, "tok/s", seconds, to_meet=1640)
    ]
    one = torch.tensor([prompts[0]], device="cuda")
    clock = time.monotonic()
    with torch.inference_mode():
        model.generate(
            one, attention_mask=torch.ones_like(one), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False
        )
    seconds = time.monotonic() - clock
    rows.append(row("transformers, `generate` one at a time", NEW / seconds, "tok/s", seconds, to_meet=23))
    peak = torch.cuda.max_memory_allocated() / 1e9
    (out / "padded.json").write_text(json.dumps([{**one_row, "peak_gb": peak} for one_row in rows]) + "\n")


# ------------------------------------------------- all of it


def step(out: Path, name: str, *more: str) -> list[Row]:
    """Runs a step in a process of its own; one that fails is a line of the table too."""
    command = [sys.executable, "-m", "benchmarks.gpu", str(out), "--step", name, *more]
    clock = time.monotonic()
    done = subprocess.run(command, cwd=INSTALLATION, check=False)
    found = out / f"{name}.json"
    rows: list[Row] = json.loads(found.read_text()) if found.exists() else []
    if done.returncode or not rows:
        rows.append(row(f"{name}: ended with status {done.returncode}", float("nan"), "", time.monotonic() - clock))
    return rows


def training(limit_gb: float) -> list[Row]:
    """Runs the training benchmark, where there is one."""
    try:
        from benchmarks import gpu_train
    except ImportError:
        return [row("training: benchmarks/gpu_train.py is not there", float("nan"), "", 0)]
    try:
        return gpu_train.rows(limit_gb=limit_gb)
    except RuntimeError as error:
        return [row(f"training: {str(error)[-200:]}", float("nan"), "", 0)]


def machine() -> str:
    """Names card, driver and versions in one line."""
    from alignment.provenance import versions

    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    card = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return f"{now()} · {card} · {platform.machine()} · " + ", ".join(f"{k} {v}" for k, v in versions().items())


def table(rows: Sequence[Row]) -> str:
    """Writes the table."""
    lines = ["| what | measured | to meet | peak GB | s |", "|---|---|---|---|---|"]
    for one in rows:
        peak = f"{one['peak_gb']:.1f}" if one.get("peak_gb") else ""
        value = f"{one['value']:,.1f} {one['unit']}" if one["value"] == one["value"] else ""
        lines.append(f"| {one['what']} | {value} | {one.get('to_meet') or ''} | {peak} | {one['seconds']:.1f} |")
    return "\n".join(lines)


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("bench-gpu"))
    parser.add_argument("--memory-gb", type=float, default=80.0, help="what vLLM and training stay within")
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--instructions", type=int, default=80, help="each gets nine answers and 16 judgements")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--no-padded", action="store_true")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=("all", "serving", "ours", "padded"), default="all", help=argparse.SUPPRESS)
    given = parser.parse_args()
    out = given.out.resolve()
    root = given.root or out / "workspace"
    match given.step:
        case "serving":
            serve_and_measure(root, out, given.instructions)
        case "ours":
            measure_ours(root, out, given.instructions)
        case "padded":
            measure_padded(root, out)
        case _:
            if shutil.which("nvidia-smi") is None:
                print("benchmarks.gpu: there is no NVIDIA GPU (no nvidia-smi on the PATH)", file=sys.stderr)
                return 2
            shutil.rmtree(out, ignore_errors=True)
            write_workspace(root, given.memory_gb, given.layers, {})
            rows = step(out, "serving", "--instructions", str(given.instructions))
            rows += [] if given.no_padded else step(out, "padded")
            rows += [] if given.no_training else training(given.memory_gb)
            (out / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")
            print(f"\n{machine()}; vLLM within {given.memory_gb:g} GB\n\n{table(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
