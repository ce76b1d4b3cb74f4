"""Measures serving and training of a 32B-shaped model on an NVIDIA GPU: `make bench-gpu`, or `python -m benchmarks.gpu`.

1. vLLM alone: the prompts of one measurement handed to its `generate` at once, in the process that then serves.
2. The same prompts through the project's own drawing code and critic, in another process, over the model server.
3. The handlers baseline, generate, train and evaluate by task requests, each in the process that the daemon would start.
4. Training, by benchmarks.gpu_train.
5. The padded transformers engine, and `generate` one prompt at a time.

The card's utilisation and memory are sampled all the while, and each handler's reports divide its time into steps.
Weights are random: the figures are speed and memory, and the verdicts are refusals. All of it is one run; the table comes
last, rows.json has it as data, and timeline.png shows how busy the card was (`--step chart` draws it again).
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
from itertools import groupby
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
from alignment.engines.text import TextEngine
from alignment.engines.warm import take_device
from alignment.guard import TokenizerGuard
from alignment.journal import Journal
from alignment.locations import INSTALLATION
from alignment.profile import Profile, load_profile
from alignment.provenance import now
from alignment.resources import gpu_id, has_gpu
from alignment.responses import candidates, exemplar_sets, prompt_of
from benchmarks import gpu_train
from benchmarks.shaped import write_shape
from handlers.contract import REQUEST, Input, Request

Row = dict[str, Any]  # what, value, unit, to_meet, begin, end (seconds since the epoch), peak_gb
PROFILE = "shaped"
SHARED, OWN, NEW = 150, 50, 100  # tokens of a prompt that all share, its own, and drawn ones
TRAIN_ROWS = 3600


def row(what: str, value: float, unit: str, begin: float, to_meet: Any = None, end: float | None = None) -> Row:
    """Makes one line of the table."""
    return {
        "what": what, "value": value, "unit": unit, "to_meet": to_meet, "begin": begin, "end": end or time.time()
    }  # fmt: skip


class Rows:
    """The lines so far, on the disk at once: a run that is cut off leaves what it has measured."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.all: list[Row] = []

    def add(self, *more: Row) -> None:
        """Adds lines."""
        for one in more:
            print(json.dumps(one), flush=True)
        self.all += more
        self._path.write_text(json.dumps(self.all, indent=1) + "\n")


