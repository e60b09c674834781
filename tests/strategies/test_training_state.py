"""Where training state is and in which type: offload to the host, clipping's norm, autocast."""

from collections import Counter
from dataclasses import replace

import pytest
from fakes import StarCluster, costs, job, layer, model

import simdml
from simdml.costs.host import HostCost
from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective, Compute, HostCopy
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.distributed_optimizer import DistributedOptimizerPlan
from simdml.strategies.data_parallel.fsdp1 import Fsdp1Plan
from simdml.strategies.data_parallel.fsdp2 import Fsdp2Plan
from simdml.strategies.data_parallel.kinds import make_replica
from simdml.strategies.data_parallel.zero import Zero1Plan, Zero2Plan
from simdml.strategies.data_parallel.zero3 import Zero3Plan
from simdml.strategies.job import DataParallelPlan
from simdml.strategies.stage_code import StageCode
from simdml.workload.autocast import with_autocast
from simdml.workload.catalog import find_model

UNIT = 2**20
LAYERS = 4
ELEMENTS = LAYERS * UNIT
PSI = 4 * ELEMENTS
FSDP = (Fsdp1Plan, Fsdp2Plan)


def toy():
    return model([([layer(1.0, 1.0, [UNIT])], 0.0) for _ in range(LAYERS)])


def made(plan, n=4, mesh=None, optimizer="adam", **training):
    axis = "dp_shard" if isinstance(plan, FSDP) else "dp"
    the_job = job(StarCluster(n), toy(), mesh or ((axis, n),), data_parallel=plan, optimizer=optimizer)
    return replace(the_job, training=replace(the_job.training, **training))


def instructions(the_job, kind):
    return [i for s in compile_job(the_job).classes[0].streams for i in s.written_out() if isinstance(i, kind)]


def copied(the_job):
    sums = Counter()
    for each in instructions(the_job, HostCopy):
        sums["down" if each.to_host else "up"] += each.payload_bytes
    return dict(sums)


def memory(the_job):
    return make_replica(the_job, [StageCode(toy().blocks, 1, "none")]).memory()


# Offload


@pytest.mark.parametrize(
    ("plan", "down", "up"),
    [
        (Zero1Plan(offload_optimizer="cpu"), PSI / 4, PSI / 4),
        (Zero2Plan(offload_optimizer="cpu"), PSI / 4, PSI / 4),
        (Zero2Plan(offload_optimizer="cpu", overlap_comm=True, reduce_bucket_size=UNIT), PSI / 4, PSI / 4),
        (Zero3Plan(offload_optimizer="cpu"), PSI / 4, PSI / 4),
        (Zero3Plan(offload_optimizer="cpu", offload_param="cpu", stage3_max_reuse_distance=0), PSI / 4, None),
        (Fsdp1Plan(cpu_offload=True, wrap="every_block"), PSI / 4, 2 * PSI / 4),
        (Fsdp2Plan(cpu_offload=True, reshard_after_forward=False), PSI / 4, PSI / 4),
    ],
)
def test_parts_of_gradients_go_down_and_of_weights_come_up(plan, down, up):
    """A rank's 1/N of the gradients, and 1/N of the weights as often as they are gathered."""
    moved = copied(made(plan))
    assert moved["down"] == down
    if up is not None:
        assert moved["up"] == up
    gathered = sum(i.payload_bytes for i in instructions(made(plan), Collective) if i.kind == "all_gather")
    if getattr(plan, "offload_param", "none") == "cpu":
        assert moved["up"] == gathered / 4
    (step,) = (i for i in instructions(made(plan), Compute) if i.label == "optimizer")
    assert step.on_host


@pytest.mark.parametrize("plan", [Zero1Plan(), Zero2Plan(), Zero3Plan(), Fsdp2Plan(), DataParallelPlan()])
def test_without_offload_nothing_crosses(plan):
    assert copied(made(plan)) == {}
    assert memory(made(plan)).host == 0.0


@pytest.mark.parametrize(
    ("plan", "device", "host"),
    [
        (Zero1Plan(offload_optimizer="cpu"), 4 + 4, (8 + 4) / 4),
        (Zero2Plan(offload_optimizer="cpu"), 4, (8 + 4) / 4),
        (Zero3Plan(offload_optimizer="cpu"), 4 / 4, (8 + 4) / 4),
        (Zero3Plan(offload_optimizer="cpu", offload_param="cpu"), 0, (8 + 4 + 4) / 4),
        (Fsdp2Plan(cpu_offload=True), 0, (4 + 4 + 8) / 4),
    ],
)
def test_state_moves_to_the_host_byte_by_byte(plan, device, host):
    state = memory(made(plan))
    assert (state.parameters + state.gradients + state.optimizer) / ELEMENTS == device
    assert state.host / ELEMENTS == host


