"""torch.autocast: fp32 weights, converted to half precision in forward and their gradients back in backward.

Weights of matmuls and convolutions are converted once a forward and kept until backward is over (at::autocast's weight
cache, aten/src/ATen/autocast_mode.cpp); those of norms and biases inside kernels are not.
"""

from __future__ import annotations

from dataclasses import replace

from simdml.workload.model import Block, Layer, Model, Parameter
from simdml.workload.operators import Family, Operator, Phase, Split, memory_bound


def with_autocast(model: Model) -> Model:
    """Return ``model`` with the kernels that convert weights and their gradients; blocks stay shared."""
    converted: dict[int, Block] = {}
    for block in model.blocks:
        if id(block) not in converted:
            converted[id(block)] = replace(block, layers=tuple(_converting(layer) for layer in block.layers))
    return replace(model, blocks=tuple(converted[id(block)] for block in model.blocks))


def _converting(layer: Layer) -> Layer:
    matrices = [parameter for parameter in layer.parameters if parameter.rows]
    if not matrices or not layer.forward or layer.forward[0].family is Family.EMBEDDING:
        return layer
    forward = tuple(_conversion(layer, matrix, Phase.FORWARD, (4, 2)) for matrix in matrices)
    backward = tuple(_conversion(layer, matrix, Phase.WEIGHT_GRADIENT, (2, 4)) for matrix in matrices)
    return replace(layer, forward=(*forward, *layer.forward), backward=(*layer.backward, *backward))


def _conversion(layer: Layer, matrix: Parameter, phase: Phase, sizes: tuple[int, int]) -> Operator:
    read, written = sizes
    return memory_bound(
        f"{layer.name}.{matrix.name} converted",
        Family.COPY,
        read_bytes=float(read * matrix.elements),
        written_bytes=float(written * matrix.elements),
        element_bytes=2,
        phase=phase,
        split=Split.BATCH if matrix.split else None,
    )
