"""Layer norm and RMS norm."""

from __future__ import annotations

from simdml.workload.architecture import Norm
from simdml.workload.microbatch import Microbatch
from simdml.workload.model import Activation, Layer, Parameter
from simdml.workload.operators import Family, Operator, Phase


def norm_layer(
    batch: Microbatch,
    name: str,
    kind: Norm,
    *,
    rows: int,
    hidden: int,
    bias: bool,
    joins_residual: bool = False,
) -> Layer:
    """Return a norm over ``hidden`` of ``rows`` rows.

    Layer norm is one kernel in eager PyTorch too; RMS norm without fused kernels is the chain of elementwise
    kernels in fp32 that Llama implementations write. The mean and variance kept a row are not counted (as
    in Korthikanti et al., arXiv 2205.05198). ``joins_residual`` adds the kernel that sums the gradient of the
    norm's input with that of the residual path.
    """
    elements = rows * hidden
    composite = kind == Norm.RMS and not (batch.fused_elementwise or batch.fused_norm)
    parameters = (Parameter("weight", hidden), *((Parameter("bias", hidden),) if bias else ()))
    forward, backward = _composite_rms(batch, elements) if composite else _fused(batch, elements, hidden)
    accumulation = batch.accumulate("norm_accumulate", len(parameters) * hidden, tensors=len(parameters))
    joined = (residual_gradient(batch, elements),) if joins_residual else ()
    return Layer(
        name=name,
        forward=(forward,),
        backward=(*backward, *accumulation, *joined),
        parameters=parameters,
        activations=_kept(batch, elements, composite),
    )


def residual_gradient(batch: Microbatch, elements: int) -> Operator:
    """Return the kernel that sums two gradients of a tensor used by a layer and by its residual path."""
    return batch.kernel("add_residual_gradient", 2 * elements, elements, phase=Phase.INPUT_GRADIENT)


def _fused(batch: Microbatch, elements: int, hidden: int) -> tuple[Operator, tuple[Operator, ...]]:
    forward = batch.kernel("norm", elements, elements, family=Family.NORMALIZATION)
    weight = batch.kernel(
        "norm_weight_gradient",
        2 * elements,
        2 * hidden,
        family=Family.NORMALIZATION,
        phase=Phase.WEIGHT_GRADIENT,
        launches=2,
    )
    data = batch.kernel(
        "norm_input_gradient",
        2 * elements,
        elements,
        family=Family.NORMALIZATION,
        phase=Phase.INPUT_GRADIENT,
    )
    return forward, (weight, data)


def _composite_rms(batch: Microbatch, elements: int) -> tuple[Operator, tuple[Operator, ...]]:
    """Sum the traffic of to-fp32, square, mean, scale, cast and weigh, and of their gradients.

    fp32 bytes an element, read+written, forward: cast 0+4, square 4+4, mean 4, scale 4+4, cast 4. Backward: cast
    0+4, scale 4+4, product with the input 8+4, its sum 4, mean 0+4, square 4+4, 4+4 and 8+4, sum of both paths
    8+4, cast 4.
    """
    forward = batch.kernel(
        "rms_norm",
        2 * elements,
        2 * elements,
        family=Family.ELEMENTWISE,
        launches=8,
        extra_read_bytes=16 * elements,
        extra_written_bytes=12 * elements,
    )
    weight = batch.kernel("rms_norm_weight_gradient", 3 * elements, elements, phase=Phase.WEIGHT_GRADIENT, launches=2)
    data = batch.kernel(
        "rms_norm_input_gradient",
        2 * elements,
        2 * elements,
        phase=Phase.INPUT_GRADIENT,
        launches=14,
        extra_read_bytes=44 * elements,
        extra_written_bytes=32 * elements,
    )
    return forward, (weight, data)


def _kept(batch: Microbatch, elements: int, composite: bool) -> tuple[Activation, ...]:
    if not composite:
        return (batch.kept("input", elements),)
    copies = (Activation("input_fp32", 4.0 * elements), batch.kept("normalized", elements))
    return (batch.kept("input", elements), *copies) if batch.norm_keeps_input else copies
