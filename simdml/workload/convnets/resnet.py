"""ResNet-50, 101 and 152 (He et al., arXiv 1512.03385) as in torchvision/models/resnet.py.

Bottleneck blocks stride in their 3x3 convolution (ResNet v1.5).
"""

from __future__ import annotations

from functools import partial

from simdml.errors import UnknownNameError
from simdml.workload.convnets.network import FeatureMap, Network, new_network
from simdml.workload.model import Model
from simdml.workload.spec import ConvnetSpec

STAGE_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4


def build_resnet(
    depth: int,
    *,
    samples: int,
    image_size: int = 224,
    element_bytes: int = 4,
    classes: int = 1000,
    gradient_accumulation: str = "none",
) -> Model:
    """Return ResNet-``depth``; a block for the stem, every bottleneck and the classifier."""
    if depth not in STAGE_BLOCKS:
        raise UnknownNameError("ResNet depth", str(depth), [str(known) for known in STAGE_BLOCKS])
    net = new_network(samples, element_bytes, gradient_accumulation)
    x = net.convolution("conv1", net.images(image_size), 64, 7, stride=2, padding=3)
    x = net.max_pool("maxpool", net.relu("relu", net.batch_norm("bn1", x)), 3, 2, 1)
    net.end_block("stem", x)
    for stage, count in enumerate(STAGE_BLOCKS[depth], start=1):
        for number in range(count):
            stride = 2 if stage > 1 and number == 0 else 1
            x = _bottleneck(net, x, 32 * 2**stage, stride, downsample=number == 0)
            net.end_block(f"layer{stage}.{number}", x)
    x = net.linear("fc", net.adaptive_average_pool("avgpool", x, 1), classes)
    net.loss("loss", x)
    net.end_block("classifier")
    return net.model(f"resnet{depth}")


def _bottleneck(net: Network, x: FeatureMap, planes: int, stride: int, *, downsample: bool) -> FeatureMap:
    net.sum_gradients("fork", x, uses=2)
    y = net.relu("relu1", net.batch_norm("bn1", net.convolution("conv1", x, planes, 1)))
    y = net.convolution("conv2", y, planes, 3, stride=stride, padding=1)
    y = net.relu("relu2", net.batch_norm("bn2", y))
    y = net.batch_norm("bn3", net.convolution("conv3", y, planes * EXPANSION, 1))
    identity = x
    if downsample:
        identity = net.convolution("downsample.0", x, planes * EXPANSION, 1, stride=stride)
        identity = net.batch_norm("downsample.1", identity)
    return net.relu("relu3", net.add("add", y, identity))


RESNET50 = ConvnetSpec("resnet50", partial(build_resnet, 50))
RESNET101 = ConvnetSpec("resnet101", partial(build_resnet, 101))
RESNET152 = ConvnetSpec("resnet152", partial(build_resnet, 152))
