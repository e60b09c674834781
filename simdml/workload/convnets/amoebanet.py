"""AmoebaNet-D of torchgpipe's benchmarks (kakaobrain/torchgpipe, benchmarks/models/amoebanet), after arXiv 1802.01548.

The cells are those of TensorFlow's reference (tensorflow/tpu, models/official/amoeba_net), whose normal cell joins
states 0, 3, 4 and 6. A cell takes the outputs of the two cells before it and hands on its own and that of the one
before. The ReLU of the images themselves is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from simdml.errors import InfeasibleError
from simdml.workload.convnets.network import FeatureMap, Network, new_network
from simdml.workload.model import Model
from simdml.workload.spec import ConvnetSpec

LAYERS, FILTERS, CLASSES = 18, 256, 1000


@dataclass(frozen=True, slots=True)
class Genotype:
    """The ten operations of a cell, each with the state it is of; pairs are summed to a new state, some are joined."""

    operations: tuple[tuple[int, str], ...]
    joined: tuple[int, ...]


NORMAL: Final = Genotype(
    (
        (1, "conv_1x1"),
        (1, "max_pool_3x3"),
        (1, "none"),
        (0, "conv_1x7_7x1"),
        (0, "conv_1x1"),
        (0, "conv_1x7_7x1"),
        (2, "max_pool_3x3"),
        (2, "none"),
        (1, "average_pool_3x3"),
        (5, "conv_1x1"),
    ),
    (0, 3, 4, 6),
)
REDUCTION: Final = Genotype(
    (
        (0, "max_pool_2x2"),
        (0, "max_pool_3x3"),
        (2, "none"),
        (1, "conv_3x3"),
        (2, "conv_1x7_7x1"),
        (2, "max_pool_3x3"),
        (3, "none"),
        (1, "max_pool_2x2"),
        (2, "average_pool_3x3"),
        (3, "conv_1x1"),
    ),
    (4, 5, 6),
)


def build_amoebanet_d(
    *,
    samples: int,
    image_size: int = 224,
    element_bytes: int = 4,
    gradient_accumulation: str = "none",
    layers: int = LAYERS,
    filters: int = FILTERS,
) -> Model:
    """Return AmoebaNet-D (layers, filters), a block a cell; InfeasibleError unless three divides the layers."""
    if layers % 3 or filters % 16:
        raise InfeasibleError(f"AmoebaNet-D has layers by threes and filters by sixteens, not {layers} and {filters}")
    net = new_network(samples, element_bytes, gradient_accumulation)
    x = net.convolution("stem1.conv", net.images(image_size), filters // 4, 3, stride=2, padding=1)
    x = net.batch_norm("stem1.bn", x)
    net.end_block("stem1", x)
    cells = _Cells(net, filters // 4, x, x)
    cells.add("stem2", REDUCTION)
    cells.add("stem3", REDUCTION)
    for stage in (1, 3, 5):
        for number in range(layers // 3):
            cells.add(f"cell{stage}_normal{number + 1}", NORMAL)
        if stage < 5:
            cells.add(f"cell{stage + 1}_reduction", REDUCTION)
    net.loss("loss", net.linear("fc", net.adaptive_average_pool("pool", cells.newest, 1), CLASSES))
    net.end_block("classify")
    return net.model("amoebanet_d")


@dataclass(slots=True)
class _Cells:
    """Adds cells of ``channels`` to ``net`` after the ``newest`` output and the one ``before`` it."""

    net: Network
    channels: int
    newest: FeatureMap
    before: FeatureMap

    def add(self, name: str, genotype: Genotype) -> None:
        """Add a cell; one that reduces has twice the channels, on maps of half the size."""
        reduces = genotype is REDUCTION
        self.channels *= 2 if reduces else 1
        self.net.sum_gradients(f"{name}.fork", self.newest, uses=2 if self.before is not self.newest else 3)
        states = [self._relu_conv_bn(f"{name}.reduce1", self.newest, 1), self._reduced(f"{name}.reduce2")]
        uses = Counter([state for state, _ in genotype.operations] + list(genotype.joined))
        for pair in range(0, len(genotype.operations), 2):
            self._fork(name, states, uses)
            parts = []
            for number in (pair, pair + 1):
                state, operation = genotype.operations[number]
                stride = 2 if reduces and state < 2 else 1
                parts.append(self._operation(f"{name}.{number}", operation, states[state], stride))
            states.append(self.net.add(f"{name}.add{pair // 2}", *parts))
        self._fork(name, states, uses)
        self.before, self.newest = (
            self.newest,
            self.net.concatenate(f"{name}.cat", *(states[s] for s in genotype.joined)),
        )
        self.net.end_block(name, self.newest, self.before)

    def _fork(self, name: str, states: list[FeatureMap], uses: Counter[int]) -> None:
        """Sum the gradients of the newest state, and of both inputs the first time, where it has several uses."""
        for state in (0, 1) if len(states) == 2 else (len(states) - 1,):
            if uses[state] > 1:
                self.net.sum_gradients(f"{name}.state{state}", states[state], uses=uses[state])

    def _reduced(self, name: str) -> FeatureMap:
        """Return the older input with the cell's channels and size: halved after a cell that reduced."""
        x = self.before
        if x.height == self.newest.height:
            return x if x.channels == self.channels else self._relu_conv_bn(name, x, 1)
        x = self.net.relu(f"{name}.relu", x)
        half = self.channels // 2
        self.net.sum_gradients(f"{name}.fork", x, uses=2)
        parts = [self.net.convolution(f"{name}.conv{n}", x, half, 1, stride=2) for n in (1, 2)]
        return self.net.batch_norm(f"{name}.bn", self.net.concatenate(f"{name}.cat", *parts))

    def _operation(self, name: str, operation: str, x: FeatureMap, stride: int) -> FeatureMap:
        match operation:
            case "max_pool_2x2" | "max_pool_3x3":
                kernel = int(operation[-1])
                return self.net.max_pool(name, x, kernel, stride, (kernel - 1) // 2)
            case "average_pool_3x3":
                return self.net.average_pool(name, x, 3, stride, 1)
            case "conv_1x1":
                return self._relu_conv_bn(name, x, 1, stride=stride)
            case "conv_3x3":
                return self._bottleneck(name, x, ((3, 3),), stride)
            case "conv_1x7_7x1":
                return self._bottleneck(name, x, ((1, 7), (7, 1)))
        return x

    def _bottleneck(
        self, name: str, x: FeatureMap, kernels: tuple[tuple[int, int], ...], stride: int = 1
    ) -> FeatureMap:
        """Return convolutions of a quarter of the channels between two of 1 x 1."""
        x = self._relu_conv_bn(f"{name}.in", x, 1, quarter=True)
        for number, kernel in enumerate(kernels):
            x = self._relu_conv_bn(f"{name}.{number}", x, kernel, stride=stride, quarter=True)
        return self._relu_conv_bn(f"{name}.out", x, 1)

    def _relu_conv_bn(
        self, name: str, x: FeatureMap, kernel: int | tuple[int, int], *, stride: int = 1, quarter: bool = False
    ) -> FeatureMap:
        padding = (kernel[0] // 2, kernel[1] // 2) if isinstance(kernel, tuple) else kernel // 2
        channels = self.channels // 4 if quarter else self.channels
        x = self.net.relu(f"{name}.relu", x)
        x = self.net.convolution(f"{name}.conv", x, channels, kernel, stride=stride, padding=padding)
        return self.net.batch_norm(f"{name}.bn", x)


AMOEBANET_D = ConvnetSpec("amoebanet_d", build_amoebanet_d)
