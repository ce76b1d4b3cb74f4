"""The eyes on a run in training: its log, its monitors, its checkpoints, its stop requests.

`Watch` holds what TRL's trainers call at each step; `recipe` mixes it into transformers' callback class.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from alignment.monitors import Limits, Vitals, breaches
from alignment.refusal import Refusal
from alignment.training.checkpoints import FOLDER, SavedState, seal
from alignment.training.probe import Probe

LOG = "training.jsonl"
# TRL's names for what the log keeps, beside the loss; the rest is left out.
KEPT = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "logps/chosen": "chosen_logp_sum",
    "logps/rejected": "rejected_logp_sum",
}
MARGIN_AT_START = 1e-3  # policy and reference are the same model before the first step, up to rounding
REPRODUCED = 1e-3  # nats a token between a checkpoint's probe and the resumed model's, up to rounding
SAY_EVERY_S = 1.0
EVENTS = 50  # measurements that a run sends to the event log, spread over its steps


class Voice(Protocol):
    """What a recipe says while it runs; the handlers' `Run` is one."""

    def should_stop(self) -> bool: ...
    def progress(self, done: int, total: int, unit: str, note: str = "") -> None: ...
    def measure(self, name: str, value: float, **at: str | int | float) -> None: ...
    def checkpoint(self, path: Path) -> None: ...


