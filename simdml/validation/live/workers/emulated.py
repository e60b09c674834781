"""Layers whose compute is a sleep: an accelerator that does not compete for the cores the ranks share.

Forward and backward sleep; backward hands the parameters gradients of their size, so that reducers, buckets and
servers do with them what they do with real ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from simdml.validation.live.jobs import LiveLayer


class _Emulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: EmulatedLayer, *parameters: torch.Tensor) -> torch.Tensor:
        del parameters
        ctx.layer = layer
        time.sleep(layer.forward_s)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        time.sleep(ctx.layer.backward_s)
        return gradients[0], None, *ctx.layer.gradients()


class EmulatedLayer(torch.nn.Module):
    """A layer with parameters of so many elements each; ``speed`` divides its seconds."""

    def __init__(self, layer: LiveLayer, speed: float = 1.0) -> None:
        super().__init__()
        self.forward_s = layer.forward_s / speed
        self.backward_s = layer.backward_s / speed
        self.weights = torch.nn.ParameterList(torch.zeros(elements) for elements in layer.parameters)
        self._gradients: list[torch.Tensor] = []

    def gradients(self) -> list[torch.Tensor]:
        """Return a gradient of each parameter's size, where the parameter is; not a buffer, which DDP would send."""
        if not self._gradients:
            self._gradients = [torch.full_like(weight, 1e-3, requires_grad=False) for weight in self.weights]
        return self._gradients

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` after the layer's time."""
        result: torch.Tensor = _Emulated.apply(x, self, *self.weights)  # type: ignore[no-untyped-call]
        return result


def emulated_model(layers: Sequence[LiveLayer], speed: float = 1.0) -> torch.nn.Sequential:
    """Return the layers one after another."""
    return torch.nn.Sequential(*(EmulatedLayer(layer, speed) for layer in layers))
