"""The checks before step 0: what the loss sees of every row, read from the trainer's own batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from alignment.refusal import Refusal

IGNORED = -100  # the label that the loss leaves out (torch.nn.functional.cross_entropy)


def check_masks(batches: Iterable[Mapping[str, Any]], prompts: Iterable[Sequence[int]], tokenizer: Any) -> int:
    """Checks the loss mask of every row of every batch.

    Args:
        batches: collated batches, as the loss gets them.
        prompts: token ids of the prompts as they will be asked after training.
        tokenizer: names the end-of-sequence token, and decodes a row for the message.

    Returns:
        The number of sequences checked.

    Raises:
        Refusal: a row has no target, trains on its prompt, hides a part of its answer, or never learns to stop;
            the row is printed.
    """
    known = {tuple(prompt) for prompt in prompts}
    checked = 0
    for batch in batches:
        for ids, labels in sequences(batch):
            if fault := mask_fault(ids, labels, known, tokenizer.eos_token_id):
                start = next((i for i, label in enumerate(labels) if label != IGNORED), len(ids))
                raise Refusal(
                    f"loss mask: {fault}; masked: {tokenizer.decode(ids[:start])!r}, "
                    f"trained on: {tokenizer.decode([i for i in labels if i != IGNORED])!r}",
                    "the prompt must be masked and the answer with its end-of-sequence token trained on: mend the row "
                    "or the tokenizer, or raise train.max_length where the answer was cut",
                )
            checked += 1
    return checked


def mask_fault(ids: Sequence[int], labels: Sequence[int], prompts: set[tuple[int, ...]], eos: int) -> str | None:
    """Says what is wrong with one sequence's labels, or None where nothing is."""
    targets = [i for i, label in enumerate(labels) if label != IGNORED]
    if not targets:
        return "no token of the row is trained on"
    first, last = targets[0], targets[-1]
    if tuple(ids[:first]) not in prompts:
        return "the masked part is not the row's prompt"
    if list(labels[first : last + 1]) != list(ids[first : last + 1]):
        return "the labels are not the answer's tokens"
    if labels[last] != eos:
        return "the end-of-sequence token is not trained on"
    return None


def sequences(batch: Mapping[str, Any]) -> Iterator[tuple[list[int], list[int]]]:
    """Lists the token ids and labels of a batch, in the form that each of TRL's collators gives them."""
    if "completion_mask" in batch:  # DPO, KTO
        ids = batch["input_ids"]
        yield from zip(ids.tolist(), ids.masked_fill(batch["completion_mask"] == 0, IGNORED).tolist(), strict=True)
    elif "chosen_labels" in batch:  # ORPO, SimPO
        for side in ("chosen", "rejected"):
            yield from zip(batch[f"{side}_input_ids"].tolist(), batch[f"{side}_labels"].tolist(), strict=True)
    else:  # SFT
        yield from zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
