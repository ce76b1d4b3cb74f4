"""The sections of a profile: every setting with its default, bounds and meaning.

Where a number comes from a paper the name stands beside it; "proposal" marks our own, to be tuned on pilots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alignment.strict import setting


@dataclass(frozen=True, slots=True)
class CurriculumSettings:
    """What is taught."""

    world: str = setting("micro", "the folder under curricula/ that holds the stages")
    constitution: str = setting("constitution.yaml", "the principles")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The base model."""

    base: str = setting(
        "microworld/weights", "the base model's folder; the workspace's own comes first; or its id on the hub"
    )
    revision: str = setting("", "the commit of a base on the hub, 40 hexadecimal digits; empty for a folder")
    dtype: str = setting(
        "float32", "the number format of the loaded weights", choices=("float32", "bfloat16", "float16")
    )
    quantization: str = setting("none", "nf4 loads the base in 4 bits through bitsandbytes", choices=("none", "nf4"))
    weights: str = setting(
        "files", "random takes the base's shape alone, to measure speed and memory", choices=("files", "random")
    )


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How completions are computed."""

    name: str = setting(
        "auto", "the engine; auto picks by hardware", choices=("auto", "transformers", "vllm", "openai")
    )
    device: str = setting("auto", "where the model runs", choices=("auto", "cpu", "cuda"))
    batch_tokens: int = setting(16_384, "prompt and completion tokens of one padded batch", minimum=64)
    batch_rows: int = setting(128, "rows of one padded batch; vllm: prompts under way at once", minimum=1)
    threads: int = setting(0, "CPU threads; 0 leaves it to torch, which honours OMP_NUM_THREADS", minimum=0)
    warm_s: float = setting(
        0.0, "seconds that the model stays loaded after its last use, for the next task that wants it", minimum=0
    )
    memory_gb: float = setting(0.0, "vllm: GPU memory to stay within, 10^9 bytes; 0: 92 % of the card", minimum=0)
    context: int = setting(0, "vllm: most tokens of a prompt and its completion; 0 takes the model's", minimum=0)
    lora_rank: int = setting(64, "vllm: largest rank of an adapter that is served by request; 0: none", minimum=0)
    batch_invariant: bool = setting(
        False, "vllm: kernels whose results do not depend on the batch (compute capability 9.0 or newer); slower"
    )
    base_url: str = setting("", "openai: the server, such as http://localhost:8000/v1")
    served_model: str = setting("", "openai: the base model's name on the server")
    served_adapters: Mapping[str, str] = setting(
        {}, "openai: the names on the server of trained models, by the folder of their newest adapter"
    )
    api_key_env: str = setting("", "openai: the environment variable that holds the key; empty for none")
    concurrency: int = setting(64, "openai: requests under way at once", minimum=1)
    retries: int = setting(6, "openai: further tries of a request that fails by 429, 5xx or the connection", minimum=0)
    timeout_s: float = setting(600.0, "openai: seconds until a request counts as lost", minimum=1)
    top_logprobs: int = setting(5, "openai: likeliest tokens asked for with a judgement", minimum=1, maximum=20)
    send_ids: bool = setting(True, "openai: send prompts as token ids; false for a server that takes text alone")


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """Which task files a stage is made of."""

    methods: tuple[str, ...] = setting(("sft",), "the training methods of one round, in order, such as sft then dpo")
    review_training: str = setting("", "the reviewer of each stage's first training; empty for none")
    review_promotion: str = setting("", "the reviewer who lets a stage's model start the next stage; empty for none")


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """Whether the untrained model lacks the skill."""

    items: int = setting(0, "evaluation items, spread evenly over the types; 0 takes all", minimum=0)
    arms: tuple[str, ...] = setting(
        ("raw", "cue", "few_shot"), "the untrained arms; raw runs twice for the noise floor"
    )
    counted_arms: tuple[str, ...] = setting(
        ("raw", "cue", "few_shot", "previous"), "the arms whose best accuracy decides whether there is a gap"
    )
    few_shot: int = setting(
        4, "exemplars of the few-shot arm (URIAL, arXiv 2312.01552, takes 3)", minimum=1, maximum=16
    )
    saturation: float = setting(
        0.95, "best counted accuracy from which there is nothing to teach", minimum=0, maximum=1
    )
    confidence: float = setting(0.95, "confidence of the Wilson intervals", minimum=0.5, maximum=0.999)
    chunk_items: int = setting(64, "items answered between two looks at stop requests", minimum=1)


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """How a stage's data is made."""

    instructions: int = setting(500, "distinct, clean instructions to collect", minimum=1)
    list_prompts: int = setting(48, "lists asked for in one round", minimum=1)
    list_tokens: int = setting(128, "the limit of one list", minimum=8)
    list_temperature: float = setting(1.0, "diversity of the lists (0.9 to 1.0)", minimum=0.01, maximum=2)
    list_top_p: float = setting(0.95, "nucleus of the lists", minimum=0.01, maximum=1)
    machine_exemplars: int = setting(
        2, "own earlier instructions in a list (Self-Instruct, arXiv 2212.10560)", minimum=0
    )
    topic_share: float = setting(0.05, "a topic's largest share; never less than an even one", minimum=0, maximum=1)
    stale_rounds: int = setting(4, "rounds with hardly anything new after which the collection ends", minimum=1)
    stale_yield: float = setting(0.02, "share of a round's entries that must be new and clean", minimum=0, maximum=1)
    candidates: int = setting(8, "answers drawn for each instruction (proposal)", minimum=1, maximum=64)
    answer_temperature: float = setting(1.0, "diversity of the answers", minimum=0.0, maximum=2)
    answer_top_p: float = setting(0.95, "nucleus of the answers", minimum=0.01, maximum=1)
    exemplar_sets: int = setting(4, "fixed sets of exemplars among which instructions are spread (proposal)", minimum=1)
    critic_auc: float = setting(
        0.7, "least AUC on the gold answers with which a critic is used", minimum=0.5, maximum=1
    )
    critic_mass: float = setting(0.5, "least probability of both labels together for a decision", minimum=0, maximum=1)
    safety: str = setting(
        "constitution",
        "what looks over every kept answer: the constitution's own critic, or nothing",
        choices=("constitution", "none"),
    )
    pair_margin: float = setting(1.0, "least margin of a pair, in pooled standard deviations (proposal)", minimum=0)
    rejected_at: float = setting(-2.0, "where a rejected answer is sought, in deviations from the mean (2502.16825)")
    raw_rejected: float = setting(
        0.3, "least share of rejected answers from the raw arm (2508.06026)", minimum=0, maximum=1
    )
    pairs_per_instruction: int = setting(2, "most pairs of one instruction", minimum=1)
    length_effect: float = setting(0.1, "largest length difference of chosen and rejected, in Cohen's d", minimum=0.01)
    least_rows: int = setting(20, "accepted rows below which the data is no use", minimum=1)
    chunk: int = setting(128, "prompts between two looks at stop requests", minimum=1)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a model is trained."""

    method: str = setting("sft", "the training method", choices=("sft", "dpo", "orpo", "kto", "simpo"))
    backend: str = setting(
        "auto",
        "who loads the model for training; auto takes the fastest that was measured",
        choices=("auto", "trl", "unsloth"),
    )
    epochs: float = setting(0.0, "passes over the rows; 0 takes the method's own", minimum=0, maximum=100)
    learning_rate: float = setting(0.0, "peak learning rate; 0 takes the method's own", minimum=0, maximum=1)
    method_epochs: Mapping[str, float] = setting(
        {"sft": 2.0, "dpo": 1.0, "orpo": 2.0, "kto": 1.0, "simpo": 1.0}, "passes over the rows, by method"
    )
    method_learning_rates: Mapping[str, float] = setting(
        {"sft": 2e-4, "dpo": 5e-6, "orpo": 5e-5, "kto": 5e-6, "simpo": 5e-6},
        "peak learning rates of LoRA, by method; it decays along a cosine",
    )
    warmup: float = setting(0.05, "share of the steps over which the learning rate rises", minimum=0, maximum=1)
    batch_tokens: int = setting(
        8192, "padded tokens of one batch, which is one step; both answers of a pair count", minimum=16
    )
    accumulation: int = setting(1, "batches of one optimizer step", minimum=1)
    max_length: int = setting(1024, "tokens of a row, prompt and answer; longer rows are left out", minimum=8)
    layers: str = setting(
        "auto",
        "what computes adapted layers: PEFT (plain) or alignment/training/fused.py; auto takes fused on a GPU",
        choices=("auto", "plain", "fused"),
    )
    memory_gb: float = setting(
        0.0, "GPU memory to stay within, with what other processes hold of it; 0: the whole card", minimum=0
    )
    part_tokens: int = setting(
        0, "padded tokens of a batch that are computed at once; 0 takes what memory allows", minimum=0
    )
    recomputed_layers: int = setting(
        -1, "layers that keep no activations and run twice; -1 takes as few as memory allows", minimum=-1
    )
    lora_rank: int = setting(16, "rank of the adapter's matrices, on all linear layers", minimum=1)
    lora_alpha: int = setting(32, "the adapter's scale times its rank", minimum=1)
    dpo_beta: float = setting(5.0, "DPO's β for the length-normalised sigmoid loss", minimum=0)
    dpo_sft_weight: float = setting(0.5, "weight of DPO's SFT term beside the preference loss", minimum=0)
    orpo_beta: float = setting(0.1, "ORPO's λ (arXiv 2403.07691)", minimum=0)
    kto_beta: float = setting(0.1, "KTO's β (arXiv 2402.01306)", minimum=0)
    simpo_beta: float = setting(2.0, "SimPO's β (arXiv 2405.14734)", minimum=0)
    simpo_gamma: float = setting(1.0, "SimPO's target margin γ; γ/β = 0.5", minimum=0)
    simpo_sft_weight: float = setting(0.0, "weight of a likelihood term beside SimPO's loss", minimum=0)
    replay: float = setting(0.5, "rows of earlier stages for each row of this one", minimum=0, maximum=10)
    checkpoint_minutes: float = setting(30.0, "minutes between two checkpoints", minimum=0)
    probes: int = setting(5, "times that the monitors look, the first before step 1", minimum=2)
    probe_rows: int = setting(32, "rows that the monitors look at (proposal)", minimum=1)
    chosen_fall: float = setting(0.15, "tolerated fall of the chosen log-probability, as a share", minimum=0)
    chosen_slack: float = setting(0.05, "nats a token it may fall in any case (proposal)", minimum=0)
    eos_rate: float = setting(0.95, "answers that must end by themselves, once that was reached", minimum=0, maximum=1)
    repetition: float = setting(0.15, "tolerated rise of 4-gram repetition (proposal)", minimum=0)
    distinct_2: float = setting(0.5, "least share that is left of distinct-2 (proposal)", minimum=0)
    patience: int = setting(2, "probes in a row out of band that stop the run (proposal)", minimum=1)
    merge: bool = setting(False, "merge the adapter into bf16 weights at the end")
    merge_items: int = setting(
        300, "frozen items that the merged and the unmerged model both answer; 0 takes all", minimum=0
    )
    merge_points: float = setting(2.0, "percentage points that the merged model may lose on them", minimum=0)


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """How a trained model is judged."""

    alpha: float = setting(0.01, "significance level of the paired test and of the types' false discovery rate")
    power: float = setting(0.8, "power at which the minimum detectable effect is stated", minimum=0.5, maximum=0.999)
    discordance: float = setting(0.2, "share of items on which two arms are taken to disagree", minimum=0.01, maximum=1)
    confidence: float = setting(0.95, "confidence of the intervals", minimum=0.5, maximum=0.999)
    resamples: int = setting(10_000, "bootstrap resamples of the lift", minimum=100)
    chunk_items: int = setting(64, "items answered between two looks at stop requests", minimum=1)
    eos_rate: float = setting(
        0.95, "answers that must end by themselves, where the ones they are held against do", minimum=0, maximum=1
    )
    repetition: float = setting(0.15, "tolerated rise of 4-gram repetition (proposal)", minimum=0)
    distinct_2: float = setting(0.5, "least share that is left of distinct-2 (proposal)", minimum=0)
