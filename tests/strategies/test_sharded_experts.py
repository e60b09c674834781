"""Context and expert parallelism with sharded state: volumes and memory in closed form, folded as unfolded."""

from dataclasses import replace

import pytest
from fakes import costs
from layers import GPT, SAMPLES, collectives, instructions, program_of, transformer_job

from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity, CollectiveKind, Compute
from simdml.program.mesh import Group
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.distributed_optimizer import DistributedOptimizerPlan
from simdml.strategies.data_parallel.fsdp2 import Fsdp2Plan, HsdpPlan
from simdml.strategies.data_parallel.kinds import make_replica
from simdml.strategies.data_parallel.zero import Zero1Plan, Zero2Plan
from simdml.strategies.data_parallel.zero3 import Zero3Plan
from simdml.strategies.job import DataParallelPlan, PipelinePlan, Spread
from simdml.strategies.stage_code import stage_code

MOE = replace(GPT, num_experts=8, experts_per_token=2, ffn=1024, mlp_bias=False)
EXPERTS = MOE.layers * MOE.num_experts * 2 * MOE.hidden * MOE.ffn
FLASH = {"attention": "flash"}
FULL = Fsdp2Plan(wrap="every_block", reshard_after_forward=True)


def sizes():
    total = transformer_job((("tp", 1),), MOE).build(SAMPLES).parameter_count
    return total - EXPERTS, EXPERTS