class Card:
    """Samples the GPU's utilisation and memory while a block runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.samples: list[tuple[float, float, float]] = []  # seconds, percent of the last 1/6 s or so, 10^9 bytes

    @contextmanager
    def watched(self) -> Iterator[Card]:
        """Looks five times a second."""
        command = ["nvidia-smi", f"--id={gpu_id()}", "--query-gpu=utilization.gpu,memory.used"]
        command += ["--format=csv,noheader,nounits", "-lms", "200"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looking:
            reader = threading.Thread(target=self._read, args=(looking,), daemon=True)
            reader.start()
            try:
                yield self
            finally:
                looking.terminate()
                reader.join(5)

    def _read(self, looking: subprocess.Popen[str]) -> None:
        assert looking.stdout
        with open(self._path, "w", buffering=1) as out:
            out.write("seconds,utilisation_percent,memory_gb\n")
            for line in looking.stdout:
                busy, memory = line.split(",")
                self.samples.append((time.time(), float(busy), float(memory) * 2**20 / 1e9))
                out.write("{:.2f},{:.0f},{:.2f}\n".format(*self.samples[-1]))

    def between(self, begin: float, end: float) -> tuple[float, float]:
        """Gives the mean idle share in percent and the peak memory in 10^9 bytes."""
        found = [(busy, memory) for at, busy, memory in self.samples if begin <= at <= end]
        if not found:
            return float("nan"), float("nan")
        return 100 - statistics.mean(busy for busy, _ in found), max(memory for _, memory in found)


# ------------------------------------------------- the workspace of the run


def write_workspace(root: Path, memory_gb: float, layers: int) -> Path:
    """Makes a workspace whose profile is that of Qwen2.5-32B, on random weights."""
    root.mkdir(parents=True, exist_ok=True)
    raw = yaml.safe_load((INSTALLATION / "profiles" / "qwen2.5-32b.yaml").read_text())
    write_shape(root / "models" / "shaped", num_hidden_layers=layers)
    raw["model"]["base"] = "models/shaped"
    raw["model"]["weights"] = "random"
    raw["engine"] |= {"name": "vllm", "memory_gb": memory_gb, "warm_s": 600.0}
    raw["train"] |= {"memory_gb": memory_gb - 1, "epochs": 1.0, "probes": 2, "probe_rows": 8}
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


def write_rows(root: Path, stage: Stage, count: int) -> str:
    """Writes rows of about 100 tokens to train on, since random weights make none; gives their folder."""
    rng = random.Random(0)
    words = [word for answer in stage.gold for word in answer.response.split()]
    folder = root / "data" / "rows"
    folder.mkdir(parents=True)
    with open(folder / "sft.jsonl", "w", encoding="utf-8") as out:
        for number in range(count):
            text = f"Row {number} of the benchmark."
            completion = " " + " ".join(rng.choices(words, k=24))
            made = {"id": str(number), "stage": 1, "instruction": text, "prompt": text + "\n", "completion": completion}
            out.write(json.dumps(made) + "\n")
    return "data/rows"


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

    def timed(prompts: Sequence[Sequence[int]], params: Any) -> tuple[list[Any], float, float]:
        llm.reset_prefix_cache()
        begin = time.time()
        found = llm.generate([{"prompt_token_ids": list(ids)} for ids in prompts], params, use_tqdm=False)
        return found, begin, time.time() - begin

    def tokens(found: list[Any]) -> int:
        return sum(len(one.outputs[0].token_ids) for one in found)

    vocabulary = int(llm.llm_engine.model_config.get_vocab_size())
    sampled = SamplingParams(max_tokens=NEW, temperature=1.0, top_p=0.95, ignore_eos=True)
    timed(plain_prompts(256, vocabulary), replace_tokens(sampled, 8))  # the kernels' first use
    for count, to_meet in ((256, 4005), (512, 5681)):
        found, begin, seconds = timed(plain_prompts(count, vocabulary), sampled)
        yield row(f"vLLM alone, {count} requests of 200 + 100", tokens(found) / seconds, "tok/s", begin, to_meet)
    guard = TokenizerGuard(tokenizer)
    prompts, sampling, seeds = work.answer_prompts()
    encoded = guard.encode(prompts)
    params = [
        SamplingParams(
            max_tokens=sampling.max_new_tokens, temperature=sampling.temperature, top_p=sampling.top_p,
            stop=list(sampling.stop), seed=joint_seed(sampling, seed),
        )
        for seed in seeds
    ]  # fmt: skip
    found, begin, seconds = timed(encoded, params)
    yield row(f"vLLM alone, {len(prompts)} candidate answers", tokens(found) / seconds, "tok/s", begin)
    judged = guard.encode(work.judgement_prompts())
    found, begin, seconds = timed(judged, SamplingParams(max_tokens=1, temperature=0.0, logprobs=5))
    yield row(f"vLLM alone, critic, {len(judged)} prompts", len(judged) / seconds, "prompts/s", begin, 843)
    read = sum(map(len, judged))
    yield row("vLLM alone, critic, tokens of those prompts", read / seconds, "tok/s", begin)
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
    serving = server.ModelServer(folder, {**spec, "key": warm.key_of(spec, checkpoint)}, 600.0)
    serving.start()
    os.environ["VLLM_CACHE_ROOT"] = f"{folder}/compiled"  # where the server that evaluate starts will look
    rows, begin = Rows(out / "alone.json"), time.time()
    model = VllmModel.load(profile.engine, checkpoint)
    rows.add(row("vLLM: load, the first time", time.time() - begin, "s", begin))
    tokenizer = load_tokenizer(checkpoint.base)
    for one in alone(model.llm, tokenizer, Work(profile, root, instructions)):
        rows.add(one)
    (out / "served").touch()
    server.serve(serving, TextEngine(tokenizer, model, {}))


def measure_ours(root: Path, out: Path, instructions: int) -> None:
    """Measures our drawing and our critic through the engine that the profile names."""
    profile = load_profile(PROFILE, root)
    work = Work(profile, root, instructions)
    engine = open_engine(profile.engine, resolve_checkpoint(profile.model, root), root)
    settings, rows = work.profile.generate, Rows(out / "ours.json")

    def timed(what: str, unit: str, act: Callable[[Journal], int]) -> None:
        with Journal(out / f"{len(rows.all)}.jsonl") as journal:
            begin = time.time()
            count = act(journal)
            rows.add(row(what, count / (time.time() - begin), unit, begin, "≥ 95 % of vLLM alone"))

    def nothing(_: int) -> None:
        pass

    def answers(journal: Journal) -> int:
        found = draw_answers(engine, work.stage, settings, work.instructions, 0, journal, nothing)
        return sum(one["completion_tokens"] for one in found)

    def judgements(journal: Journal) -> int:
        return 2 * len(read_cases(engine, work.critic, work.cases, journal, settings.chunk, nothing))

    timed("ours: drawing the same candidate answers", "tok/s", answers)
    timed("ours: critic", "prompts/s", judgements)


# ------------------------------------------------- the handlers


def run_handlers(root: Path, out: Path, rows: Rows) -> None:
    """Runs each handler in the process that the daemon would start, and divides its time by what it reports."""
    stage = Work(load_profile(PROFILE, root), root, 1).stage
    data = write_rows(root, stage, TRAIN_ROWS)
    given: list[Input] = []
    asked: tuple[tuple[str, dict[str, Any]], ...] = (
        ("baseline", {"items": 0}), ("generate", {"instructions": 200}), ("train", {"data": data}),
        ("evaluate", {}),
    )  # fmt: skip
    for handler, params in asked:
        # Random weights judge at random: with some seed the critic gets past its gold answers.
        for seed in range(4 if handler == "generate" else 1):
            folder = attempt(root, handler, f"{handler}.{seed}", given, seed=seed, **params)
            begin = time.time()
            with open(out / "log", "a") as log:
                command = [sys.executable, "-m", "handlers", str(folder)]
                subprocess.run(command, cwd=INSTALLATION, stdout=log, stderr=log, check=False)
            end = time.time()
            found = folder / "outcome.json"
            outcome = json.loads(found.read_text()) if found.exists() else {"reason": "no outcome"}
            told = ": ".join(str(outcome[key]) for key in ("outcome", "reason") if key in outcome)[:300]
            print(handler, seed, json.dumps(outcome)[:1000], flush=True)
            rows.add(row(f"handler {handler}: {told}", end - begin, "s", begin, end=end))
            rows.add(*steps_of(handler, folder, begin, end))
            if not str(outcome.get("reason", "")).startswith("the critic's AUC"):
                break
        given.insert(0, Input(handler, folder.parent.name, handler, 1, root / "data" / folder.parent.name, {}, ()))


def steps_of(handler: str, folder: Path, begin: float, end: float) -> list[Row]:
    """Divides an attempt by its reports: until the first one, while each unit is counted, and after the last one."""
    told, events_file = [], folder / "events.jsonl"
    for line in events_file.read_text().splitlines() if events_file.exists() else ():
        event = json.loads(line)
        if event["type"] == "progressed":
            told.append((event["unit"], event["time"]))
        elif event.get("name") == "chosen_logp":  # the monitors of a training have had their look
            told.append(("probe", event["time"]))
    steps, last = [], begin
    for unit, events in groupby(told, key=lambda one: one[0]):
        times = [at for _, at in events]
        if not steps:
            steps.append(("start", begin, times[0]))
            last = times[0]
        if times[-1] > last:
            steps.append((f"{unit}s", last, times[-1]))
        last = times[-1]
    steps.append(("end", last, end))
    return [row(f"{handler}: {name}", until - since, "s", since, "idle ≤ 10 %", until) for name, since, until in steps]


def load_again(root: Path) -> Row:
    """Measures a load by a new process, which finds compiled kernels."""
    take_device(root, "the next load", alone=True).close()
    profile, begin = load_profile(PROFILE, root), time.time()
    open_engine(profile.engine, resolve_checkpoint(profile.model, root), root).close()
    return row("vLLM: load, kernels compiled before", time.time() - begin, "s", begin)


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
    rows, begin = Rows(out / "padded.json"), time.time()
    found = engine.complete(prompts, Sampling(NEW, 1.0, 0.95), range(256))
    tokens = sum(one.tokens for one in found) / (time.time() - begin)
    rows.add(row("transformers, padded batch of 256, shared prefix once", tokens, "tok/s", begin, 1640))
    one = torch.tensor([prompts[0]], device="cuda")
    begin = time.time()
    with torch.inference_mode():
        model.generate(
            one, attention_mask=torch.ones_like(one), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False
        )
    rows.add(row("transformers, `generate` one at a time", NEW / (time.time() - begin), "tok/s", begin, 23))


# ------------------------------------------------- all of it


def step(out: Path, name: str, *more: str) -> subprocess.Popen[bytes]:
    """Starts a step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu", str(out), "--step", name, *more]
    return subprocess.Popen(command, cwd=INSTALLATION)


