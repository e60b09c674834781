"""Inception v3 (Szegedy et al., arXiv 1512.00567) as in torchvision/models/inception.py."""

from __future__ import annotations

from simdml.workload.convnets.network import FeatureMap, Network, new_network
from simdml.workload.model import Model
from simdml.workload.spec import ConvnetSpec


def build_inception_v3(
    *,
    samples: int,
    image_size: int = 299,
    element_bytes: int = 4,
    classes: int = 1000,
    auxiliary: bool = False,
    gradient_accumulation: str = "none",
) -> Model:
    """Return Inception v3; a block for every stem convolution and every inception module.

    ``auxiliary`` adds the auxiliary classifier, in the block of Mixed_6e whose output it reads.
    """
    net = new_network(samples, element_bytes, gradient_accumulation)
    x = _stem(net, net.images(image_size))
    for name, pool_channels in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        x = _module_a(net, x, pool_channels)
        net.end_block(name, x)
    x = _module_b(net, x)
    net.end_block("Mixed_6a", x)
    for name, channels in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x = _module_c(net, x, channels)
        if auxiliary and name == "Mixed_6e":
            _auxiliary_classifier(net, x, classes)
        net.end_block(name, x)
    x = _module_d(net, x)
    net.end_block("Mixed_7a", x)
    for name in ("Mixed_7b", "Mixed_7c"):
        x = _module_e(net, x)
        net.end_block(name, x)
    x = net.dropout("dropout", net.adaptive_average_pool("avgpool", x, 1))
    net.loss("loss", net.linear("fc", x, classes))
    net.end_block("classifier")
    return net.model("inception_v3")


def _conv(
    net: Network,
    name: str,
    x: FeatureMap,
    channels: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
) -> FeatureMap:
    x = net.convolution(f"{name}.conv", x, channels, kernel, stride=stride, padding=padding)
    return net.relu(f"{name}.relu", net.batch_norm(f"{name}.bn", x))


def _across(net: Network, name: str, x: FeatureMap, channels: int) -> FeatureMap:
    return _conv(net, name, x, channels, (1, 7), padding=(0, 3))


def _down(net: Network, name: str, x: FeatureMap, channels: int) -> FeatureMap:
    return _conv(net, name, x, channels, (7, 1), padding=(3, 0))


def _stem(net: Network, x: FeatureMap) -> FeatureMap:
    x = _conv(net, "Conv2d_1a_3x3", x, 32, 3, stride=2)
    net.end_block("Conv2d_1a_3x3", x)
    x = _conv(net, "Conv2d_2a_3x3", x, 32, 3)
    net.end_block("Conv2d_2a_3x3", x)
    x = net.max_pool("maxpool1", _conv(net, "Conv2d_2b_3x3", x, 64, 3, padding=1), 3, 2)
    net.end_block("Conv2d_2b_3x3", x)
    x = _conv(net, "Conv2d_3b_1x1", x, 80, 1)
    net.end_block("Conv2d_3b_1x1", x)
    x = net.max_pool("maxpool2", _conv(net, "Conv2d_4a_3x3", x, 192, 3), 3, 2)
    net.end_block("Conv2d_4a_3x3", x)
    return x


def _module_a(net: Network, x: FeatureMap, pool_channels: int) -> FeatureMap:
    net.sum_gradients("fork", x, uses=4)
    b1 = _conv(net, "branch1x1", x, 64, 1)
    b5 = _conv(net, "branch5x5_1", x, 48, 1)
    b5 = _conv(net, "branch5x5_2", b5, 64, 5, padding=2)
    b3 = _conv(net, "branch3x3dbl_1", x, 64, 1)
    b3 = _conv(net, "branch3x3dbl_2", b3, 96, 3, padding=1)
    b3 = _conv(net, "branch3x3dbl_3", b3, 96, 3, padding=1)
    pool = _conv(net, "branch_pool", net.average_pool("pool", x, 3, 1, 1), pool_channels, 1)
    return net.concatenate("concatenate", b1, b5, b3, pool)


