"""What of a block is run again in backward."""

import pytest
from layers import GPT

from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.workload.operators import Family
from simdml.workload.recomputation import operators_run_again
from simdml.workload.transformer import build_transformer


def block(**options):
    return build_transformer(GPT, samples=2, sequence=128, **options).blocks[1]


def again(block, *, stops_early=True):
    return [each for layer in block.layers for each in operators_run_again(block, layer, stops_early=stops_early)]


@pytest.mark.parametrize("fused", [True, False])
def test_the_last_product_and_the_add_after_it_are_left_out(fused):
    whole = block(dropout=False, fused_elementwise=fused)
    forward = [each for layer in whole.layers for each in layer.forward]
    assert again(whole) == forward[:-2]
    assert forward[-2].family is Family.MATMUL
    assert again(whole, stops_early=False) == forward


def test_products_are_two_thirds_of_those_of_forward():
    """fc2 is 4 of the 12 hidden x hidden products of a GPT block."""
    whole = block(dropout=False)
    assert products(again(whole)) / products(forward(whole)) == pytest.approx(2 / 3)


def products(operators):
    return sum(each.flops for each in operators if each.family is Family.MATMUL)


def forward(whole):
    return [each for layer in whole.layers for each in layer.forward]


def test_a_mask_that_backward_reads_has_to_be_made_again():
    whole = block(dropout=True, fused_elementwise=False)
    assert again(whole) == forward(whole)


@pytest.mark.parametrize(("strategy", "early"), [("fsdp2", True), ("fsdp1", True), ("ddp", False)])
def test_fsdp_stops_early_by_default(strategy, early):
    training = {"batch_per_gpu": 1, "precision": "bf16", "optimizer": "adam", "recompute": "full"}
    if strategy == "ddp":
        training |= {"precision": "fp32"}
    scenario = {"cluster": "dgx_h100", "model": "gpt2", "training": training, "strategy": strategy}
    assert build(load_scenario(scenario)).job.training.recompute_stops_early is early
    other = scenario | {"training": training | {"recompute_stops_early": not early}}
    assert build(load_scenario(other)).job.training.recompute_stops_early is not early
