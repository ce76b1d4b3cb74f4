"""TRL's trainers with this project's batches: formed by token budget, computed in parts that fit the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignment.refusal import Refusal
from alignment.settings import TrainSettings
from alignment.training.batches import TokenBatches
from alignment.training.fit import (
    GB,
    MARGIN,
    PROBE_TOKENS,
    UNPACKING_TOKENS,
    Fit,
    choose,
    decoder_layers,
    measure,
    recompute,
)
from alignment.training.joined_pairs import answer_logps
from alignment.training.methods import Method
from alignment.training.parts import pair_weights, split

ADAM_BYTES = 12  # of a trained fp32 number: its gradient and Adam's two averages


def by_tokens(trainer_class: Any, method: Method, settings: TrainSettings, seed: int) -> Any:
    """Derives a trainer from one of TRL's.

    Its attribute `fit` is the way that batches are computed, known from the first step on.
    """

    import torch
    from torch.utils.data import DataLoader

    class ByTokens(trainer_class):  # type: ignore[misc]
        """Overrides hooks that transformers documents: the loader, one training step, and what is logged."""

        fit: Fit | None = None
        tokens_seen: Any = 0  # without padding, in this process

        def get_train_dataloader(self) -> Any:
            lengths = [method.padded_tokens(row) for row in self.train_dataset]
            return self.accelerator.prepare(
                DataLoader(
                    self._remove_unused_columns(self.train_dataset, description="training"),
                    batch_sampler=TokenBatches(lengths, settings.batch_tokens, seed),
                    collate_fn=self.data_collator,
                )
            )

        def training_step(self, model: Any, inputs: Mapping[str, Any], num_items_in_batch: Any = None) -> Any:
            if not method.sequences:
                return super().training_step(model, inputs, num_items_in_batch)
            if self.fit is None:
                self.fit = self._choose_fit(model, inputs)
                recompute(decoder_layers(model), self.fit.recomputed_layers)
            self.tokens_seen = self.tokens_seen + inputs["attention_mask"].sum()
            whole: list[float] = getattr(self, "loss_weights", [])
            loss = 0.0
            for part in split(inputs, self.fit.part_tokens, method.sequences):
                if method.sequences == 2:  # a mean over pairs, and one over the chosen answers' tokens
                    self.loss_weights = [
                        weight * share for weight, share in zip(whole, pair_weights(part, inputs), strict=True)
                    ]
                loss = loss + super().training_step(model, part, num_items_in_batch)
            self.loss_weights = whole
            return loss

        def log(self, logs: dict[str, float], *more: Any, **how: Any) -> None:
            if method.sequences:  # TRL counts too, and Unsloth's trainers made of TRL's do not
                logs["num_tokens"] = float(self.tokens_seen)
            super().log(logs, *more, **how)

        def _get_per_token_logps_and_entropies(
            self, model: Any, _model_kwargs: Any, input_ids: Any, completion_mask: Any
        ) -> Any:
            """Scores DPO's answers, each pair's prompt computed once. The entropies are only logged by TRL."""
            decoder = self.accelerator.unwrap_model(model).get_base_model()
            with self.accelerator.autocast():
                logps = answer_logps(decoder, input_ids, completion_mask)
            return logps, torch.zeros_like(logps), None

        def _choose_fit(self, model: Any, inputs: Mapping[str, Any]) -> Fit:
            asked = Fit(settings.part_tokens, max(0, settings.recomputed_layers))
            if model.device.type != "cuda" or (settings.part_tokens and settings.recomputed_layers >= 0):
                return asked
            step = super().training_step

            def one_pass(rows: Mapping[str, Any]) -> None:
                step(model, dict(rows), rows["attention_mask"].sum())
                self.optimizer.zero_grad(set_to_none=True)

            layers = decoder_layers(model)
            try:
                footprint = measure(one_pass, model, inputs, method.sequences)
            except torch.cuda.OutOfMemoryError as error:
                raise Refusal(
                    f"GPU memory: a training pass over {PROBE_TOKENS[1]} tokens does not fit: {error}",
                    "take a larger card, or quantize the base (model.quantization: nf4)",
                ) from error
            self._metrics["train"].clear()
            fit = choose(
                footprint,
                self._free_bytes(model),
                settings.batch_tokens,
                len(layers),
                unpacking=UNPACKING_TOKENS if getattr(model, "is_loaded_in_4bit", False) else 0,
            )
            print(
                f"a pass takes {footprint.fixed / GB:.1f} GB and {footprint.kept / 1e6:.2f} MB a token, "
                f"{footprint.recomputed / 1e6:.2f} MB with all layers recomputed; {self._free_bytes(model) / GB:.1f} GB "
                f"are free: {fit.part_tokens} tokens at once, {fit.recomputed_layers} of {len(layers)} layers recomputed",
                flush=True,
            )
            return fit

        def _free_bytes(self, model: Any) -> float:
            """Tells what a pass may take beside the model, its gradients, the optimizer's averages and other processes."""
            free, total = torch.cuda.mem_get_info(model.device)
            others = total - free - torch.cuda.memory_reserved(model.device)  # such as a model server that sleeps
            limit = (min(settings.memory_gb * GB, total) if settings.memory_gb else total) - others
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
            waiting = 0 if self.optimizer.state else ADAM_BYTES * trained
            return float(limit * (1 - MARGIN) - torch.cuda.memory_allocated(model.device) - waiting)

    return ByTokens
