"""Layers of frameworks with tensors so small that running them takes what the host needs, and hardly anything else.

``megatron`` is a layer as Megatron-LM runs it since 2020 (megatron/model/transformer.py, fused_*.py, mpu/layers.py,
mpu/random.py, model/distributed.py): modules in modules, fused kernels behind functions with a backward of their own in
Python, dropout under a tracker of random states, a Python hook for every weight gradient. What is one fused kernel on a
GPU is one operation here. ``pytorch`` is the same layer of plain modules, ``compiled`` that one under torch.compile,
every layer by itself, and ``modules`` a row of the smallest modules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN, HEADS, TOKENS = 16, 2, 4
DROPOUT = 0.1


class RandomStates:
    """A stand-in for the tracker of CUDA random states: two are read and two are set whenever one is borrowed."""

    def __init__(self) -> None:
        self.states = {"model-parallel": torch.get_rng_state()}

    @contextmanager
    def fork(self) -> Iterator[None]:
        """Run with the state of the model-parallel region."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self.states["model-parallel"])
        try:
            yield
        finally:
            self.states["model-parallel"] = torch.get_rng_state()
            torch.set_rng_state(outside)

    def all(self) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the state of the host's generator, the device's, and the tracker's."""
        return torch.get_rng_state(), torch.get_rng_state(), dict(self.states)

    def restore(self, states: tuple[Tensor, Tensor, dict[str, Tensor]]) -> None:
        """Set all of them."""
        torch.set_rng_state(states[0])
        torch.set_rng_state(states[1])
        self.states = states[2]


TRACKER = RandomStates()


class Region(torch.autograd.Function):
    """Where a tensor-parallel region begins or ends; its all-reduces are not in it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        """Pass through."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        """Pass through."""
        return gradient


class FusedNorm(torch.autograd.Function):
    """Layer norm behind a Python function, as apex has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Normalise."""
        y, mean, scale = torch.native_layer_norm(x.contiguous(), [HIDDEN], weight, bias, 1e-5)
        ctx.save_for_backward(x, weight, bias, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of input, weight and bias."""
        x, weight, bias, mean, scale = ctx.saved_tensors
        out: tuple[Tensor, ...] = torch.ops.aten.native_layer_norm_backward(
            gradient.contiguous(), x, [HIDDEN], mean, scale, weight, bias, [True, True, True]
        )
        return out


class FusedSoftmax(torch.autograd.Function):
    """Scale, mask and softmax in one kernel."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        """Return probabilities."""
        ctx.save_for_backward(out := torch.softmax(scores, -1))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of the scores."""
        (out,) = ctx.saved_tensors
        found: Tensor = torch.ops.aten._softmax_backward_data(gradient, out, -1, out.dtype)
        return found


class BiasActivation(torch.autograd.Function):
    """Bias and GeLU in one kernel, which one operation stands for; so it does in ``BiasDropoutAdd``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        """Stand in for the fused kernel."""
        ctx.save_for_backward(x, bias)
        return x + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Stand in for the fused kernel, and sum the gradient of the bias."""
        x, _ = ctx.saved_tensors
        out = gradient * x
        return out, out.sum((0, 1))


class BiasDropoutAdd(torch.autograd.Function):
    """Bias, dropout and residual in one kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, residual: Tensor) -> Tensor:  # noqa: ARG004
        """Stand in for the fused kernel."""
        ctx.save_for_backward(x)
        return x + residual

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stand in for the fused kernel, and sum the gradient of the bias."""
        (x,) = ctx.saved_tensors
        out = gradient * x
        return out, out.sum((0, 1)), gradient


class MegatronNorm(nn.Module):
    """A fused layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(HIDDEN)), nn.Parameter(torch.zeros(HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return FusedNorm.apply(x, self.weight, self.bias)


class ParallelLinear(nn.Module):
    """A linear layer of a tensor-parallel region, by columns or by rows; may leave its bias to what follows."""

    def __init__(self, inputs: int, outputs: int, *, by_rows: bool, adds_bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.by_rows, self.adds_bias = by_rows, adds_bias

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply, at the beginning or the end of a region."""
        x = x if self.by_rows else Region.apply(x)
        y = functional.linear(x, self.weight)
        y = Region.apply(y) if self.by_rows else y
        return (y + self.bias if self.adds_bias else y), self.bias