def layout(axis, cp, ep, data):
    """A mesh of cp x ``data`` ranks and the spread over it; ep covers cp first, as torchtitan's does."""
    mesh = (("tp", 1), ("cp", cp), ("ep", ep // cp), (axis, data * cp // ep))
    return {"mesh": mesh, "spread": Spread(cp=cp, ep=ep), "options": FLASH | {"context_ways": cp}}


def moved(program, group, kind):
    return sum(payload * n for (each, payload), n in collectives(program, group).items() if each is kind)


SHARDED = [(1, 4, 8), (2, 2, 4), (2, 4, 4), (2, 8, 4), (4, 4, 2)]
"""cp, ep, and the ranks of dp_shard (or dp) with those of ep in them."""


@pytest.mark.parametrize(("cp", "ep", "data"), SHARDED)
def test_fsdp_shards_over_cp_and_experts_over_what_ep_leaves(cp, ep, data):
    """dp_shard x cp ranks shard what all hold, dp_shard x cp / ep an expert: 2 all-gathers and a reduce-scatter.

    Psi (2 x 2 + 2) bytes with half-precision weights and gradients; the wire carries (N-1)/N of them.
    """
    program = program_of(config=MOE, data_parallel=FULL, **layout("dp_shard", cp, ep, data))
    dense, experts = sizes()
    assert moved(program, "dp_shard", CollectiveKind.ALL_GATHER) == 2 * 2 * dense
    assert moved(program, "dp_shard", CollectiveKind.REDUCE_SCATTER) == 2 * dense
    alone = cp * data == ep
    assert moved(program, "expert dp_shard", CollectiveKind.ALL_GATHER) == (0 if alone else 2 * 2 * experts / ep)
    assert moved(program, "expert dp_shard", CollectiveKind.REDUCE_SCATTER) == (0 if alone else 2 * experts / ep)
    groups = {group.name: len(group.communicators(program.mesh)[0]) for group in program.groups}
    assert groups["dp_shard"] == cp * data
    assert groups["ep"] == ep
    assert groups.get("expert dp_shard", 1) == cp * data // ep


def state_of(plan, cp, ep, data, axis):
    job = transformer_job(config=MOE, data_parallel=plan, microbatches=1, **layout(axis, cp, ep, data))
    return make_replica(job, [stage_code(job, job.build(SAMPLES).blocks)]).memory()


@pytest.mark.parametrize(("cp", "ep", "data"), SHARDED)
def test_fsdp_keeps_16_bytes_a_parameter_in_shards_of_both_sizes(cp, ep, data):
    state, (dense, experts) = state_of(FULL, cp, ep, data, "dp_shard"), sizes()
    shards = dense / (cp * data) + experts / (cp * data)
    assert state.parameters + state.gradients + state.optimizer == pytest.approx(16 * shards, rel=1e-4)
    blocks = transformer_job((("tp", 1),), MOE).build(SAMPLES).blocks
    first, block = blocks[0].parameter_count, blocks[1].parameter_count - experts // MOE.layers * (ep - 1) // ep
    pair, largest = max(first + block, 2 * block), max(first, block)
    assert state.buffers == 2 * pair + 2 * largest


@pytest.mark.parametrize(
    ("plan", "held"),
    [
        (Zero1Plan(), lambda n: 4 + 12 / n),
        (Zero2Plan(), lambda n: 2 + 14 / n),
        (DistributedOptimizerPlan(), lambda n: 4 + 12 / n),
    ],
)
@pytest.mark.parametrize(("cp", "ep", "data"), SHARDED)
def test_experts_of_zero_are_shared_by_the_ranks_that_hold_the_same_ones(plan, held, cp, ep, data):
    """Bytes a parameter with N = cp dp for what all hold and N/ep for the experts of a rank (half precision, Adam)."""
    state, (dense, experts) = state_of(plan, cp, ep, data, "dp"), sizes()
    ranks = cp * data
    expected = dense * held(ranks) + experts / ep * held(ranks // ep)
    assert state.parameters + state.gradients + state.optimizer == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("plan", [Zero1Plan(), Zero2Plan(), Zero2Plan(overlap_comm=True), DistributedOptimizerPlan()])
@pytest.mark.parametrize(("cp", "ep", "data"), SHARDED)
def test_zero_reduces_and_gathers_both_families_once(plan, cp, ep, data):
    program, (dense, experts) = program_of(config=MOE, data_parallel=plan, **layout("dp", cp, ep, data)), sizes()
    alone = cp * data == ep
    for kind in (CollectiveKind.REDUCE_SCATTER, CollectiveKind.ALL_GATHER):
        assert moved(program, "dp", kind) == pytest.approx(2 * dense, rel=1e-4)
        assert moved(program, "expert dp", kind) == (0 if alone else pytest.approx(2 * experts / ep, rel=1e-4))


def test_overlapping_the_distributed_optimizer_moves_as_much():
    plan = DistributedOptimizerPlan(overlap_grad_reduce=True, overlap_param_gather=True, ddp_bucket_size=100_000)
    program, (dense, experts) = program_of(config=MOE, data_parallel=plan, **layout("dp", 2, 4, 4)), sizes()
    for kind in (CollectiveKind.REDUCE_SCATTER, CollectiveKind.ALL_GATHER):
        assert moved(program, "dp", kind) == pytest.approx(2 * dense, rel=1e-3)
        assert moved(program, "expert dp", kind) == pytest.approx(2 * experts / 4, rel=1e-3)
        assert sum(n for (each, _), n in collectives(program, "dp").items() if each is kind) > MOE.layers


@pytest.mark.parametrize("plan", [Zero2Plan(), Zero3Plan()])
def test_deepspeed_shares_state_over_the_ranks_of_a_sequence_too(plan):
    """DeepSpeed-Ulysses' seq_data_parallel_group: parts of 1/(cp dp)."""
    whole = {"mesh": (("tp", 1), ("cp", 2), ("dp", 4)), "spread": Spread(cp=2, context="ulysses")}
    program = program_of(data_parallel=plan, options={"context_ways": 2}, **whole)
    (group,) = (each for each in program.groups if each.name == "dp")
    assert {len(members) for members in group.communicators(program.mesh)} == {8}
    parameters = transformer_job((("tp", 1),)).build(SAMPLES).parameter_count
    assert moved(program, "dp", CollectiveKind.REDUCE_SCATTER) == 2 * parameters


def test_replicas_of_hsdp_sum_shards_of_both():
    parts = layout("dp_shard", 1, 4, 8)
    plan = HsdpPlan(wrap="every_block")
    program = program_of(config=MOE, data_parallel=plan, **parts | {"mesh": (*parts["mesh"], ("dp_replicate", 2))})
    dense, experts = sizes()
    expected = 2 * (dense / 8 + experts / 4 / 2)
    assert moved(program, "dp_replicate", CollectiveKind.ALL_REDUCE) == pytest.approx(expected, rel=1e-4)


def test_ranks_that_share_sequences_hold_different_experts():
    """cp 2 and ep 4: the experts' ranks are cp and half of dp; those that hold the same ones differ along dp alone."""
    program = program_of(config=MOE, data_parallel=DataParallelPlan(overlap=False), **layout("dp", 2, 4, 4))
    groups = {group.name: group for group in program.groups}
    assert groups["ep"].communicators(program.mesh)[0] == (0, 1, 2, 3)
    assert groups["expert dp"].communicators(program.mesh)[0] == (0, 4)
    beside = (("tp", 1), ("cp", 4), ("ep", 2), ("dp", 1))
    spread = Spread(cp=4, ep=2)
    program = program_of(beside, MOE, spread=spread, options=FLASH | {"context_ways": 4})
    groups = {group.name: group for group in program.groups}
    assert groups["ep"].communicators(program.mesh)[0] == (0, 4)
    assert groups["expert dp"].communicators(program.mesh)[0] == (0, 1, 2, 3)


@pytest.mark.parametrize("plan", [FULL, Zero1Plan(), DistributedOptimizerPlan(), DataParallelPlan()])
def test_the_norm_is_summed_over_all_who_hold_different_gradients(plan):
    axis = "dp_shard" if plan is FULL else "dp"
    job = transformer_job(config=MOE, data_parallel=plan, **layout(axis, 2, 4, 4))
    program = compile_job(replace(job, training=replace(job.training, clip_gradients=True)))
    (norm,) = (group for group in program.groups if group.name == "norm")
    members = norm.communicators(program.mesh)[0]
    assert members == (tuple(range(4)) if isinstance(plan, DataParallelPlan) else tuple(range(8)))


class Teraflops:
    """An operator takes as long as at a TFLOP/s, so that a step is short enough to be exact in ticks."""

    def seconds(self, operator, precision):
        return operator.flops / 1e12


@pytest.mark.parametrize(
    ("plan", "axis"), [(FULL, "dp_shard"), (Zero1Plan(), "dp"), (Zero2Plan(overlap_comm=True), "dp")]
)
@pytest.mark.parametrize(("cp", "ep", "data"), [(1, 4, 8), (2, 4, 4)])
def test_folded_equals_unfolded(plan, axis, cp, ep, data):
    job = transformer_job(config=MOE, microbatches=2, data_parallel=plan, **layout(axis, cp, ep, data))
    program, prices = compile_job(job), replace(costs(job.cluster), compute={"fake": Teraflops()})
    folded = simulate(program, job.cluster, prices)
    unfolded = simulate(program, job.cluster, prices, folded=False)
    assert folded.step_time_s == unfolded.step_time_s
    assert folded.execution.partition.num_classes < unfolded.execution.partition.num_classes


def test_fsdp_of_a_pipeline_with_experts_gathers_and_reduces_once():
    parts = layout("dp_shard", 1, 2, 4)
    plans = {"pipeline": PipelinePlan("1f1b"), "data_parallel": Fsdp2Plan(), "microbatches": 4}
    program = program_of(config=MOE, **plans, **parts | {"mesh": (*parts["mesh"], ("pp", 2))})
    assert moved(program, "expert dp_shard", CollectiveKind.ALL_GATHER) == 2 * EXPERTS / 2 / 2
    assert moved(program, "expert dp_shard", CollectiveKind.REDUCE_SCATTER) == 2 * EXPERTS / 2 / 2


def test_the_optimizer_updates_the_shards():
    """28 bytes an element of fp32 Adam: four tensors read and three written, of an eighth of everything."""
    program = program_of(config=MOE, data_parallel=FULL, **layout("dp_shard", 2, 4, 4))
    steps = [i for i in instructions(program) if isinstance(i, Compute) and i.activity is Activity.OPTIMIZER]
    updated = sum(operator.bytes for compute in steps for operator in compute.operators)
    assert updated == pytest.approx(28 * sum(sizes()) / 8, rel=1e-3)


@pytest.mark.parametrize("order", [("pp", "dp_shard", "tp", "ep", "cp"), ("ep", "pp", "cp", "dp_shard", "tp")])
def test_the_order_of_ranks_changes_members_and_no_bytes(order):
    parts = layout("dp_shard", 2, 4, 4)
    mesh = dict((*parts["mesh"], ("pp", 2)))
    plans = {"pipeline": PipelinePlan("1f1b"), "data_parallel": Fsdp2Plan(), "microbatches": 2, "config": MOE}
    usual = program_of(**plans, **parts | {"mesh": tuple(mesh.items())})
    other = program_of(**plans, **parts | {"mesh": tuple((axis, mesh[axis]) for axis in order)})
    for group in ("dp_shard", "expert dp_shard", "ep", "cp"):
        assert collectives(usual, group) == collectives(other, group)
    (ep,) = (group for group in other.groups if group.name == "ep")
    assert isinstance(ep, Group)
    assert {len(members) for members in ep.communicators(other.mesh)} == {4}


@pytest.mark.parametrize(("plan", "hint"), [(Zero3Plan(), "zero1")])
def test_stage_3_has_no_experts(plan, hint):
    with pytest.raises(
        InfeasibleError, match="zero3 does not combine with ep: DeepSpeed ZeRO stage 3 has no"
    ) as refused:
        program_of(config=MOE, data_parallel=plan, **layout("dp", 1, 4, 8))
    assert hint in refused.value.hint