class Watch:
    """Follows one run of a trainer.

    Args:
        data_dir: where the log and the checkpoints lie.
        resumed: the checkpoint that the trainer goes on from.
        margin_starts_at_zero: the method's reference is the model itself before the first step.
    """

    def __init__(
        self,
        data_dir: Path,
        probe: Probe,
        limits: Limits,
        voice: Voice,
        *,
        probes: int,
        checkpoint_minutes: float,
        resumed: SavedState | None,
        margin_starts_at_zero: bool,
    ) -> None:
        self._data_dir = data_dir
        self._probe = probe
        self._limits = limits
        self._voice = voice
        self._probes = probes
        self._checkpoint_s = 60 * checkpoint_minutes
        self._resumed = resumed
        self._margin_starts_at_zero = margin_starts_at_zero
        self._vitals: list[Vitals] = []
        self._streak = 0
        self._saved_at = self._began_at = time.monotonic()
        self._said_at = 0.0
        self._step_at = self._tokens_before = 0.0
        self._probed = False
        self.estimate = ""  # of the whole run, told as it begins
        self.saved: SavedState | None = resumed
        self.degenerated: list[str] = []
        self.interrupted = False
        # Without the first step, which measures memory and loads kernels, and without steps that end in a probe.
        self.tokens = 0
        self.seconds = 0.0

    @property
    def last(self) -> Vitals:
        """The newest probe."""
        return self._vitals[-1]

    def on_train_begin(self, _args: Any, state: Any, _control: Any, *, model: Any, **_: Any) -> None:
        """Takes the first probe, or proves that a resumed run is the one that was interrupted."""
        self._voice.progress(state.global_step, state.max_steps, "step", self.estimate)
        if self._resumed is None:
            (self._data_dir / LOG).unlink(missing_ok=True)
            self._take_probe(0, model)
            return
        found = self._probe.chosen_logp(model)
        if state.global_step != self._resumed.step or abs(found - self._resumed.chosen_logp) > REPRODUCED:
            raise Refusal(
                f"{self._resumed.folder}: the run did not resume: step {state.global_step} instead of "
                f"{self._resumed.step}, chosen log-probability {found:.4f} instead of {self._resumed.chosen_logp:.4f}",
                "remove checkpoint.json to start from step 0, and report this as a defect",
            )
        self._rewind_log(self._resumed.step)

    def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Notes when a step begins."""
        self._step_at = time.monotonic()

    def on_log(self, _args: Any, state: Any, _control: Any, *, logs: Mapping[str, Any], **_: Any) -> None:
        """Keeps one step's figures, and checks the first reward margin."""
        if "loss" not in logs:
            return  # the summary at the end of a run
        step = state.global_step
        self._count(float(logs.get("num_tokens", 0.0)))
        figures = {ours: float(logs[theirs]) for theirs, ours in KEPT.items() if theirs in logs}
        if not math.isfinite(figures["loss"]):
            raise Refusal(f"loss is {figures['loss']} at step {step}", "lower train.learning_rate, or look at the rows")
        if step == 1 and self._margin_starts_at_zero and abs(figures["reward_margin"]) >= MARGIN_AT_START:
            raise Refusal(
                f"reward margin is {figures['reward_margin']:.4f} before the first step (less than {MARGIN_AT_START}): "
                "the reference is not the model that is trained",
                "check that the adapter and the base model belong together",
            )
        self._write({"step": step, "epoch": round(state.epoch, 4), **figures})
        if step % max(1, state.max_steps // EVENTS) == 0 or step == state.max_steps:
            for name, value in figures.items():
                self._voice.measure(name, value, step=step)

    def on_step_end(self, _args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> Any:
        """Probes, saves and stops where it is time to."""
        step, last = state.global_step, state.global_step == state.max_steps
        if last or time.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = time.monotonic()
            self._voice.progress(step, state.max_steps, "step", self._pace(step, state.max_steps))
        if step in {round(i * state.max_steps / (self._probes - 1)) for i in range(1, self._probes)}:
            self._take_probe(step, model)
            if self.degenerated:
                control.should_training_stop = True
                return control
        if last:
            return control
        if self._voice.should_stop():
            self.interrupted = control.should_training_stop = control.should_save = True
        elif time.monotonic() - self._saved_at >= self._checkpoint_s:
            control.should_save = True
        return control

    def on_save(self, _args: Any, state: Any, _control: Any, *, model: Any, **_: Any) -> None:
        """Makes what the trainer has just saved the checkpoint to go on from."""
        folder = self._data_dir / FOLDER / f"checkpoint-{state.global_step}"
        # TRL saves its frozen copy of a continued adapter beside the trained one. transformers would then load
        # only that copy on resume, and silently train on from step 0's weights; it is rebuilt at each start anyway.
        shutil.rmtree(folder / "ref", ignore_errors=True)
        with open(self._data_dir / LOG, "rb") as stream:
            os.fsync(stream.fileno())
        self.saved = seal(self._data_dir, folder, state.global_step, self._probe.chosen_logp(model))
        self._saved_at = time.monotonic()
        self._voice.checkpoint(folder)

    def _count(self, tokens: float) -> None:
        """Adds a step without a probe to what the rate is taken from; reading its loss has waited for its end."""
        if self._tokens_before and not self._probed:
            self.tokens += round(tokens - self._tokens_before)
            self.seconds += time.monotonic() - self._step_at
        self._tokens_before, self._probed = tokens, False

    def _take_probe(self, step: int, model: Any) -> None:
        vitals = self._probe.measure(model)
        self._probed = True
        self._write(
            {
                "step": step,
                "probe": {
                    "chosen_logp": vitals.chosen_logp,
                    "eos_rate": vitals.eos_rate,
                    "repetition": vitals.repetition,
                    "distinct_2": vitals.distinct_2,
                },
            }
        )
        for name in ("chosen_logp", "eos_rate", "repetition", "distinct_2"):
            self._voice.measure(name, getattr(vitals, name), step=step)
        self._judge(step, vitals)

    def _judge(self, step: int, vitals: Vitals) -> None:
        found = breaches(vitals, self._vitals, self._probe.target, self._limits) if self._vitals else []
        self._vitals.append(vitals)
        self._streak = self._streak + 1 if found else 0
        if self._streak >= self._limits.patience:
            self.degenerated = [f"step {step}: {breach}" for breach in found]

    def _rewind_log(self, step: int) -> None:
        """Drops the lines that were written after the checkpoint, and judges the earlier probes again."""
        path = self._data_dir / LOG
        kept = [entry for line in path.read_text().splitlines() if (entry := _parsed(line)) and entry["step"] <= step]
        path.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
        for entry in kept:
            if "probe" in entry:
                self._judge(entry["step"], Vitals(**entry["probe"]))

    def _write(self, entry: Mapping[str, Any]) -> None:
        with open(self._data_dir / LOG, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def _pace(self, step: int, steps: int) -> str:
        done = step - (self._resumed.step if self._resumed else 0)
        left_s = (time.monotonic() - self._began_at) / done * (steps - step)
        return f"{left_s:.0f} s left"


def _parsed(line: str) -> Any:
    """Reads a line of the log; a crash may have left the last one unfinished."""
    try:
        return json.loads(line)
    except ValueError:
        return None