class MegatronAttention(nn.Module):
    """Attention with stored scores."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = ParallelLinear(HIDDEN, 3 * HIDDEN, by_rows=False, adds_bias=True)
        self.dense = ParallelLinear(HIDDEN, HIDDEN, by_rows=True, adds_bias=False)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output without its bias, and the bias."""
        mixed, _ = self.qkv(x)
        mixed = mixed.view(*mixed.size()[:-1], HEADS, 3 * HIDDEN // HEADS)
        query, key, value = torch.split(mixed, HIDDEN // HEADS, dim=-1)
        length, batch = query.size(0), query.size(1)
        query, key, value = (part.reshape(length, batch * HEADS, -1) for part in (query, key, value))
        scores = torch.empty(batch * HEADS, length, length, dtype=query.dtype, device=query.device)
        scores = torch.baddbmm(
            scores, query.transpose(0, 1), key.transpose(0, 1).transpose(1, 2), beta=0.0, alpha=HEADS**-0.5
        )
        found = FusedSoftmax.apply(scores.view(batch, HEADS, length, length).view(-1, length, length))
        with TRACKER.fork():
            found = self.dropout(found.view(batch, HEADS, length, length))
        context = torch.bmm(found.view(batch * HEADS, length, length), value.transpose(0, 1))
        context = context.view(batch, HEADS, length, -1).permute(2, 0, 1, 3).contiguous()
        out: tuple[Tensor, Tensor] = self.dense(context.view(*context.size()[:-2], HIDDEN))
        return out


class MegatronLayer(nn.Module):
    """A transformer layer of Megatron-LM."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([MegatronNorm(), MegatronNorm()])
        self.attention = MegatronAttention()
        self.up = ParallelLinear(HIDDEN, 4 * HIDDEN, by_rows=False, adds_bias=False)
        self.down = ParallelLinear(4 * HIDDEN, HIDDEN, by_rows=True, adds_bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then transform."""
        x = BiasDropoutAdd.apply(*self.attention(self.norms[0](x)), x)
        inner = BiasActivation.apply(*self.up(self.norms[1](x)))
        return BiasDropoutAdd.apply(*self.down(inner), x)


class EagerLayer(nn.Module):
    """A transformer layer of plain modules, attention with stored scores."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)])
        self.qkv, self.dense = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.up, self.down = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)
        self.activation, self.dropout = nn.GELU(), nn.Dropout(DROPOUT)
        self.register_buffer("mask", torch.triu(torch.ones(TOKENS, TOKENS), 1).bool())

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then transform."""
        length, batch, _ = x.shape
        parts = self.qkv(self.norms[0](x)).view(length, batch, 3, HEADS, -1).permute(2, 1, 3, 0, 4)
        query, key, value = parts.unbind(0)
        scores = (query @ key.transpose(-1, -2)) * HEADS**-0.5
        scores = scores.masked_fill(self.mask, -1e4).softmax(-1)
        context = (self.dropout(scores) @ value).permute(2, 0, 1, 3).reshape(length, batch, HIDDEN)
        x = x + self.dropout(self.dense(context))
        return x + self.dropout(self.down(self.activation(self.up(self.norms[1](x)))))


class ModuleRow(nn.Module):
    """A row of small modules, such as convolutional networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        inner = [nn.Linear(HIDDEN, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True)]
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        """Run them."""
        out: Tensor = self.inner(x.view(-1, HIDDEN)).view(x.shape)
        return out


def compiled_layer() -> nn.Module:
    """Return a layer of plain modules that TorchInductor compiles when it is first run."""
    layer = EagerLayer()
    layer.compile()
    return layer


def compiled_kernels(device: torch.device) -> dict[str, int]:
    """Return how many kernels the code calls that TorchInductor writes for a layer, forward and backward."""
    from torch._inductor.utils import run_and_get_code

    layer, x = compiled_layer().to(device), torch.randn(TOKENS, 1, HIDDEN, device=device, requires_grad=True)
    _, codes = run_and_get_code(lambda: layer(x).sum().backward())
    calls = [re.findall(r"extern_kernels\.\w+\(|\bcpp_fused\w*\(|\btriton_\w+\.run\(", _body(code)) for code in codes]
    return dict(zip(("forward", "backward"), map(len, calls), strict=True))


def _body(code: str) -> str:
    return code[code.index("def call(") :]


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "megatron": MegatronLayer,
    "pytorch": EagerLayer,
    "compiled": compiled_layer,
    "modules": ModuleRow,
}


class Checkpoint(torch.autograd.Function):
    """Runs a layer without a graph, and again with one in backward, under the random states of the first time."""

    @staticmethod
    def forward(ctx: Any, layer: nn.Module, x: Tensor) -> Tensor:
        """Run the layer for its output."""
        ctx.layer, ctx.states = layer, TRACKER.all()
        with torch.no_grad():
            out: Tensor = layer(x)
        ctx.save_for_backward(x)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None]:
        """Run the layer again, and its backward."""
        (x,) = ctx.saved_tensors
        present = TRACKER.all()
        TRACKER.restore(ctx.states)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            out = ctx.layer(x)
        TRACKER.restore(present)
        torch.autograd.backward((out,), (gradient,))
        return None, x.grad


def hook_gradients(layer: nn.Module) -> None:
    """Add every weight gradient to a buffer of its own as soon as it is there, by a hook in Python."""
    for parameter in layer.parameters():
        buffer = torch.zeros_like(parameter)
        parameter.register_post_accumulate_grad_hook(_adder(buffer))


def _adder(buffer: Tensor) -> Callable[[Tensor], None]:
    def add(parameter: Tensor) -> None:
        assert parameter.grad is not None
        buffer.add_(parameter.grad)
        parameter.grad = None

    return add
