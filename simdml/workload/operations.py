"""A kernel for every operation of a graph that nothing fuses: BERT as TensorFlow 1 runs it without XLA.

What is one kernel in PyTorch is a chain in TensorFlow 1: GELU, layer norm and dropout are written in elementary
operations (google-research/bert, modeling.py; tf.contrib.layers.layer_norm over tf.nn.moments and
tf.nn.batch_normalization; tf.nn.dropout), differentiated one by one (tensorflow/python/ops: math_grad.py, nn_grad.py),
and the gradients of a tensor with several uses are added up by AddN. Counted here are the elements that each chain
reads and writes, a tensor of the operator's size being 1; tensors of a row or a column alone are left out, and so are
their kernels.

In half precision, as TensorFlow rewrites the graph (tensorflow/core/grappler/optimizers/auto_mixed_precision_lists.h),
Mean, Sum and Pow stay in fp32, and so does what follows them up to the next product: GELU, layer norm, the sums of
residuals, and the gradients of softmax and of dropout, but not those of the dropout of probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from simdml.workload.model import Block, Layer, Model
from simdml.workload.operators import Family, Operator, Phase


@dataclass(frozen=True, slots=True)
class Chain:
    """Elements that a chain of ``kernels`` reads and writes, each a tensor of the operator's size.

    Masks of a byte an element are quarters of fp32 ones. ``full`` says whether it stays in fp32 among half precision.
    """

    read: float
    written: float
    kernels: int
    full: bool = False


_NOTHING: Final = Chain(0.0, 0.0, 0)

# forward: pow, multiply, add x, multiply, tanh, add, multiply, multiply x; backward: two products, multiply, tanh's
# gradient, multiply twice, pow's gradient (pow, two products), sum of three paths
_GELU = Chain(10, 8, 8, full=True)
_GELU_GRADIENT = Chain(16, 10, 10, full=True)

# forward: mean, squared difference, mean, scale x deviation, x times that, mean times that, subtract, add
_NORM = Chain(9, 6, 8, full=True)
# backward: of x by the scale, of the scale by x, sum of beta, negate, product and its sum by rows, product with the
# mean, sum of two paths, product and its sum by rows, product and its sum by columns, tile and divide, subtract,
# double, product, tile and divide, sum of three paths
_NORM_GRADIENT = Chain(25, 16, 20, full=True)

# forward: random numbers, comparison (a byte each), scale, cast of the mask, product; backward: product, scale
_DROPOUT = Chain(3.5, 4.25, 5)
_DROPOUT_GRADIENT = Chain(3, 2, 2)
_SUM = Chain(2, 1, 1, full=True)

# product, its sum by rows, subtract, product
_SOFTMAX_GRADIENT = Chain(6, 3, 4, full=True)

# log-softmax, one-hot labels, product with them, sum; of the product, exponential, its product, sum, subtract
_LOSS = Chain(5, 3, 5)
_LOSS_GRADIENT = Chain(7, 4, 5)

_CHAINS: Final[Mapping[str, Chain]] = {
    "activation": _GELU,
    "activation_gradient": _GELU_GRADIENT,
    "transform_activation": _GELU,
    "transform_activation_gradient": _GELU_GRADIENT,
    "norm": _NORM,
    "norm_input_gradient": _NORM_GRADIENT,
    "norm_weight_gradient": _NOTHING,  # sums in the chain above
    "dropout": _DROPOUT,
    "dropout_gradient": replace(_DROPOUT_GRADIENT, full=True),
    "add_residual": _SUM,
    "add_residual_gradient": _SUM,
    "attention_dropout": _DROPOUT,
    "attention_dropout_gradient": _DROPOUT_GRADIENT,
    "softmax_gradient": _SOFTMAX_GRADIENT,
    "mask_gradient": _NOTHING,  # the mask is added, and passes gradients on
    "loss": _LOSS,
    "loss_gradient": _LOSS_GRADIENT,
}
"""By the name of the operator that is one kernel elsewhere."""


def with_operations(model: Model) -> Model:
    """Return ``model`` with a kernel for every operation; blocks stay shared."""
    unfused: dict[int, Block] = {}
    for block in model.blocks:
        if id(block) not in unfused:
            unfused[id(block)] = replace(block, layers=tuple(_unfused(layer) for layer in block.layers))
    return replace(model, blocks=tuple(unfused[id(block)] for block in model.blocks))


def _unfused(layer: Layer) -> Layer:
    has_bias = any(parameter.name.endswith("bias") for parameter in layer.parameters)
    forward = (each for operator in layer.forward for each in _operations(operator, has_bias=has_bias))
    backward = (each for operator in layer.backward for each in _operations(operator, has_bias=False))
    return replace(layer, forward=tuple(forward), backward=tuple(backward))


def _operations(operator: Operator, *, has_bias: bool) -> Iterator[Operator]:
    """Yield the chain that ``operator`` is, or itself; and the sum of the bias (BiasAdd) behind a product."""
    chain = _CHAINS.get(operator.name)
    if chain is None:
        yield operator
        if has_bias and operator.family is Family.MATMUL:
            yield _bias(operator)
    elif chain.kernels:
        yield _chained(operator, chain)


def _bias(product: Operator) -> Operator:
    return replace(
        product,
        name=f"{product.name}_bias",
        family=Family.ELEMENTWISE,
        flops=0.0,
        read_bytes=product.written_bytes,
        shape=(),
    )


def _chained(operator: Operator, chain: Chain) -> Operator:
    """Return ``operator`` with the traffic of ``chain``, between casts where that stays in fp32.

    The smaller of what it read and wrote was one tensor; a loss is of fp32 in any case.
    """
    tensor_bytes = min(operator.read_bytes, operator.written_bytes)
    wider = 4 / operator.element_bytes if chain.full else 1.0
    casts = 1 if wider > 1.0 else 0
    inputs = casts * (1 if operator.phase is Phase.FORWARD else 2)
    return replace(
        operator,
        family=Family.LOSS if operator.family is Family.LOSS else Family.ELEMENTWISE,
        read_bytes=tensor_bytes * (chain.read * wider + inputs + casts * wider),
        written_bytes=tensor_bytes * (chain.written * wider + inputs * wider + casts),
        launches=chain.kernels + inputs + casts,
    )
