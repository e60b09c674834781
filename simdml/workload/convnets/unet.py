"""The U-Net of torchgpipe's benchmarks (kakaobrain/torchgpipe, benchmarks/models/unet), after arXiv 1505.04597.

Five levels down, a bottleneck, five levels up, each of five convolutions with dropout, batch norm and ReLU: with
pooling, upsampling and skip connections 241 layers, which is what the partitions of the benchmark add up to.
"""

from __future__ import annotations

from simdml.workload.convnets.network import FeatureMap, Network, new_network
from simdml.workload.model import Model
from simdml.workload.spec import ConvnetSpec

DEPTH, CONVOLUTIONS, CHANNELS = 5, 5, 64


def build_unet(
    *,
    samples: int,
    image_size: int = 192,
    element_bytes: int = 4,
    gradient_accumulation: str = "none",
) -> Model:
    """Return the network; a block for every convolution, with the pooling or upsampling before it.

    What crosses a cut is the map that goes on; skipped maps go straight to where they are used (torchgpipe's portals)
    and are not counted.
    """
    net = new_network(samples, element_bytes, gradient_accumulation)
    x = net.images(image_size)
    skipped: list[FeatureMap] = []
    for level in range(DEPTH):
        width = CHANNELS * 2**level
        x = _convolutions(net, f"down{level}", x, width, width)
        skipped.append(x)
        x = net.max_pool(f"pool{level}", x, 2, 2)
    x = _convolutions(net, "bottleneck", x, CHANNELS * 2**DEPTH, CHANNELS * 2 ** (DEPTH - 1))
    for level in reversed(range(DEPTH)):
        x = net.upsample(f"up{level}", x, 2)
        x = net.concatenate(f"skip{level}", x, skipped.pop())
        width = CHANNELS * 2**level // 2
        x = _convolutions(net, f"up{level}", x, width, width)
    net.loss("loss", net.convolution("segment", x, 1, 1, bias=True))
    net.end_block("segment")
    return net.model("unet")


def _convolutions(net: Network, name: str, x: FeatureMap, inner: int, outer: int) -> FeatureMap:
    for number in range(CONVOLUTIONS):
        width = outer if number == CONVOLUTIONS - 1 else inner
        label = f"{name}.{number}"
        x = net.convolution(f"{label}.conv", x, width, 3, padding=1, bias=True)
        x = net.relu(f"{label}.relu", net.batch_norm(f"{label}.bn", net.dropout(f"{label}.dropout", x)))
        net.end_block(label, x)
    return x


UNET = ConvnetSpec("unet", build_unet, image_size=192)
