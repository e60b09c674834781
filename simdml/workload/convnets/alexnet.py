"""AlexNet (Krizhevsky, arXiv 1404.5997, one tower) as in torchvision/models/alexnet.py."""

from __future__ import annotations

from simdml.workload.convnets.network import new_network
from simdml.workload.model import Model
from simdml.workload.spec import ConvnetSpec

# channels, kernel, stride, padding, max pooling after
FEATURES = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)


def build_alexnet(
    *,
    samples: int,
    image_size: int = 224,
    element_bytes: int = 4,
    classes: int = 1000,
    gradient_accumulation: str = "none",
) -> Model:
    """Return AlexNet; a block for every convolution and every linear layer."""
    net = new_network(samples, element_bytes, gradient_accumulation)
    x = net.images(image_size)
    for number, (channels, kernel, stride, padding, pooled) in enumerate(FEATURES, start=1):
        x = net.convolution(f"conv{number}", x, channels, kernel, stride=stride, padding=padding, bias=True)
        x = net.relu(f"relu{number}", x)
        if pooled:
            x = net.max_pool(f"pool{number}", x, 3, 2)
        if number == len(FEATURES):
            x = net.adaptive_average_pool("avgpool", x, 6)
        net.end_block(f"conv{number}", x)
    for number in (1, 2):
        x = net.dropout(f"dropout{number}", x)
        x = net.linear(f"fc{number}", x, 4096)
        x = net.relu(f"fc{number}_relu", x)
        net.end_block(f"fc{number}", x)
    x = net.linear("fc3", x, classes)
    net.loss("loss", x)
    net.end_block("fc3")
    return net.model("alexnet")


ALEXNET = ConvnetSpec("alexnet", build_alexnet)