def _module_b(net: Network, x: FeatureMap) -> FeatureMap:
    net.sum_gradients("fork", x, uses=3)
    b3 = _conv(net, "branch3x3", x, 384, 3, stride=2)
    dbl = _conv(net, "branch3x3dbl_1", x, 64, 1)
    dbl = _conv(net, "branch3x3dbl_2", dbl, 96, 3, padding=1)
    dbl = _conv(net, "branch3x3dbl_3", dbl, 96, 3, stride=2)
    pool = net.max_pool("branch_pool", x, 3, 2)
    return net.concatenate("concatenate", b3, dbl, pool)


def _module_c(net: Network, x: FeatureMap, c7: int) -> FeatureMap:
    net.sum_gradients("fork", x, uses=4)
    b1 = _conv(net, "branch1x1", x, 192, 1)
    b7 = _conv(net, "branch7x7_1", x, c7, 1)
    b7 = _across(net, "branch7x7_2", b7, c7)
    b7 = _down(net, "branch7x7_3", b7, 192)
    dbl = _conv(net, "branch7x7dbl_1", x, c7, 1)
    dbl = _down(net, "branch7x7dbl_2", dbl, c7)
    dbl = _across(net, "branch7x7dbl_3", dbl, c7)
    dbl = _down(net, "branch7x7dbl_4", dbl, c7)
    dbl = _across(net, "branch7x7dbl_5", dbl, 192)
    pool = _conv(net, "branch_pool", net.average_pool("pool", x, 3, 1, 1), 192, 1)
    return net.concatenate("concatenate", b1, b7, dbl, pool)


def _module_d(net: Network, x: FeatureMap) -> FeatureMap:
    net.sum_gradients("fork", x, uses=3)
    b3 = _conv(net, "branch3x3_1", x, 192, 1)
    b3 = _conv(net, "branch3x3_2", b3, 320, 3, stride=2)
    b7 = _conv(net, "branch7x7x3_1", x, 192, 1)
    b7 = _across(net, "branch7x7x3_2", b7, 192)
    b7 = _down(net, "branch7x7x3_3", b7, 192)
    b7 = _conv(net, "branch7x7x3_4", b7, 192, 3, stride=2)
    pool = net.max_pool("branch_pool", x, 3, 2)
    return net.concatenate("concatenate", b3, b7, pool)


def _module_e(net: Network, x: FeatureMap) -> FeatureMap:
    net.sum_gradients("fork", x, uses=4)
    b1 = _conv(net, "branch1x1", x, 320, 1)
    b3 = _conv(net, "branch3x3_1", x, 384, 1)
    b3a = _conv(net, "branch3x3_2a", b3, 384, (1, 3), padding=(0, 1))
    b3b = _conv(net, "branch3x3_2b", b3, 384, (3, 1), padding=(1, 0))
    b3 = net.concatenate("branch3x3", b3a, b3b)
    dbl = _conv(net, "branch3x3dbl_1", x, 448, 1)
    dbl = _conv(net, "branch3x3dbl_2", dbl, 384, 3, padding=1)
    dbl_a = _conv(net, "branch3x3dbl_3a", dbl, 384, (1, 3), padding=(0, 1))
    dbl_b = _conv(net, "branch3x3dbl_3b", dbl, 384, (3, 1), padding=(1, 0))
    dbl = net.concatenate("branch3x3dbl", dbl_a, dbl_b)
    pool = _conv(net, "branch_pool", net.average_pool("pool", x, 3, 1, 1), 192, 1)
    return net.concatenate("concatenate", b1, b3, dbl, pool)


def _auxiliary_classifier(net: Network, x: FeatureMap, classes: int) -> None:
    net.sum_gradients("AuxLogits.fork", x, uses=2)
    y = _conv(net, "AuxLogits.conv0", net.average_pool("AuxLogits.pool", x, 5, 3), 128, 1)
    y = net.adaptive_average_pool("AuxLogits.avgpool", _conv(net, "AuxLogits.conv1", y, 768, 5), 1)
    net.loss("AuxLogits.loss", net.linear("AuxLogits.fc", y, classes))


INCEPTION_V3 = ConvnetSpec("inception_v3", build_inception_v3, image_size=299)
