"""The recipe that every method shares: rows to an adapter, through TRL and PEFT.

Departures from TRL's defaults: batches by token budget instead of by rows; fp32 on a CPU; one probe of fixed rows
instead of an evaluation set; checkpoints by time, named only once they are whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.guard import TokenizerGuard
from alignment.monitors import Limits, Vitals
from alignment.refusal import Refusal
from alignment.settings import TrainSettings
from alignment.training.checkpoints import FOLDER, SavedState, newest
from alignment.training.estimate import Rate, in_words
from alignment.training.fit import Fit
from alignment.training.masks import check_masks
from alignment.training.methods import METHODS
from alignment.training.probe import Probe
from alignment.training.rows import Row
from alignment.training.trainer import by_tokens
from alignment.training.watch import Voice, Watch

ADAPTER = "adapter"
ANSWERS = ("completion", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Trained:
    """How a run ended: with an adapter, or interrupted at a checkpoint."""

    adapter: Path | None
    saved: SavedState | None
    resumed_from: int  # step; 0 for a run from the start
    rows: int
    too_long: int
    steps: int
    loss: float
    vitals: Vitals
    tokens_per_s: float  # in this attempt; 0 where every step but the first ended in a probe
    fit: Fit | None  # how batches were computed; None for methods that compute them whole


def train_adapter(
    rows: Sequence[Row],
    settings: TrainSettings,
    model: Any,
    tokenizer: Any,
    data_dir: Path,
    seed: int,
    voice: Voice,
    *,
    backend: str = "trl",
    rate: Rate | None = None,
) -> Trained:
    """Trains a LoRA adapter, from the start or from the run's checkpoint.

    Args:
        rows: what to train on.
        settings: method and its figures.
        model: a base model, which gets a new adapter, or a PEFT model, whose adapter is trained on.
        tokenizer: the model's own.
        data_dir: where checkpoints, log and adapter lie.
        seed: initialises the adapter and orders the batches.
        voice: hears of progress and asks for a stop.
        rate: of an earlier run like this one, from which the time is told before the first step.
        backend: who loaded the model: the layers of Unsloth's compute in their own way.

    Raises:
        Refusal: a row's mask is wrong, a checkpoint is missing or broken, or the model degenerates.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # ORPO and SimPO; TRL's version is pinned
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig, PeftModel
    from transformers import TrainerCallback, set_seed

    # Parameters
    method = METHODS[settings.method]
    epochs = settings.epochs or _of_method("epochs", settings.method_epochs, settings.method)
    learning_rate = settings.learning_rate or _of_method(
        "learning_rates", settings.method_learning_rates, settings.method
    )
    resumed = newest(data_dir)
    set_seed(seed)
    disable_progress_bars()
    tokenizer.padding_side = "left"

    # Data
    fitting = _fitting(rows, tokenizer, settings.max_length)
    if not fitting:
        raise Refusal(
            f"all {len(rows)} rows are longer than train.max_length = {settings.max_length} tokens", "raise it"
        )
    probe = Probe(fitting, settings.probe_rows, seed, tokenizer, own_decoding=backend == "unsloth")
    texts = [{key: row[key] for key in ("prompt", *ANSWERS) if key in row} for row in fitting]

    # Model and loop
    trainer_class, config_class = method.trainer()

    class Attached(Watch, TrainerCallback):  # type: ignore[misc]
        """The watch as one of transformers' callbacks."""

    watch = Attached(
        data_dir,
        probe,
        _limits(settings),
        voice,
        probes=settings.probes,
        checkpoint_minutes=settings.checkpoint_minutes,
        resumed=resumed,
        margin_starts_at_zero=settings.method == "dpo",
    )
    on_cpu = model.device.type == "cpu"
    trainer = by_tokens(trainer_class, method, settings, seed)(
        model=model,
        args=config_class(
            output_dir=str(data_dir / FOLDER),
            num_train_epochs=epochs,
            learning_rate=learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=settings.warmup,
            gradient_accumulation_steps=settings.accumulation,
            max_length=settings.max_length,
            gradient_checkpointing=False,  # which layers are recomputed is the trainer's choice
            use_cpu=on_cpu,
            bf16=not on_cpu,
            seed=seed,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",  # the watch asks for saves
            save_total_limit=2,  # the newest complete one outlives the writing of the next
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=not on_cpu,
            **method.options(settings),
        ),
        train_dataset=Dataset.from_list(texts),
        processing_class=tokenizer,
        peft_config=None if isinstance(model, PeftModel) else _lora(settings, LoraConfig),
        callbacks=[watch],
    )
    _keep_quiet(trainer)
    _prepare(trainer, settings, backend)
    check_masks(trainer.get_train_dataloader(), (tokenizer(row["prompt"])["input_ids"] for row in fitting), tokenizer)
    tokens = epochs * sum(method.padded_tokens(row) for row in trainer.train_dataset)
    watch.estimate = in_words(tokens, rate)
    voice.measure("estimate.tokens", tokens)
    if rate:
        voice.measure("estimate.seconds", tokens / rate.tokens_per_s)
    trainer.train(resume_from_checkpoint=str(data_dir / resumed.folder) if resumed else None)

    # Save
    if watch.degenerated:
        raise Refusal(
            "the model degenerates: " + "; ".join(watch.degenerated),
            "lower train.learning_rate, raise the weight of the SFT term, or train fewer epochs; "
            f"the log is {data_dir / 'training.jsonl'}",
        )
    adapter = None
    if not watch.interrupted:
        adapter = data_dir / ADAPTER
        trainer.model.save_pretrained(adapter, selected_adapters=["default"])
        (adapter / "README.md").unlink(missing_ok=True)  # a model card's blank form; the manifest says what this is
    return Trained(
        adapter=adapter,
        saved=watch.saved,
        resumed_from=resumed.step if resumed else 0,
        rows=len(fitting),
        too_long=len(rows) - len(fitting),
        steps=trainer.state.global_step,
        loss=next(entry["loss"] for entry in reversed(trainer.state.log_history) if "loss" in entry),
        vitals=watch.last,
        tokens_per_s=watch.tokens / watch.seconds if watch.seconds else 0.0,
        fit=trainer.fit,
    )