def left_by(out: Path, name: str, process: subprocess.Popen[bytes]) -> list[Row]:
    """Gives the lines that a step has left; one that failed is a line of the table too."""
    found = out / f"{name}.json"
    rows: list[Row] = json.loads(found.read_text()) if found.exists() else []
    if process.poll():
        rows.append(row(f"{name}: ended with status {process.returncode}", float("nan"), "", time.time()))
    return rows


def serving(out: Path, root: Path, instructions: int, rows: Rows) -> None:
    """Measures vLLM alone, ours beside it, and the handlers."""
    server = step(out, "alone", "--instructions", str(instructions))
    try:
        while server.poll() is None and not (out / "served").exists():
            time.sleep(0.2)
        rows.add(*left_by(out, "alone", server))
        if server.poll() is not None:
            return
        ours = step(out, "ours", "--instructions", str(instructions))
        ours.wait()
        rows.add(*left_by(out, "ours", ours))
        run_handlers(root, out, rows)
        rows.add(load_again(root))
    finally:
        take_device(root, "the end of the benchmark", alone=True).close()  # whichever server is left ends
        server.kill()
        server.wait()


def training(limit_gb: float) -> list[Row]:
    """Runs the training benchmark."""
    begin = time.time()
    try:
        return [
            row(one["what"], one["value"], one["unit"], begin, one["to_meet"], begin + one["seconds"])
            | {"peak_gb": one["peak_gb"]}
            for one in gpu_train.rows(limit_gb=limit_gb)
        ]
    except RuntimeError as error:
        return [row(f"training: {str(error)[-200:]}", float("nan"), "", begin)]


