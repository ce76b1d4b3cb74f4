"""The training methods: which rows each reads, which TRL trainer runs it, and what that trainer is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alignment.settings import TrainSettings

Example = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """One way of training.

    Args:
        file: the rows it reads.
        trainer: imports TRL's trainer and its configuration.
        options: what the configuration is told beyond what all methods share.
        padded_tokens: tokens that a prepared row asks of a padded batch, both answers of a pair together.
        sequences: sequences that a row puts into a batch, where batches can be computed in parts; 0 where the loss
            needs the whole batch, or the parts would not add up to it.
    """

    file: str
    trainer: Callable[[], tuple[Any, Any]]
    options: Callable[[TrainSettings], dict[str, Any]]
    padded_tokens: Callable[[Example], int]
    sequences: int = 0


def _sft() -> tuple[Any, Any]:
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer, SFTConfig


def _dpo() -> tuple[Any, Any]:
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer, DPOConfig


def _kto() -> tuple[Any, Any]:
    from trl import KTOConfig, KTOTrainer

    return KTOTrainer, KTOConfig


def _orpo() -> tuple[Any, Any]:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return ORPOTrainer, ORPOConfig


def _simpo() -> tuple[Any, Any]:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer, CPOConfig


def _pair_tokens(row: Example) -> int:
    """Counts a pair that is prepared as two whole sequences (ORPO, SimPO)."""
    return 2 * max(len(row["chosen_input_ids"]), len(row["rejected_input_ids"]))


METHODS: Mapping[str, Method] = {
    "sft": Method("sft.jsonl", _sft, lambda _: {}, lambda row: len(row["input_ids"]), sequences=1),
    # The SFT term keeps the chosen answers likely: plain DPO degenerates base models (TRL issue 2382).
    "dpo": Method(
        "pairs.jsonl",
        _dpo,
        lambda s: {
            "loss_type": ["sigmoid_norm", "sft"],
            "loss_weights": [1.0, s.dpo_sft_weight],
            "beta": s.dpo_beta,
        },
        lambda row: 2 * (len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))),
        sequences=2,
    ),
    "orpo": Method("pairs.jsonl", _orpo, lambda s: {"beta": s.orpo_beta}, _pair_tokens),
    "kto": Method(
        "pairs.jsonl",
        _kto,
        lambda s: {"beta": s.kto_beta},
        lambda row: 2 * (len(row["prompt_ids"]) + max(len(row["completion_ids"]), len(row["KL_completion_ids"]))),
    ),
    # SimPO is CPO's trainer with its own loss and without CPO's likelihood term (arXiv 2405.14734).
    "simpo": Method(
        "pairs.jsonl",
        _simpo,
        lambda s: {
            "loss_type": "simpo",
            "cpo_alpha": s.simpo_sft_weight,
            "beta": s.simpo_beta,
            "simpo_gamma": s.simpo_gamma,
        },
        _pair_tokens,
    ),
}
