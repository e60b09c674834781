"""AmoebaNet-D against the parameters that were published and a plain torch module."""

import pytest

from simdml.errors import InfeasibleError
from simdml.workload.catalog import find_model
from simdml.workload.convnets.amoebanet import build_amoebanet_d

# (layers, filters): millions of parameters in GPipe's table 1 (arXiv 1811.06965). Its largest, (72, 512), is
# 1.80 B there, 2 % less than what the same cells give.
PUBLISHED = {(18, 208): 82, (18, 416): 318, (18, 544): 542, (36, 544): 1050}


@pytest.mark.parametrize("size", PUBLISHED, ids=str)
def test_parameters_are_the_published_ones(size):
    model = build_amoebanet_d(samples=1, layers=size[0], filters=size[1])
    assert model.parameter_count / 1e6 == pytest.approx(PUBLISHED[size], rel=0.01)


def test_the_catalog_has_the_one_of_the_speed_benchmark():
    model = find_model("amoebanet_d").build(samples=1)
    assert len(model.blocks) == 24
    assert model.parameter_count == 122_470_120


@pytest.mark.parametrize(("layers", "filters"), [(3, 32), (6, 64)])
def test_flops_and_parameters_equal_torch(layers, filters):
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("reference_amoebanet")
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        module, images = reference.AmoebaNetD(layers, filters), torch.empty(2, 3, 64, 64)
    with FlopCounterMode(display=False) as counter:
        loss = module(images).sum()
        forward = counter.get_total_flops()
        loss.backward()
    model = build_amoebanet_d(samples=2, image_size=64, layers=layers, filters=filters)
    assert model.parameter_count == sum(p.numel() for p in module.parameters())
    found = [layer for block in model.blocks for layer in block.layers]
    assert sum(layer.forward_flops for layer in found) == forward
    assert sum(layer.backward_flops for layer in found) == counter.get_total_flops() - forward


def test_a_cell_hands_on_its_output_and_the_one_before():
    model = build_amoebanet_d(samples=2, layers=3, filters=32)
    handed = {block.name: block.output_bytes / 8 for block in model.blocks}
    assert handed["stem1"] == 8 * 112**2
    assert handed["stem2"] == 48 * 56**2 + 8 * 112**2
    assert handed["cell1_normal1"] == 128 * 28**2 + 96 * 28**2
    assert handed["classify"] == 0


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(InfeasibleError, match="by threes"):
        build_amoebanet_d(samples=1, layers=4)