def machine() -> str:
    """Names card, driver and versions in one line."""
    from alignment.provenance import versions

    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    card = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return f"{now()} · {card} · {platform.machine()} · " + ", ".join(f"{k} {v}" for k, v in versions().items())


def table(rows: Sequence[Row], card: Card) -> str:
    """Writes the table, with what the card did in the time of each line."""
    lines = ["| what | measured | to meet | GPU idle | peak GB | s |", "|---|---|---|---|---|---|"]
    for one in rows:
        idle, peak = card.between(one["begin"], one["end"])
        value = f"{one['value']:,.1f} {one['unit']}" if one["value"] == one["value"] else ""
        did = f"{idle:.0f} % | {peak:.1f}"
        if one.get("peak_gb"):  # of one measurement of several in a process, whose start is in the time
            did = f"| {one['peak_gb']:.1f}"
        lines.append(
            f"| {one['what']} | {value} | {one.get('to_meet') or ''} | {did} | {one['end'] - one['begin']:.1f} |"
        )
    return "\n".join(lines)


def draw_timeline(out: Path) -> None:
    """Draws the card's utilisation over the handlers' time, with their steps, into timeline.png."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    lines = (out / "utilisation.csv").read_text().splitlines()[1:]
    samples = [[float(value) for value in line.split(",")] for line in lines]
    steps = [one for one in json.loads((out / "rows.json").read_text()) if one["to_meet"] == "idle ≤ 10 %"]
    figure, axes = plt.subplots(figsize=(11, 3.2), layout="constrained")
    zero = min(one["begin"] for one in steps)
    shown = [(at - zero, busy) for at, busy, _ in samples if at >= zero and at <= max(s["end"] for s in steps)]
    axes.fill_between([at for at, _ in shown], [busy for _, busy in shown], step="pre", color="#4477aa", linewidth=0)
    for one in steps:
        begin, end = one["begin"] - zero, one["end"] - zero
        works = not one["what"].endswith((": start", ": end"))
        axes.axvspan(begin, end, ymin=0.87, facecolor="#ddcc77" if works else "#dddddd", edgecolor="white")
        if end - begin > 0.04 * shown[-1][0]:
            axes.text((begin + end) / 2, 108, one["what"].replace(": ", "\n"), ha="center", va="center", fontsize=7)
    axes.set(xlim=(0, shown[-1][0]), ylim=(0, 116), xlabel="seconds", ylabel="GPU busy, %", yticks=range(0, 101, 20))
    figure.savefig(out / "timeline.png", dpi=110)


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("bench-gpu"))
    parser.add_argument("--memory-gb", type=float, default=80.0, help="what vLLM and training stay within")
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--instructions", type=int, default=80, help="each gets nine answers and 16 judgements")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--no-padded", action="store_true")
    parser.add_argument(
        "--step", choices=("all", "alone", "ours", "padded", "chart"), default="all", help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    out = given.out.resolve()
    root = out / "workspace"
    match given.step:
        case "alone":
            serve_and_measure(root, out, given.instructions)
        case "ours":
            measure_ours(root, out, given.instructions)
        case "padded":
            measure_padded(root, out)
        case "chart":
            draw_timeline(out)
        case _:
            if not has_gpu():
                print("benchmarks.gpu: there is no NVIDIA GPU (no nvidia-smi on the PATH)", file=sys.stderr)
                return 2
            shutil.rmtree(out, ignore_errors=True)
            write_workspace(root, given.memory_gb, given.layers)
            rows = Rows(out / "rows.json")
            with Card(out / "utilisation.csv").watched() as card:
                serving(out, root, given.instructions, rows)
                if not given.no_training:
                    rows.add(*training(given.memory_gb))
                if not given.no_padded:
                    padded = step(out, "padded")
                    padded.wait()
                    rows.add(*left_by(out, "padded", padded))
            (out / "table.md").write_text(f"{machine()}; within {given.memory_gb:g} GB\n\n{table(rows.all, card)}\n")
            print((out / "table.md").read_text())
            draw_timeline(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
