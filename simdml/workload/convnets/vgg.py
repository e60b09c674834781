"""VGG-16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D) as in torchvision/models/vgg.py, no batch norm."""

from __future__ import annotations

from simdml.workload.convnets.network import new_network
from simdml.workload.model import Model
from simdml.workload.spec import ConvnetSpec

GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def build_vgg16(
    *,
    samples: int,
    image_size: int = 224,
    element_bytes: int = 4,
    classes: int = 1000,
    gradient_accumulation: str = "none",
) -> Model:
    """Return VGG-16; a block for every convolution and every linear layer."""
    net = new_network(samples, element_bytes, gradient_accumulation)
    x = net.images(image_size)
    for group, (channels, count) in enumerate(GROUPS, start=1):
        for number in range(1, count + 1):
            name = f"conv{group}_{number}"
            x = net.relu(f"{name}_relu", net.convolution(name, x, channels, 3, padding=1, bias=True))
            if number == count:
                x = net.max_pool(f"pool{group}", x, 2, 2)
            if group == len(GROUPS) and number == count:
                x = net.adaptive_average_pool("avgpool", x, 7)
            net.end_block(name, x)
    for number in (1, 2):
        x = net.relu(f"fc{number}_relu", net.linear(f"fc{number}", x, 4096))
        x = net.dropout(f"dropout{number}", x)
        net.end_block(f"fc{number}", x)
    net.loss("loss", net.linear("fc3", x, classes))
    net.end_block("fc3")
    return net.model("vgg16")


VGG16 = ConvnetSpec("vgg16", build_vgg16)
