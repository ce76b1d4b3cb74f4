"""The byte-level BPE tokenizer of the built-in model, trained with Qwen2's own pipeline.

AutoTokenizer rebuilds normaliser and pre-tokenizer from the class of the model type and keeps only vocabulary and
merges, so a tokenizer trained with another split would silently cut texts in other places after loading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

VOCABULARY = 2048
CONTEXT = 512
END = "<|endoftext|>"
CHAT_CONTROL = ("<|im_start|>", "<|im_end|>")  # present, never in the corpus: what the template guard guards against
LABELS = (" A", " B")


def train(documents: Iterable[str]) -> Any:
    """Trains the tokenizer on documents.

    Returns:
        a Qwen2Tokenizer, ready to save.

    Raises:
        ValueError: a judgement label is not one token, so that no single next token could carry it.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    pipeline = Qwen2Tokenizer(vocab={END: 0}, merges=[]).backend_tokenizer
    bpe = Tokenizer(models.BPE())
    bpe.normalizer, bpe.pre_tokenizer = pipeline.normalizer, pipeline.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, *CHAT_CONTROL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(documents, trainer)
    learnt = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        additional_special_tokens=list(CHAT_CONTROL),
        model_max_length=CONTEXT,
        padding_side="left",
    )
    for label in LABELS:
        if len(tokenizer(label)["input_ids"]) != 1:
            raise ValueError(f"label {label!r} is not one token of the trained vocabulary; train on more judgements")
    return tokenizer
