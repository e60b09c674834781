"""How a convolutional network is laid out and fused: channels last, batch norm with the ReLU and the sum behind it.

``torch.channels_last``, MXNet's and TensorFlow's NHWC: tensor cores read images that way, so that nothing has to be
converted. cuDNN's fused batch norm (CUDNN_BATCHNORM_OPS_BN_ACTIVATION and BN_ADD_ACTIVATION, channels-last half
precision) adds the residual and applies the ReLU on the way: the residual is read once more, the rest costs no traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from simdml.workload.model import Layer, Model
from simdml.workload.operators import Family, Operator


def channels_last(model: Model) -> Model:
    """Return ``model`` with its images laid out with channels last."""

    def converted(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
        return tuple(replace(each, layout="nhwc") if each.layout else each for each in operators)

    return _with_layers(
        model,
        lambda layers: (
            replace(each, forward=converted(each.forward), backward=converted(each.backward)) for each in layers
        ),
    )


def fused_batch_norm(model: Model) -> Model:
    """Return ``model`` with every ReLU behind a batch norm, and the residual's sum between them, in one kernel."""
    return _with_layers(model, _fused)


def _with_layers(model: Model, change: Callable[[Iterator[Layer]], Iterator[Layer]]) -> Model:
    blocks = tuple(replace(block, layers=tuple(change(iter(block.layers)))) for block in model.blocks)
    return replace(model, blocks=blocks)


def _fused(layers: Iterator[Layer]) -> Iterator[Layer]:
    """Yield the layers; elementwise ones that follow a batch norm directly keep what they read beside its output."""
    follows = False
    for layer in layers:
        if follows and _is_elementwise(layer):
            yield replace(
                layer, forward=tuple(map(_beside, layer.forward)), backward=tuple(map(_beside, layer.backward))
            )
            continue
        follows = any(each.family is Family.NORMALIZATION and each.layout for each in layer.forward)
        yield layer


def _is_elementwise(layer: Layer) -> bool:
    return bool(layer.forward) and all(each.family is Family.ELEMENTWISE for each in layer.forward)


def _beside(operator: Operator) -> Operator:
    """Return what is left of an elementwise kernel: what it reads more than the map it works on, in no launch.

    A ReLU reads one map and writes one, a sum reads two; in backward the ReLU's mask is read for its output.
    """
    return replace(operator, read_bytes=operator.read_bytes - operator.written_bytes, written_bytes=0.0, launches=0)
