"""Writes a convolutional network down layer by layer, following the shape of its feature maps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from simdml.errors import DocumentError, InfeasibleError
from simdml.workload.linear import linear
from simdml.workload.microbatch import AttentionKernel, GradientAccumulation, Microbatch
from simdml.workload.model import Activation, Block, Buffer, Layer, Model, Parameter, model_flops
from simdml.workload.operators import Family, Operator, Phase, convolution

IMAGE_CHANNELS = 3
POOLING_INDEX_BYTES = 8


@dataclass(slots=True, eq=False)
class FeatureMap:
    """A tensor of ``channels`` images; ``kept`` once a layer has stored it for backward."""

    channels: int
    height: int
    width: int
    needs_gradient: bool = True
    kept: bool = False

    @property
    def size(self) -> int:
        """Elements an image."""
        return self.channels * self.height * self.width


@dataclass(slots=True)
class Network:
    """Collects layers into blocks; every method adds one layer and returns the feature map it gives.

    Kernels are PyTorch eager's with cuDNN: batch norm reads its input twice (statistics, then normalise), its
    gradient reads input and output gradient twice; ReLU works in place and keeps its output, which is the input
    that the next convolution keeps too and is counted once. A cut between blocks needs ``output_bytes`` more on
    the receiving side.
    """

    batch: Microbatch
    blocks: list[Block] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)

    def images(self, size: int) -> FeatureMap:
        """Return the input images, square and RGB."""
        return FeatureMap(IMAGE_CHANNELS, size, size, needs_gradient=False)

    def end_block(self, name: str, *outputs: FeatureMap) -> None:
        """Close the block: the layers since the last one, which hands on ``outputs``."""
        output_bytes = float(sum(self._elements(x) for x in outputs) * self.batch.element_bytes)
        self.blocks.append(Block(name, tuple(self.layers), output_bytes))
        self.layers.clear()

    def convolution(
        self,
        name: str,
        x: FeatureMap,
        channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = False,
    ) -> FeatureMap:
        """Add a convolution; the first one of the network has no input gradient."""
        kernel, padding = _pair(kernel), _pair(padding)
        y = FeatureMap(channels, *_output_size(name, x, kernel, stride, padding))
        elements = self._elements(y)
        weights = x.channels * channels * math.prod(kernel)
        forward = [self._convolution(name, x, y, kernel, stride, Phase.FORWARD)]
        backward: list[Operator] = []
        if bias:
            forward.append(self.batch.kernel(f"{name}_bias", elements, elements))
            backward.append(self.batch.kernel(f"{name}_bias_gradient", elements, channels, phase=Phase.WEIGHT_GRADIENT))
        phases = (Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT) if x.needs_gradient else (Phase.WEIGHT_GRADIENT,)
        backward += [self._convolution(f"{name}_{phase}", x, y, kernel, stride, phase) for phase in phases]
        parameters = [Parameter("weight", weights, rows=channels), *([Parameter("bias", channels)] if bias else [])]
        total = sum(p.elements for p in parameters)
        backward += self.batch.accumulate(f"{name}_accumulate", total, tensors=len(parameters))
        self._add(name, forward, backward, parameters, self._keep("input", x))
        return y

    def batch_norm(self, name: str, x: FeatureMap) -> FeatureMap:
        """Add a batch norm in training mode, with scale and bias; its running statistics are fp32 buffers."""
        elements = self._elements(x)
        forward = self.batch.kernel(name, 2 * elements, elements, family=Family.NORMALIZATION)
        backward = self.batch.kernel(
            f"{name}_gradient",
            4 * elements,
            elements,
            family=Family.NORMALIZATION,
            phase=Phase.INPUT_GRADIENT,
            launches=2,
        )
        parameters = [Parameter("weight", x.channels), Parameter("bias", x.channels)]
        accumulation = self.batch.accumulate(f"{name}_accumulate", 2 * x.channels, tensors=2)
        buffers = (
            Buffer("running_mean", "fp32", 4 * x.channels),
            Buffer("running_var", "fp32", 4 * x.channels),
            Buffer("num_batches_tracked", "int64", 8),
        )
        of_images = [replace(kernel, layout="nchw") for kernel in (forward, backward)]
        self._add(name, of_images[:1], [*of_images[1:], *accumulation], parameters, self._keep("input", x), buffers)
        return FeatureMap(x.channels, x.height, x.width)

    def relu(self, name: str, x: FeatureMap) -> FeatureMap:
        """Add a ReLU in place."""
        y = FeatureMap(x.channels, x.height, x.width)
        elements = self._elements(x)
        gradient = self.batch.kernel(f"{name}_gradient", 2 * elements, elements, phase=Phase.INPUT_GRADIENT)
        self._add(name, [self.batch.kernel(name, elements, elements)], [gradient], [], self._keep("output", y))
        return y

    def add(self, name: str, x: FeatureMap, residual: FeatureMap) -> FeatureMap:
        """Add a residual add; its gradient passes on unchanged, to be summed where the two paths fork."""
        if x.size != residual.size:
            raise InfeasibleError(f"{name}: cannot add {x.size} and {residual.size} elements")
        elements = self._elements(x)
        self._add(name, [self.batch.kernel(name, 2 * elements, elements)], [], [], ())
        return FeatureMap(x.channels, x.height, x.width)

    def concatenate(self, name: str, *branches: FeatureMap) -> FeatureMap:
        """Add a concatenation over channels; its gradient is a view of each part."""
        y = FeatureMap(sum(x.channels for x in branches), branches[0].height, branches[0].width)
        elements = self._elements(y)
        self._add(name, [self.batch.kernel(name, elements, elements, family=Family.COPY)], [], [], ())
        return y

    def sum_gradients(self, name: str, x: FeatureMap, uses: int) -> None:
        """Add to backward the ``uses - 1`` kernels that sum the gradients of a map with several uses."""
        elements = self._elements(x)
        kernel = self.batch.kernel(
            name,
            2 * (uses - 1) * elements,
            (uses - 1) * elements,
            phase=Phase.INPUT_GRADIENT,
            launches=uses - 1,
        )
        self._add(name, [], [kernel], [], ())

    def max_pool(self, name: str, x: FeatureMap, kernel: int, stride: int, padding: int = 0) -> FeatureMap:
        """Add a max pooling, which keeps its input and an 8-byte index an output."""
        y = FeatureMap(x.channels, *_output_size(name, x, _pair(kernel), stride, _pair(padding)))
        index_bytes = float(POOLING_INDEX_BYTES * self._elements(y))
        kept = (*self._keep("input", x), Activation("indices", index_bytes))
        self._pooling(name, x, y, index_bytes, kept)
        return y

    def average_pool(self, name: str, x: FeatureMap, kernel: int, stride: int, padding: int = 0) -> FeatureMap:
        """Add an average pooling, which keeps its input."""
        y = FeatureMap(x.channels, *_output_size(name, x, _pair(kernel), stride, _pair(padding)))
        self._pooling(name, x, y, 0.0, self._keep("input", x))
        return y

    def upsample(self, name: str, x: FeatureMap, factor: int) -> FeatureMap:
        """Add a nearest-neighbour upsampling; its gradient sums what came of each element."""
        y = FeatureMap(x.channels, factor * x.height, factor * x.width)
        small, large = self._elements(x), self._elements(y)
        forward = self.batch.kernel(name, small, large, family=Family.COPY)
        backward = self.batch.kernel(f"{name}_gradient", large, small, family=Family.COPY, phase=Phase.INPUT_GRADIENT)
        self._add(name, [forward], [backward], [], ())
        return y

    def adaptive_average_pool(self, name: str, x: FeatureMap, size: int) -> FeatureMap:
        """Add an average pooling to ``size`` x ``size``."""
        y = FeatureMap(x.channels, size, size)
        self._pooling(name, x, y, 0.0, self._keep("input", x))
        return y

    def dropout(self, name: str, x: FeatureMap) -> FeatureMap:
        """Add a dropout, which keeps a byte mask."""
        elements = self._elements(x)
        self._add(
            name,
            [self.batch.dropout_forward(name, elements)],
            [self.batch.dropout_backward(f"{name}_gradient", elements)],
            [],
            (self.batch.kept_mask("mask", elements),),
        )
        return FeatureMap(x.channels, x.height, x.width)

    def linear(self, name: str, x: FeatureMap, outputs: int) -> FeatureMap:
        """Add a linear layer with bias on the flattened map."""
        layer = linear(self.batch, name, self.batch.samples, x.size, outputs, bias=True)
        self._add(name, layer.forward, layer.backward, layer.parameters, self._keep("input", x))
        return FeatureMap(outputs, 1, 1)

    def loss(self, name: str, x: FeatureMap) -> None:
        """Add the cross entropy, which keeps the log-probabilities."""
        elements = self._elements(x)
        forward = self.batch.kernel(name, 2 * elements, elements, family=Family.LOSS, launches=2)
        backward = self.batch.kernel(
            f"{name}_gradient",
            3 * elements,
            2 * elements,
            family=Family.LOSS,
            phase=Phase.INPUT_GRADIENT,
            launches=2,
        )
        self._add(name, [forward], [backward], [], (self.batch.kept("log_probabilities", elements),))

    def model(self, name: str) -> Model:
        """Return the finished model; the last block hands on nothing."""
        blocks = tuple(self.blocks)
        return Model(
            name=name,
            blocks=blocks,
            samples=self.batch.samples,
            sample_unit="images",
            tokens_per_sample=1,
            model_flops_per_sample=model_flops(blocks) / self.batch.samples,
            element_bytes=self.batch.element_bytes,
        )

    def _elements(self, x: FeatureMap) -> int:
        return self.batch.samples * x.size

    def _keep(self, name: str, x: FeatureMap) -> tuple[Activation, ...]:
        if x.kept:
            return ()
        x.kept = True
        return (self.batch.kept(name, self._elements(x)),)

    def _add(
        self,
        name: str,
        forward: list[Operator] | tuple[Operator, ...],
        backward: list[Operator] | tuple[Operator, ...],
        parameters: list[Parameter] | tuple[Parameter, ...],
        kept: tuple[Activation, ...],
        buffers: tuple[Buffer, ...] = (),
    ) -> None:
        self.layers.append(Layer(name, tuple(forward), tuple(backward), tuple(parameters), kept, buffers))

    def _pooling(
        self, name: str, x: FeatureMap, y: FeatureMap, index_bytes: float, kept: tuple[Activation, ...]
    ) -> None:
        large, small = self._elements(x), self._elements(y)
        forward = self.batch.kernel(name, large, small, family=Family.POOLING, extra_written_bytes=index_bytes)
        backward = self.batch.kernel(
            f"{name}_gradient",
            small,
            large,
            family=Family.POOLING,
            phase=Phase.INPUT_GRADIENT,
            extra_read_bytes=index_bytes,
        )
        self._add(name, [forward], [backward], [], kept)

    def _convolution(
        self, name: str, x: FeatureMap, y: FeatureMap, kernel: tuple[int, int], stride: int, phase: Phase
    ) -> Operator:
        return convolution(
            name,
            batch=self.batch.samples,
            channels=(x.channels, y.channels),
            kernel=kernel,
            image=(x.height, x.width),
            output=(y.height, y.width),
            stride=stride,
            element_bytes=self.batch.element_bytes,
            phase=phase,
        )


def new_network(samples: int, element_bytes: int, gradient_accumulation: str = "none") -> Network:
    """Return an empty network for micro-batches of ``samples`` images; DocumentError for sizes below 1."""
    for name, size in (("samples", samples), ("element_bytes", element_bytes)):
        if size < 1:
            raise DocumentError(f"{name} must be at least 1, got {size}")
    return Network(
        Microbatch(
            samples=samples,
            sequence=1,
            element_bytes=element_bytes,
            attention=AttentionKernel.UNFUSED,
            fused_elementwise=False,
            dropout=True,
            causal=False,
            gradient_accumulation=GradientAccumulation(gradient_accumulation),
        )
    )


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _output_size(
    name: str, x: FeatureMap, kernel: tuple[int, int], stride: int, padding: tuple[int, int]
) -> tuple[int, int]:
    height = (x.height + 2 * padding[0] - kernel[0]) // stride + 1
    width = (x.width + 2 * padding[1] - kernel[1]) // stride + 1
    if height < 1 or width < 1:
        raise InfeasibleError(f"{name}: images are too small, its input is {x.height} x {x.width}")
    return height, width