def test_an_offloaded_step_in_closed_form():
    """8 s of kernels, a sum of 16 MiB over two ranks, the way down, 28 bytes an element on the host, and the way back.

    All hosts' memory is the ideal switch's own here, so copies take no time.
    """
    cluster = StarCluster(2, bandwidth=2.0**24)
    the_job = replace(made(Zero2Plan(offload_optimizer="cpu"), n=2), cluster=cluster)
    host = HostCost(bytes_per_s=28.0 * 2**20)
    took = simulate(compile_job(the_job), cluster, costs(cluster, host=host)).step_time_s
    assert took == pytest.approx(8 + 0.5 + ELEMENTS / 2 / 2**20 + 0.5)


# Clipping


@pytest.mark.parametrize(
    ("plan", "mesh", "members"),
    [
        (DataParallelPlan(), (("dp", 4),), None),
        (DataParallelPlan(), (("tp", 2), ("dp", 2)), 2),
        (Zero1Plan(), (("dp", 4),), 4),
        (Zero3Plan(), (("dp", 4),), 4),
        (DistributedOptimizerPlan(), (("tp", 2), ("dp", 2)), 4),
        (Fsdp2Plan(), (("dp_shard", 2), ("dp_replicate", 2)), 2),
    ],
)
def test_the_norm_is_summed_over_who_holds_other_gradients(plan, mesh, members):
    the_job = made(plan, mesh=mesh, clip_gradients=True)
    norms = [i for i in instructions(the_job, Collective) if i.group == "norm"]
    if members is None:
        assert not norms
        return
    assert [norm.payload_bytes for norm in norms] == [4.0]
    group = next(group for group in compile_job(the_job).groups if group.name == "norm")
    assert len(group.communicators(the_job.mesh)[0]) == members


def test_clipping_reads_what_is_held_twice_and_writes_it_once():
    def moved(plan):
        kernels = instructions(made(plan, clip_gradients=True), Compute)
        return sum(op.bytes for i in kernels if "gradients" in i.label for op in i.operators if "optim" in op.family)

    assert moved(DataParallelPlan(gradient_as_bucket_view=True)) == 3 * PSI
    assert moved(Zero2Plan()) == 3 * PSI / 4


def test_servers_do_not_clip():
    with pytest.raises(InfeasibleError, match="norm"):
        build(load_scenario("vgg16_parameter_server_25gbe", changes={"training.clip_gradients": True}))


# Autocast


def test_autocast_converts_matrices_once_each_way_and_keeps_blocks_shared():
    plain = find_model("gpt2").build(samples=1)
    converted = with_autocast(plain)
    assert len({id(block) for block in converted.blocks}) == len({id(block) for block in plain.blocks})
    matrices = sum(p.elements for b in plain.blocks[1:] for each in b.layers for p in each.parameters if p.rows)
    added = [
        op
        for b in converted.blocks
        for each in b.layers
        for op in (*each.forward, *each.backward)
        if "converted" in op.name
    ]
    assert sum(op.bytes for op in added) == 2 * 6 * matrices


def test_autocast_reduces_fp32_gradients_and_keeps_18_bytes():
    """fp32 weight, gradient and two moments, and the cached half-precision copy."""
    half = {"training.precision": "fp16"}
    autocast = half | {"training.autocast": True}
    masters, casts = (build(load_scenario("resnet50_ddp_25gbe", changes=c)).job for c in (half, autocast))
    assert (masters.training.gradient_bytes, casts.training.gradient_bytes) == (2, 4)
    state = memory(made(DataParallelPlan(gradient_as_bucket_view=True), precision="fp16", autocast=True))
    assert (state.parameters + state.gradients + state.optimizer) / ELEMENTS == 4 + 2 + 4 + 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.precision": "fp32"}, "not to fp32"),
        ({"training.precision": "fp16", "strategy": "fsdp2"}, "fsdp2 has its own mixed precision"),
        ({"training.precision": "fp16", "strategy": "zero1"}, "zero1 has its own mixed precision"),
    ],
)
def test_autocast_where_it_does_not_belong(changes, message):
    with pytest.raises(InfeasibleError, match=message):
        build(load_scenario("resnet50_ddp_autocast", changes=changes))


def test_offload_is_said_in_the_notes():
    assert any("memory of its node" in note for note in simdml.run("gpt2_xl_zero2_offload").notes)
