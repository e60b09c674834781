"""Convolutional networks against plain torch modules on the meta device."""

import pytest

from simdml.errors import DocumentError, InfeasibleError, UnknownNameError
from simdml.workload.catalog import find_model
from simdml.workload.convnets.alexnet import build_alexnet
from simdml.workload.convnets.inception import build_inception_v3
from simdml.workload.convnets.resnet import build_resnet
from simdml.workload.operators import Family, Phase

PARAMETERS = {
    "alexnet": 61_100_840,
    "vgg16": 138_357_544,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "inception_v3": 23_834_568,
}


def parameter_sizes(model):
    return [p.elements for block in model.blocks for layer in block.layers for p in layer.parameters]


def layers_of(model):
    return [layer for block in model.blocks for layer in block.layers]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_torchvision_s(name):
    assert find_model(name).build(samples=2).parameter_count == PARAMETERS[name]


def test_inception_with_auxiliary_classifier():
    assert build_inception_v3(samples=1, auxiliary=True).parameter_count == 27_161_264


def reference(name):
    convnets = pytest.importorskip("reference_convnets")
    return {
        "alexnet": convnets.AlexNet,
        "vgg16": convnets.VGG16,
        "resnet50": lambda: convnets.ResNet((3, 4, 6, 3)),
        "resnet101": lambda: convnets.ResNet((3, 4, 23, 3)),
        "resnet152": lambda: convnets.ResNet((3, 8, 36, 3)),
        "inception_v3": convnets.InceptionV3,
        "inception_v3_auxiliary": lambda: convnets.InceptionV3(auxiliary=True),
    }[name]


def measure(module_builder, samples, image_size):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        module = module_builder()
        images = torch.empty(samples, 3, image_size, image_size)
    with FlopCounterMode(display=False) as counter:
        loss = module(images).sum()
        forward = counter.get_total_flops()
        loss.backward()
    return module, forward, counter.get_total_flops() - forward


@pytest.mark.parametrize("name", [*PARAMETERS, "inception_v3_auxiliary"])
def test_flops_and_parameter_order_equal_torch(name):
    size = 299 if name.startswith("inception") else 224
    if name == "inception_v3_auxiliary":
        model = build_inception_v3(samples=2, auxiliary=True)
    else:
        model = find_model(name).build(samples=2)
    module, forward, backward = measure(reference(name), 2, size)
    assert parameter_sizes(model) == [p.numel() for p in module.parameters()]
    assert sum(layer.forward_flops for layer in layers_of(model)) == forward
    assert sum(layer.backward_flops for layer in layers_of(model)) == backward
    assert model.model_flops_per_sample * 2 == forward + backward


def test_resnet50_parameter_names_in_registration_order():
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        module = reference("resnet50")()
    model = build_resnet(50, samples=1)
    names = [
        f"{'' if block.name in ('stem', 'classifier') else block.name + '.'}{layer.name}.{p.name}"
        for block in model.blocks
        for layer in block.layers
        for p in layer.parameters
    ]
    assert names == [name for name, _ in module.named_parameters()]


def test_other_image_sizes_scale_convolutions():
    small, large = build_resnet(50, samples=1, image_size=224), build_resnet(50, samples=1, image_size=448)
    assert small.parameter_count == large.parameter_count
    stem_small, stem_large = small.blocks[0].layers[0], large.blocks[0].layers[0]
    assert stem_large.forward_flops == 4 * stem_small.forward_flops


def test_only_the_first_convolution_has_no_input_gradient():
    convolutions = [
        layer
        for layer in layers_of(build_resnet(50, samples=1))
        if layer.forward and layer.forward[0].family is Family.CONVOLUTION
    ]
    with_gradient = [any(op.phase is Phase.INPUT_GRADIENT for op in c.backward) for c in convolutions]
    assert with_gradient == [False] + [True] * 52


def test_output_bytes_are_the_feature_maps_at_the_cuts():
    model = build_resnet(50, samples=4, element_bytes=2)
    maps = {"stem": 64 * 56**2, "layer1.2": 256 * 56**2, "layer2.3": 512 * 28**2, "layer4.2": 2048 * 49}
    assert {b.name: b.output_bytes for b in model.blocks if b.name in maps} == {
        name: 4 * 2 * elements for name, elements in maps.items()
    }
    assert model.blocks[-1].output_bytes == 0


def test_activations_are_what_autograd_saves():
    """Bytes of the distinct storages that torch's saved-tensor hooks see, parameters apart."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    convnets = pytest.importorskip("reference_convnets")
    block = convnets.Bottleneck(64, 64, 1, True)
    weights = {p.untyped_storage().data_ptr() for p in block.parameters()}
    x = torch.randn(2, 64, 56, 56, requires_grad=True)

    def forward():
        y = functional.relu(block.bn1(block.conv1(x)), inplace=True)
        y = functional.relu(block.bn2(block.conv2(y)), inplace=True)
        return functional.relu(block.bn3(block.conv3(y)) + block.downsample(x), inplace=True)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        alive = forward()
    large = sum(size for key, size in saved.items() if key not in weights and size > 1e5)
    model = build_resnet(50, samples=2)
    kept = sum(a.bytes for layer in model.blocks[1].layers for a in layer.activations)
    pooled_input = alive.shape[0] * 64 * 56**2 * 4
    assert kept == large == pooled_input + 4 * 2 * 56**2 * (64 * 4 + 256 * 3)


def test_bad_sizes_are_refused():
    with pytest.raises(InfeasibleError, match="too small"):
        build_alexnet(samples=1, image_size=16)
    with pytest.raises(DocumentError, match="samples"):
        build_alexnet(samples=0)
    with pytest.raises(UnknownNameError, match="152"):
        build_resnet(151, samples=1)
    with pytest.raises(InfeasibleError, match="sequence"):
        find_model("resnet50").build(samples=1, sequence=128)


def test_buffers_and_first_dimensions_are_torch_s():
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        module = reference("resnet50")()
    built = find_model("resnet50").build(samples=1)
    ours = [buffer.bytes for block in built.blocks for each in block.layers for buffer in each.buffers]
    assert sorted(ours) == sorted(tensor.numel() * tensor.element_size() for tensor in module.buffers())
    rows = [p.rows for block in built.blocks for each in block.layers for p in each.parameters]
    assert sorted(rows) == sorted(p.shape[0] if p.dim() > 1 else 0 for p in module.parameters())


def test_the_unet_of_torchgpipe():
    """241 layers: 55 convolutions with dropout, norm and ReLU, 5 poolings, 5 upsamplings, 10 ends of skips, 1 more."""
    model = find_model("unet").build(samples=1)
    layers = [layer for block in model.blocks for layer in block.layers]
    convolutions = [layer for layer in layers if layer.name.endswith(".conv")]
    assert len(convolutions) == 55
    assert 4 * 55 + 5 + 5 + 10 + 1 == 241
    pixels = [192 * 192 // 4**level for level in range(6)]
    down = [3 * 64 + 4 * 64 * 64] + [128 * 2**n * 64 * 2**n + 4 * (128 * 2**n) ** 2 for n in range(4)]
    bottleneck = 1024 * 2048 + 3 * 2048**2 + 2048 * 1024
    up = [128 * 2**n * 32 * 2**n + 4 * (32 * 2**n) ** 2 for n in range(5)]
    forward = sum(p * 18 * (d + u) for p, d, u in zip(pixels, down, up, strict=False)) + pixels[5] * 18 * bottleneck
    forward += pixels[0] * 2 * 32
    assert sum(layer.forward_flops for layer in layers) == pytest.approx(forward)