def _of_method(name: str, figures: Mapping[str, Any], method: str) -> float:
    figure = figures.get(method)
    if not isinstance(figure, int | float) or not figure > 0:
        raise Refusal(f"train.method_{name}: {method}: expected a number above 0, got {figure!r}", "mend the profile")
    return float(figure)


def _lora(settings: TrainSettings, config: Any) -> Any:
    return config(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _limits(settings: TrainSettings) -> Limits:
    return Limits(
        settings.chosen_fall,
        settings.chosen_slack,
        settings.eos_rate,
        settings.repetition,
        settings.distinct_2,
        settings.patience,
    )


def _fitting(rows: Sequence[Row], tokenizer: Any, max_length: int) -> list[Row]:
    """Leaves out the rows that would be cut, and refuses those that hold a control token."""
    guard = TokenizerGuard(tokenizer)
    fitting = []
    for row in rows:
        sequences = guard.encode([row["prompt"] + row[key] for key in ANSWERS if key in row])
        if max(map(len, sequences)) < max_length:  # the end-of-sequence token is still to come
            fitting.append(row)
    return fitting


def _prepare(trainer: Any, settings: TrainSettings, backend: str) -> None:
    """Gives the adapter its number format, and the layers their way of computing."""
    from alignment.training.fused import fuse, without_padding_mask

    model = trainer.model
    for parameter in model.parameters():
        if parameter.requires_grad:
            # TRL rounds a 4-bit model's adapter to bf16, where DPO's steps of 5e-6 would be lost.
            parameter.data = parameter.data.float()
    if backend == "unsloth":
        return  # its layers, its losses and its masks are its own
    if settings.method == "dpo":
        # The way to log-probabilities without logits of every token, which the trainer overrides; TRL opens it only
        # beside the liger package, which it does not use there.
        trainer.use_liger_kernel = True
    if settings.layers == "fused" or (settings.layers == "auto" and model.device.type == "cuda"):
        fuse(model)
        if METHODS[settings.method].sequences:
            without_padding_mask(model)


def _keep_quiet(trainer: Any) -> None:
    """Takes away the callback that prints every log line."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
