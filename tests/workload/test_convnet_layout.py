"""Networks of images with channels last and with fused batch norm; what tensor cores pay for other layouts."""

from dataclasses import replace

import pytest

import simdml
from simdml.calibration.profile import load_profile
from simdml.cluster.device import find_device
from simdml.costs.compute import RooflineCost
from simdml.errors import InfeasibleError
from simdml.workload.catalog import find_model
from simdml.workload.convnets.layout import channels_last, fused_batch_norm
from simdml.workload.operators import Family, convolution, matmul

RESNET = find_model("resnet50").build(samples=8, element_bytes=2)


def operators(model):
    return [each for block in model.blocks for layer in block.layers for each in (*layer.forward, *layer.backward)]


def image_convolution(kernel=(3, 3), stride=1, element_bytes=2, channels=(256, 256)):
    return convolution(
        "conv",
        batch=64,
        channels=channels,
        kernel=kernel,
        image=(28, 28),
        output=(28 // stride, 28 // stride),
        stride=stride,
        element_bytes=element_bytes,
    )


def test_layout_changes_no_work():
    plain, last = operators(RESNET), operators(channels_last(RESNET))
    assert [(each.name, each.flops, each.bytes) for each in plain] == [(e.name, e.flops, e.bytes) for e in last]
    of_images = {Family.CONVOLUTION, Family.NORMALIZATION}
    assert {each.layout for each in last if each.family in of_images} == {"nhwc"}
    assert {each.layout for each in plain if each.family in of_images} == {"nchw"}


def test_fused_batch_norm_leaves_the_residual_alone_to_be_read():
    """ResNet-50 has 16 sums, the only maps that kernels behind a batch norm read beside its own."""
    fused = operators(fused_batch_norm(RESNET))
    forward = [each for each in fused if each.family is Family.ELEMENTWISE and each.phase == "forward"]
    sums = [each for each in forward if each.bytes]
    assert len(sums) == 16
    elements = sum(each.written_bytes for each in operators(RESNET) if each.name == "add")
    assert sum(each.bytes for each in sums) == elements
    assert not any(each.launches for each in forward)
    assert fused_batch_norm(RESNET).parameter_count == RESNET.parameter_count


def test_networks_without_batch_norm_have_nothing_to_fuse():
    vgg = find_model("vgg16").build(samples=2)
    assert operators(fused_batch_norm(vgg)) == operators(vgg)


@pytest.mark.parametrize(
    ("device", "precision", "converts"),
    [
        ("v100_sxm2_16gb", "fp16", True),
        ("v100_sxm2_16gb", "fp32", False),
        ("a100_sxm_80gb", "tf32", True),
        ("a100_sxm_80gb", "fp32", False),
        ("p100_sxm2", "fp16", False),
    ],
)
def test_tensor_cores_alone_convert_what_has_channels_first(device, precision, converts):
    """The conversion is a copy of all three tensors: what is moved anyway, read and written once more."""
    profile = {"v": "v100_sxm2", "a": "a100_sxm_80gb", "p": "p100_sxm2"}[device[0]]
    cost = RooflineCost(load_profile(profile), find_device(device))
    first = image_convolution(element_bytes=2 if precision == "fp16" else 4)
    last = replace(first, layout="nhwc")
    found = cost.seconds(first, precision) - cost.seconds(last, precision)
    copy = cost.profile.streams["copy"]
    moved_s = 2 * first.bytes / (cost.device.memory_bandwidth_bytes_per_s * copy.plateau) + 3 * copy.floor_s
    assert found == pytest.approx(moved_s if converts else 0.0)


@pytest.mark.parametrize(("layout", "slow"), [("nchw", True), ("nhwc", False)])
def test_images_of_three_channels_miss_the_tensor_cores_unless_they_come_last(layout, slow):
    """They then take as long as fp32's kernel, of half as many bytes, and nothing is converted."""
    cost = RooflineCost(load_profile("v100_sxm2"), find_device("v100_sxm2_16gb"))
    first = replace(image_convolution(channels=(3, 64)), layout=layout)
    assert (cost.seconds(first, "fp16") == cost.seconds(replace(first, element_bytes=4), "fp32")) is slow
    without = RooflineCost(load_profile("p100_sxm2"), find_device("p100_sxm2"))
    assert without.seconds(first, "fp16") < without.seconds(replace(first, element_bytes=4), "fp32")


def test_tuning_takes_plain_kernels_where_conversion_costs_more_than_tensor_cores_save():
    """A kernel of one pixel moves much and computes little; A100's tensor cores are 8 times as fast, A6000's twice."""
    small = RooflineCost(load_profile("a6000_derived"), find_device("a6000"))
    thin = image_convolution((1, 1), element_bytes=4, channels=(64, 64))
    assert small.seconds(thin, "tf32") == small.seconds(thin, "fp32")
    large = RooflineCost(load_profile("a100_sxm_80gb"), find_device("a100_sxm_80gb"))
    wide = image_convolution(element_bytes=4, channels=(512, 512))
    assert large.seconds(wide, "tf32") < large.seconds(wide, "fp32")


def test_a_convolution_of_one_pixel_is_the_product_that_it_is():
    """cuBLAS's curve for the implicit matrix, with the floor of a convolution; a stride needs cuDNN's own kernel."""
    profile, device = load_profile("v100_sxm2"), find_device("v100_sxm2_16gb")
    cost = RooflineCost(profile, device)
    pixel = image_convolution((1, 1), element_bytes=4)
    product = matmul("linear", 64 * 28 * 28, 256, 256, element_bytes=4)
    assert product.bytes == pixel.bytes
    floors = profile.convolution["fp32"].products.floor_s - profile.matmul["fp32"].floor_s
    assert cost.seconds(pixel, "fp32") == pytest.approx(cost.seconds(product, "fp32") + floors)
    strided = image_convolution((1, 1), stride=2, element_bytes=4)
    assert cost.seconds(strided, "fp32") / strided.flops > cost.seconds(pixel, "fp32") / pixel.flops


def step_s(**training):
    changes = {"training": {"precision": "fp16", "batch_per_gpu": 64} | training}
    return simdml.run("resnet50_ddp_25gbe", **changes, gpus=1).step_time_s


def test_channels_last_and_fusing_both_help_on_tensor_cores():
    plain, last = step_s(), step_s(memory_format="channels_last")
    fused = step_s(memory_format="channels_last", fused_batch_norm=True)
    assert fused < last < plain


def test_layout_of_what_has_no_images_is_refused():
    with pytest.raises(InfeasibleError, match="memory_format is of images"):
        simdml.run("gpt2_xl_1f1b", training={"memory_format": "channels_last"})
