"""The adapted layers of a decoder, computed with fewer passes over memory and fewer saved activations than PEFT's own.

The same function and the same gradients; what changes is who keeps what for the backward pass:
1. A projection with its adapter keeps its input alone. PEFT's writes the adapter's output, scales it, adds it and copies
   the base's result, each a pass over tokens × width; here the adapter is accumulated into the base's product.
2. A gated feed-forward block keeps its input and the two halves before the gate; the gated product, as wide as they are,
   is made again in the backward pass by one multiplication.
3. Root-mean-square norms run as torch's one kernel instead of six.
4. Rows that are padded on the right need no mask under causal attention: no real token looks at what comes after it.

4-bit weights are unpacked for one product and dropped. QLoRA: Dettmers et al. 2023, arXiv 2305.14314.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

# Norms that multiply by their weight after rounding to the input's format, as torch's kernel does up to that rounding.
PLAIN_NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"}


class Adapted(NamedTuple):
    """A frozen linear layer (out, in) and the adapter on it: W + scale × B A, with A (r, in) and B (out, r).

    A and B are None where the adapter is switched off: DPO's reference is computed as the model is, so that a first
    reward margin is 0 and not the difference between two kernels.
    """

    base: Any
    a: Any
    b: Any
    scale: float


def fuse(model: Any) -> int:
    """Lets the adapted layers of a PEFT model compute by this module's functions while it is trained, in place.

    Where it answers a probe it computes in PEFT's way: for one token after the other there are kernels that multiply by
    packed weights.

    Args:
        model: a PEFT model; its state dict, its adapters and the way it is saved stay as they are.

    Returns:
        The number of projections that are computed so; those with dropout or a LoRA variant keep PEFT's way.
    """
    from peft.tuners.lora import LoraLayer

    fused = 0
    for module in list(model.modules()):
        if _is_gated(module):
            module.forward = partial(_gated_forward, module, module.forward)
        elif isinstance(module, LoraLayer):
            module.forward = partial(_projection_forward, module, module.forward)
            fused += 1
        elif type(module).__name__ in PLAIN_NORMS:
            module.forward = partial(_norm_forward, module)
    return fused


def without_padding_mask(model: Any) -> None:
    """Drops the attention mask of batches in training, whose rows must be padded on the right."""

    def drop(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask = kwargs.get("attention_mask")
        if not module.training or mask is None or mask.dim() != 2:
            return None
        return args, {**kwargs, "attention_mask": None}

    model.get_base_model().base_model.register_forward_pre_hook(drop, with_kwargs=True)


def _projection_forward(module: Any, original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    adapted = _adapted(module) if module.training else None
    if adapted is None or args or kwargs:
        return original(x, *args, **kwargs)
    projection, _ = _functions()
    return projection.apply(_in_compute_type(x), adapted.a, adapted.b, adapted)


def _gated_forward(module: Any, original: Callable[..., Any], x: Any) -> Any:
    layers = [_adapted(getattr(module, name)) for name in ("gate_proj", "up_proj", "down_proj")]
    if None in layers or not module.training:
        return original(x)
    _, block = _functions()
    return block.apply(_in_compute_type(x), *(matrix for layer in layers if layer for matrix in layer[1:3]), layers)


def _norm_forward(module: Any, x: Any) -> Any:
    import torch

    with torch.autocast(x.device.type, enabled=False):  # it would widen the result to 32 bits
        return torch.nn.functional.rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), module.variance_epsilon)


def _is_gated(module: Any) -> bool:
    """Tells whether a module computes down(silu(gate(x)) × up(x)) with adapters on all three."""
    from peft.tuners.lora import LoraLayer

    names = ("gate_proj", "up_proj", "down_proj")
    activation = type(getattr(module, "act_fn", None)).__name__
    return activation in {"SiLU", "SiLUActivation"} and all(
        isinstance(getattr(module, name, None), LoraLayer) for name in names
    )


def _adapted(module: Any) -> Adapted | None:
    """Reads the adapter that is active on a layer; None where PEFT has to compute it."""
    import torch

    if module.merged:
        return None
    if module.disable_adapters:
        return None if torch.is_grad_enabled() else Adapted(module.base_layer, None, None, 0.0)
    if len(module.active_adapters) != 1:
        return None
    name = module.active_adapters[0]
    if name not in module.lora_A or name in module.lora_variant or module.lora_bias[name]:
        return None
    if not isinstance(module.lora_dropout[name], torch.nn.Identity):
        return None
    return Adapted(module.base_layer, module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])


def _in_compute_type(x: Any) -> Any:
    import torch

    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _dense(base: Any, dtype: Any) -> Any:
    """Gives a frozen layer's weight (out, in), unpacked where it is stored in 4 bits."""
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        return base.weight.to(dtype)
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(base.weight.data, state).to(dtype)


