"""Adapters merged into the base shard by shard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from alignment import resources
from alignment.checkpoint import Checkpoint
from alignment.locations import INSTALLATION
from alignment.refusal import Refusal
from alignment.training.merge import merge_adapters

pytestmark = pytest.mark.model
BASE = INSTALLATION / "microworld" / "weights"


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The built-in model with two adapters on each other, saved by PEFT."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters")
    torch.manual_seed(0)
    paths = []
    for rank in (4, 8):
        config = LoraConfig(r=rank, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        model.save_pretrained(folder / str(rank))
        paths.append(folder / str(rank))
    return Checkpoint(BASE, tuple(paths), "float32", "none")


def merged_by_peft(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Merges in fp32, as PEFT does it, and rounds at the end."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    for path in checkpoint.adapters:
        model = PeftModel.from_pretrained(model, path).merge_and_unload()
    return {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}


def read(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shard_bytes", [5e9, 1e6])
def test_merge_equals_pefts(shard_bytes: float, count: int, adapted: Checkpoint, tmp_path: Path) -> None:
    """Every weight is the one that PEFT's merge_and_unload gives, rounded to bf16 once, however it is cut into files."""
    checkpoint = replace(adapted, adapters=adapted.adapters[:count])
    merged = merge_adapters(checkpoint, tmp_path / "merged", shard_bytes=shard_bytes)
    expected, found = merged_by_peft(checkpoint), read(merged.base)
    assert found.keys() == expected.keys() - {"lm_head.weight"}  # tied to the embeddings
    for name, tensor in found.items():
        # The order of additions differs: at most one step of bf16 where a sum lies between two numbers.
        assert torch.allclose(tensor.float(), expected[name].float(), rtol=2**-7, atol=0), name
        assert (tensor == expected[name]).float().mean() > 0.999, name
    assert len(list(merged.base.glob("*.safetensors"))) == (1 if shard_bytes > 1e8 else 7)


def test_merged_shards_load_as_a_model(adapted: Checkpoint, tmp_path: Path) -> None:
    """The folder is a whole model for transformers: index, configuration in bf16, tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged = merge_adapters(adapted, tmp_path / "merged", shard_bytes=1e6)
    model = AutoModelForCausalLM.from_pretrained(merged.base)
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.model.norm.weight, read(merged.base)["model.norm.weight"])
    assert len(AutoTokenizer.from_pretrained(merged.base)) == model.config.vocab_size


def test_merge_refuses_without_room(adapted: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is too small is told with both figures before anything is written."""
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: SimpleNamespace(free=2e6))
    with pytest.raises(Refusal, match=r"merged: the merged model needs 6\.1 MB, 2\.0 MB are free on its disk"):
        merge_adapters(adapted, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def spoiled(adapted: Checkpoint, folder: Path, **settings: object) -> Checkpoint:
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes((adapted.adapters[0] / name).read_bytes())
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **settings}))
    return replace(adapted, adapters=(folder,))


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"peft_type": "LOHA"}])
def test_merge_refuses_what_is_not_plain_lora(settings: dict[str, object], adapted: Checkpoint, tmp_path: Path) -> None:
    """An adapter that does more than add a low-rank product is not merged half."""
    with pytest.raises(Refusal, match="not plain LoRA"):
        merge_adapters(spoiled(adapted, tmp_path / "adapter", **settings), tmp_path / "merged")


def test_merge_refuses_a_stranger(adapted: Checkpoint, tmp_path: Path) -> None:
    """An adapter of another model is told by the weight that does not fit."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=64
    )
    Qwen2ForCausalLM(config).save_pretrained(tmp_path / "other")
    with pytest.raises(Refusal, match=r"it adapts model\.layers\.\S+ of shape"):
        merge_adapters(replace(adapted, base=tmp_path / "other"), tmp_path / "merged")
