"""FP8 training as TransformerEngine does it: products of transformer blocks on 8-bit operands, everything else in bf16.

Inputs and output gradients of every linear layer, those of experts among them (te.GroupedLinear), are quantized on the
way into its products, to a copy and a transposed copy, because Hopper's FP8 products want both operands in one layout
(TransformerEngine, fp8_gemm and cast_transpose kernels; Micikevicius et al., arXiv 2209.05433: E4M3 forward, E5M2 for
gradients). Weights are quantized once a step, which is left out: it takes as long as a tenth of the optimizer's step.
Embedding and output layer stay in bf16, as does the router (Megatron-LM, megatron/core/transformer/moe/router.py;
DeepSeek-V3, arXiv 2412.19437, section 3.3.1). For backward a linear layer keeps its input in 8 bits, transposed, and
for all micro-batches of a step both copies of its weight beside the bf16 one (TransformerEngine 1.x as recalled,
transformer_engine/pytorch/module/linear.py: inputmat_t, and the workspace of is_first_microbatch).
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from math import prod

from simdml.workload.attention import ATTENTION_OUTPUT
from simdml.workload.experts import ROUTER
from simdml.workload.model import Block, Layer, Model
from simdml.workload.operators import Family, Operator, Phase, Split, memory_bound

_HALF, COPIES = 2, 2
"""Bytes of an element before quantization, and of its two 8-bit copies."""


def with_fp8(model: Model) -> Model:
    """Return ``model`` with 8-bit products in the blocks that repeat; blocks stay shared."""
    converted: dict[int, Block] = {}
    for block in model.blocks:
        if id(block) not in converted:
            alive = not any(each.bulky for layer in block.layers for each in layer.activations)
            layers = (layer if layer.name == ROUTER else _quantizing(layer, alive) for layer in block.layers)
            converted[id(block)] = replace(block, layers=tuple(layers)) if block.stacked else block
    return replace(model, blocks=tuple(converted[id(block)] for block in model.blocks))


def products_in_8_bits(layer: Layer) -> bool:
    """Return whether a layer's products with its weights are on 8-bit operands."""
    return any(
        operator.element_bytes == 1 and operator.family in {Family.MATMUL, Family.BATCHED_MATMUL}
        for operator in layer.forward
    )


def _quantizing(layer: Layer, output_alive: bool) -> Layer:
    """Return ``layer`` on 8-bit operands; ``output_alive`` says that attention keeps its output in bf16 by itself."""
    products = {Family.MATMUL} | ({Family.BATCHED_MATMUL} if layer.experts else set())
    forward, backward = (tuple(_quantized(each, products)) for each in (layer.forward, layer.backward))
    quantized = replace(layer, forward=forward, backward=backward)
    if not products_in_8_bits(quantized):
        return quantized
    kept = 3 / 2 if output_alive and layer.name == ATTENTION_OUTPUT else 1 / 2
    activations = tuple(replace(a, bytes=kept * a.bytes) if a.name == "input" else a for a in layer.activations)
    return replace(quantized, activations=activations)


def _quantized(operators: tuple[Operator, ...], products: Container[Family]) -> Iterator[Operator]:
    for operator in operators:
        if operator.family not in products or not operator.shape:
            yield operator
            continue
        # A weight gradient reads what was quantized for the two products before it.
        if operator.phase is not Phase.WEIGHT_GRADIENT:
            yield _quantization(operator)
        *batch, rows, outputs, depth = operator.shape
        read = float(prod(batch) * (rows * depth + depth * outputs))
        accumulated = operator.read_bytes - operator.element_bytes * read
        yield replace(operator, read_bytes=read + accumulated, element_bytes=1)


def _quantization(operator: Operator) -> Operator:
    """Return the kernel that quantizes the left operand, whole unless tensor parallelism divides its columns."""
    *batch, rows, _, depth = operator.shape
    elements = prod(batch) * rows * depth
    return memory_bound(
        f"{operator.name} quantized",
        Family.ELEMENTWISE,
        read_bytes=float(_HALF * elements),
        written_bytes=float(COPIES * elements),
        element_bytes=_HALF,
        phase=operator.phase,
        split=Split.BATCH if operator.split is Split.K else None,
    )