def _product(x: Any, layer: Adapted) -> Any:
    """Computes x (n, in) through an adapted layer: (n, out)."""
    import torch

    bias = None if layer.base.bias is None else layer.base.bias.to(x.dtype)
    y = torch.nn.functional.linear(x, _dense(layer.base, x.dtype), bias)
    if layer.a is None:
        return y
    return y.addmm_(x @ layer.a.to(x.dtype).t(), layer.b.to(x.dtype).t(), alpha=layer.scale)


def _adapter_gradients(grad: Any, x: Any, layer: Adapted) -> tuple[Any, Any, Any]:
    """Computes the gradients of A and B, and `grad` (n, out) taken back through B: (n, r)."""
    a, b = layer.a.to(x.dtype), layer.b.to(x.dtype)
    through_b = (grad @ b).mul_(layer.scale)
    grad_b = (grad.t() @ (x @ a.t())).mul_(layer.scale)
    return (through_b.t() @ x).to(layer.a.dtype), grad_b.to(layer.b.dtype), through_b


def _input_gradient(grad: Any, through_b: Any, layer: Adapted, onto: Any = None) -> Any:
    """Computes the gradient of a layer's input (n, in), added to `onto` where it is given."""
    weight = _dense(layer.base, grad.dtype)
    found = grad @ weight if onto is None else onto.addmm_(grad, weight)
    return found.addmm_(through_b, layer.a.to(grad.dtype))


@cache
def _functions() -> tuple[Any, Any]:
    """Makes the two autograd functions: an adapted projection, and a gated feed-forward block of three."""
    import torch

    class Projection(torch.autograd.Function):  # type: ignore[misc]
        """y = x Wᵀ + b + s (x Aᵀ) Bᵀ."""

        @staticmethod
        def forward(ctx: Any, x: Any, a: Any, b: Any, layer: Adapted) -> Any:
            ctx.save_for_backward(x, a, b)
            ctx.layer = layer
            return _product(x.flatten(0, -2), layer).unflatten(0, x.shape[:-1])

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            x, a, b = ctx.saved_tensors
            layer = ctx.layer._replace(a=a, b=b)
            flat = grad.flatten(0, -2)
            grad_a, grad_b, through_b = _adapter_gradients(flat, x.flatten(0, -2), layer)
            grad_x = _input_gradient(flat, through_b, layer).view(x.shape) if ctx.needs_input_grad[0] else None
            return grad_x, grad_a, grad_b, None

    class Gated(torch.autograd.Function):  # type: ignore[misc]
        """y = down(silu(gate(x)) × up(x)); SwiGLU, Shazeer 2020, arXiv 2002.05202."""

        @staticmethod
        def forward(ctx: Any, x: Any, *rest: Any) -> Any:
            *matrices, (gate, up, down) = rest
            flat = x.flatten(0, -2)  # (n, hidden)
            g, u = _product(flat, gate), _product(flat, up)  # (n, ffn)
            ctx.save_for_backward(x, g, u, *matrices)
            ctx.layers = (gate, up, down)
            return _product(torch.nn.functional.silu(g).mul_(u), down).unflatten(0, x.shape[:-1])

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            x, g, u, *m = ctx.saved_tensors
            gate, up, down = (layer._replace(a=m[2 * i], b=m[2 * i + 1]) for i, layer in enumerate(ctx.layers))
            flat, grad = x.flatten(0, -2), grad.flatten(0, -2)
            silu = torch.nn.functional.silu(g)
            down_a, down_b, through_b = _adapter_gradients(grad, silu * u, down)
            grad_h = _input_gradient(grad, through_b, down)  # (n, ffn)
            grad_g = torch.ops.aten.silu_backward(grad_h * u, g)
            grad_u = grad_h.mul_(silu)
            gate_a, gate_b, through_gate = _adapter_gradients(grad_g, flat, gate)
            up_a, up_b, through_up = _adapter_gradients(grad_u, flat, up)
            grad_x = None
            if ctx.needs_input_grad[0]:
                grad_x = _input_gradient(grad_g, through_gate, gate)
                grad_x = _input_gradient(grad_u, through_up, up, onto=grad_x).view(x.shape)
            return grad_x, gate_a, gate_b, up_a, up_b, down_a, down_b, None

    return Projection, Gated
