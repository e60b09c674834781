"""A linear layer and how tensor parallelism cuts it (Shoeybi et al., arXiv 1909.08053, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from simdml.workload.microbatch import Microbatch
from simdml.workload.model import Parameter
from simdml.workload.operators import Operator, Phase, Split, matmul


class Cut(Enum):
    """Which side of the weight is divided; its members hold the splits of the three matmuls and of the bias.

    For ``x (tokens, in) @ w (in, out)``, input gradient ``dy (tokens, out) @ wᵀ`` and weight gradient
    ``xᵀ (in, tokens) @ dy``. ``COLUMN`` divides ``out``: the input gradient is a partial sum. ``ROW`` divides
    ``in``: the output is a partial sum, and the bias, added once after the sum, is whole.
    """

    NONE = (None, None, None, None)
    COLUMN = (Split.N, Split.K, Split.N, Split.BATCH)
    ROW = (Split.K, Split.N, Split.M, None)


@dataclass(frozen=True, slots=True)
class Linear:
    """Operators of forward, of backward in the order they run, and parameters of a linear layer."""

    forward: tuple[Operator, ...]
    backward: tuple[Operator, ...]
    parameters: tuple[Parameter, ...]


def linear(
    batch: Microbatch,
    name: str,
    rows: int,
    inputs: int,
    outputs: int,
    *,
    cut: Cut = Cut.NONE,
    bias: bool = False,
    bias_kernel: bool = False,
    parts: tuple[tuple[str, int], ...] = (),
) -> Linear:
    """Return ``(rows, inputs) @ (inputs, outputs)``, with a bias gradient if there is a ``bias``.

    ``bias_kernel`` adds the bias in a kernel of its own; otherwise it is free (the matmul's epilogue) or part
    of the following kernel. ``parts`` names parameter tensors that share the matmul, with their outputs; eager
    PyTorch runs a matmul for each of them and sums their input gradients.
    """
    products = _products(batch, name, (rows, inputs, outputs), cut, max(len(parts), 1))
    bias_split = cut.value[3]
    added = (_add_bias(batch, name, rows * outputs, bias_split),) if bias and bias_kernel else ()
    bias_gradient = (_bias_gradient(batch, name, rows, outputs, bias_split),) if bias else ()
    parameters = _parameters(inputs, parts or (("", outputs),), cut, bias)
    return Linear(
        forward=(products[Phase.FORWARD], *added),
        backward=(
            *bias_gradient,
            products[Phase.INPUT_GRADIENT],
            *_sum_input_gradients(batch, name, rows * inputs, len(parts) - 1),
            products[Phase.WEIGHT_GRADIENT],
            *_accumulation(batch, name, parameters),
        ),
        parameters=parameters,
    )


def _products(batch: Microbatch, name: str, sizes: tuple[int, int, int], cut: Cut, parts: int) -> dict[Phase, Operator]:
    """Return the three matmuls for ``sizes`` (rows, inputs, outputs)."""
    rows, inputs, outputs = sizes
    forward_split, input_split, weight_split, _ = cut.value
    shapes = {
        Phase.FORWARD: ((rows, outputs, inputs), forward_split),
        Phase.INPUT_GRADIENT: ((rows, inputs, outputs), input_split),
        Phase.WEIGHT_GRADIENT: ((inputs, outputs, rows), weight_split),
    }
    return {
        phase: replace(
            matmul(
                name if phase is Phase.FORWARD else f"{name}_{phase}",
                *shape,
                element_bytes=batch.element_bytes,
                phase=phase,
                split=split,
                accumulate=batch.accumulates_in_matmul and phase is Phase.WEIGHT_GRADIENT,
            ),
            launches=1 if batch.fused_elementwise else parts,
        )
        for phase, (shape, split) in shapes.items()
    }


def _sum_input_gradients(batch: Microbatch, name: str, elements: int, sums: int) -> tuple[Operator, ...]:
    if sums < 1 or batch.fused_elementwise:
        return ()
    phase = Phase.INPUT_GRADIENT
    return (batch.kernel(f"{name}_sum", 2 * sums * elements, sums * elements, phase=phase, launches=sums),)


def _add_bias(batch: Microbatch, name: str, elements: int, split: Split | None) -> Operator:
    return batch.kernel(f"{name}_bias", elements, elements, split=split)


def _bias_gradient(batch: Microbatch, name: str, rows: int, outputs: int, split: Split | None) -> Operator:
    return batch.kernel(f"{name}_bias_gradient", rows * outputs, outputs, phase=Phase.WEIGHT_GRADIENT, split=split)


def _parameters(inputs: int, parts: tuple[tuple[str, int], ...], cut: Cut, bias: bool) -> tuple[Parameter, ...]:
    parameters: list[Parameter] = []
    for part, outputs in parts:
        prefix = f"{part}." if part else ""
        parameters.append(Parameter(f"{prefix}weight", inputs * outputs, split=cut is not Cut.NONE, rows=outputs))
        if bias:
            parameters.append(Parameter(f"{prefix}bias", outputs, split=cut is Cut.COLUMN))
    return tuple(parameters)


def _accumulation(batch: Microbatch, name: str, parameters: tuple[Parameter, ...]) -> tuple[Operator, ...]:
    """Kernels adding gradients to their sums, whole and divided tensors apart."""
    operators: list[Operator] = []
    for split in (True, False):
        added = [
            p
            for p in parameters
            if p.split is split and not (batch.accumulates_in_matmul and p.name.endswith("weight"))
        ]
        operators += batch.accumulate(
            f"{name}_accumulate",
            sum(p.elements for p in added),
            tensors=len(added),
            split=Split.BATCH if split else None,
        )
    return tuple(operators)
