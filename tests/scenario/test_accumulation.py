"""Which kernels add up the gradients of micro-batches."""

import pytest

from simdml.errors import InfeasibleError
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario


def scenario(strategy, **training):
    return {
        "cluster": {"name": "dgx_a100", "nodes": 1},
        "model": "gpt2",
        "training": {"global_batch": 16, "microbatch": 1, "precision": "bf16", "gradients": "fp32", **training},
        "strategy": strategy,
    }


def added(strategy, **training):
    """Bytes that the kernels of a micro-batch move which add weight gradients."""
    job = build(load_scenario(scenario(strategy, **training))).job
    operators = [operator for block in job.build(1).blocks for layer in block.layers for operator in layer.backward]
    return sum(operator.bytes for operator in operators if operator.name.endswith("_accumulate"))


MEGATRON = {"mesh": {}, "data_parallel": {"kind": "distributed_optimizer"}}
DEEPSPEED = {"mesh": {}, "data_parallel": {"kind": "zero1"}}


def test_deepspeed_converts_and_adds_what_megatrons_products_add():
    fused, separate, deepspeed = added(MEGATRON), added(MEGATRON, accumulation_fusion=False), added(DEEPSPEED)
    assert fused < 0.25 * separate  # of tables of embeddings, biases and norms alone
    assert deepspeed == pytest.approx(separate * (2 + 4 + 4 + 4 + 4) / (2 + 4 + 4), rel=1e-3)  # Megatron pads tables


def test_fusion_can_be_asked_for_with_deepspeed():
    assert added(DEEPSPEED, accumulation_fusion=True) == pytest.approx(added(MEGATRON), rel=2e-3)


@pytest.mark.parametrize(
    ("strategy", "training"),
    [(DEEPSPEED, {"gradients": "bf16"}), ("fsdp2", {}), ("ddp", {"precision": "fp32"})],
)
def test_fusion_of_sums_that_there_are_not_is_refused(strategy, training):
    with pytest.raises(InfeasibleError, match="accumulation_fusion"):
        build(load_scenario(scenario(strategy, **training, accumulation_fusion=True)))
