"""The tokenizer: reproducible, lossless, the same after AutoTokenizer has rebuilt it."""

import itertools
import random

import pytest

from microworld.corpus import Corpus
from microworld.measure import WEIGHTS
from microworld.pretrain import Recipe, train_tokenizer
from microworld.tokenizer import CHAT_CONTROL, END, LABELS, VOCABULARY
from microworld.world import load


@pytest.fixture(scope="module")
def shipped():
    """The tokenizer beside the weights, as a user loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(WEIGHTS)


@pytest.fixture(scope="module")
def documents():
    """A sample of the corpus."""
    return [text for _, text in itertools.islice(Corpus(load(), random.Random(6), pool=3000).documents(), 400)]


def test_training_reproduces_the_shipped_tokenizer(tmp_path):
    """The same seed gives the same bytes, and with them the same thirty thousand documents."""
    train_tokenizer(Recipe().seed).save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (WEIGHTS / "tokenizer.json").read_bytes()


def test_loading_keeps_the_pipeline(shipped, documents):
    """AutoTokenizer cuts texts as the tokenizer file says, and decoding gives them back."""
    from tokenizers import Tokenizer

    trained = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    for text in [*documents, "Naïve café: 3 × 4 = 12?\r\n\tI'll  see…"]:
        ids = shipped(text)["input_ids"]
        assert ids == trained.encode(text).ids
        assert shipped.decode(ids) == text


def test_special_tokens_stand_where_the_guard_expects_them(shipped):
    """The document end is id 0, ends and pads; the chat-control tokens are whole tokens; prompts are padded on the left."""
    assert shipped.convert_tokens_to_ids([END, *CHAT_CONTROL]) == [0, 1, 2]
    assert shipped.eos_token_id == shipped.pad_token_id == 0
    assert shipped.padding_side == "left"
    assert len(shipped) == VOCABULARY


def test_chat_control_tokens_are_never_trained_on(shipped, documents):
    """No document holds a chat-control token, so the model has never read one."""
    ids = {i for text in documents for i in shipped(text)["input_ids"]}
    assert not ids & set(shipped.convert_tokens_to_ids(list(CHAT_CONTROL)))


def test_judgement_labels_are_single_tokens(shipped):
    """A verdict can be read off one next-token distribution."""
    assert all(len(shipped(label)["input_ids"]) == 1 for label in LABELS)
