"""Layers computed with less memory: the same values and gradients as PEFT's and TRL's own way."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from alignment.locations import INSTALLATION
from alignment.training.fit import decoder_layers, recompute
from alignment.training.fused import fuse, without_padding_mask
from alignment.training.joined_pairs import answer_logps, join

pytestmark = pytest.mark.model


def base_model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(INSTALLATION / "microworld" / "weights", dtype=torch.float32)


def adapted(model: Any) -> Any:
    """Puts an adapter on a model that changes what it computes."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.train()


def batch() -> dict[str, Any]:
    """Six rows, three of them padded on the right."""
    torch.manual_seed(1)
    ids, mask = torch.randint(5, 2000, (6, 40)), torch.ones(6, 40, dtype=torch.long)
    mask[:3, 30:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "use_cache": False}


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(one: Any, other: Any, tolerance: float = 1e-5) -> None:
    expected, found = gradients(one), gradients(other)
    assert expected.keys() == found.keys()
    assert expected
    for name, gradient in expected.items():
        assert (gradient - found[name]).norm() <= tolerance * gradient.norm(), name


def test_fused_layers_compute_as_pefts() -> None:
    """Loss and every gradient are PEFT's up to rounding, without the padding's mask too."""
    plain = adapted(base_model())
    fused = copy.deepcopy(plain)
    assert fuse(fused) == 6 * 7
    without_padding_mask(fused)
    losses = [model(**batch()).loss for model in (plain, fused)]
    for loss in losses:
        loss.backward()
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    assert_same_gradients(plain, fused)


def test_fused_layers_without_their_adapter_are_the_base() -> None:
    """With the adapter switched off, as for DPO's reference, nothing of it is left."""
    expected = base_model()(**batch()).logits
    fused = adapted(base_model())
    fuse(fused)
    with torch.no_grad(), fused.disable_adapter():
        assert torch.allclose(fused(**batch()).logits, expected, atol=1e-4)
    assert not torch.allclose(fused(**batch()).logits, expected, atol=1e-4)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_fused_layers_unpack_four_bit_weights() -> None:
    """On weights packed as NF4 with double quantization the gradients are those on the same weights unpacked."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit, Params4bit

    packed = base_model()
    for layer in packed.model.layers:
        for parent, name in ((layer.self_attn, "q_proj"), (layer.mlp, "gate_proj"), (layer.mlp, "down_proj")):
            linear = getattr(parent, name)
            four = Linear4bit(linear.in_features, linear.out_features, linear.bias is not None, torch.float32)
            four.load_state_dict(linear.state_dict(), strict=False)
            four.weight = Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4").to("cpu")
            setattr(parent, name, four)
    unpacked = copy.deepcopy(packed)
    for layer in unpacked.model.layers:
        for parent, name in ((layer.self_attn, "q_proj"), (layer.mlp, "gate_proj"), (layer.mlp, "down_proj")):
            four = getattr(parent, name)
            linear = torch.nn.Linear(four.in_features, four.out_features, four.bias is not None)
            linear.weight.data = dequantize_4bit(four.weight.data, four.weight.quant_state)
            if four.bias is not None:
                linear.bias.data = four.bias.data
            setattr(parent, name, linear)
    models = [adapted(packed), adapted(unpacked)]
    fuse(models[0])
    for model in models:
        model(**batch()).loss.backward()
    assert_same_gradients(models[1], models[0], 1e-4)


def test_recomputed_layers_run_twice() -> None:
    """The first layers' forward passes run again in the backward pass, the others' once; the gradients stay."""
    plain = adapted(base_model())
    recomputed = copy.deepcopy(plain)
    layers = decoder_layers(recomputed)
    runs = [0] * len(layers)
    for index, layer in enumerate(layers):
        layer.mlp.register_forward_pre_hook(lambda *_, index=index: runs.__setitem__(index, runs[index] + 1))
    recompute(layers, 2)
    for model in (plain, recomputed):
        model(**batch()).loss.backward()
    assert runs == [2, 2, 1, 1, 1, 1]
    assert_same_gradients(plain, recomputed)
    recompute(layers, 0)
    recomputed(**batch()).loss.backward()
    assert runs == [3, 3, 2, 2, 2, 2]


def pairs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three pairs of other lengths as TRL lays them out: (2B, T) ids, mask of the answers, mask of the padding."""
    torch.manual_seed(2)
    prompts, chosen, rejected = (5, 9, 3), (4, 2, 7), (6, 1, 3)
    ids, answers, seen = torch.zeros(3, 6, 11, dtype=torch.long).unbind()
    for pair, length in enumerate(prompts):
        prompt = torch.randint(5, 2000, (length,))
        for row, answer in ((pair, chosen[pair]), (pair + 3, rejected[pair])):
            ids[row, :length] = prompt
            ids[row, length : length + answer] = torch.randint(5, 2000, (answer,))
            answers[row, length : length + answer] = 1
            seen[row, : length + answer] = 1
    return ids, answers, seen


def test_joined_pairs_score_as_two_rows() -> None:
    """Each answer token's log-probability, and each gradient, is that of the answer behind its own copy of the prompt."""
    ids, answers, seen = pairs()
    apart, joined = base_model(), base_model()
    logits = apart(input_ids=ids, attention_mask=seen).logits[:, :-1]
    expected = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0] * answers[:, 1:]
    found = answer_logps(joined, ids, answers)
    assert torch.allclose(found, expected, atol=1e-4)
    for value in (expected, found):
        value[:3].sum().sub(value[3:].sum()).backward()
    assert_same_gradients(apart, joined, 1e-4)


def test_joined_pairs_hold_a_prompt_once() -> None:
    """A joined row is as long as the prompt and both answers, and an answer's tokens stand where they stood."""
    ids, answers, _ = pairs()
    joined = join(ids, answers)
    assert joined.ids.shape == (3, 15)  # 5 + 4 + 6
    assert joined.positions[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 9, 10]
    assert not joined.visible[0, 0, 9, 5:9].any()  # the rejected answer does not see the chosen one
    assert joined.visible[0, 0, 9, :5].all()
