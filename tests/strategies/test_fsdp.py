"""FSDP1, FSDP2 and HSDP: times against a recurrence, volumes and memory against closed forms."""

import pytest
from fakes import StarCluster, costs, job, layer, model
from hypothesis import given
from hypothesis import strategies as st

from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective
from simdml.results.links import link_loads
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.fsdp1 import Fsdp1Plan
from simdml.strategies.data_parallel.fsdp2 import Fsdp2Plan, HsdpPlan
from simdml.strategies.data_parallel.kinds import make_replica
from simdml.strategies.job import PipelinePlan
from simdml.strategies.stage_code import StageCode

UNIT = 2**20
"""Elements of a unit: 4 MiB."""


def toy(units, forward_s=1.0, backward_s=1.0):
    return model([([layer(forward_s, backward_s, [UNIT])], 0.0) for _ in range(units)])


def compiled(plan, units=4, n=2, times=(1.0, 1.0), mesh=None, bandwidth=2.0**22, **options):
    cluster = StarCluster(n, bandwidth=bandwidth)
    the_job = job(cluster, toy(units, *times), mesh or (("dp_shard", n),), data_parallel=plan, **options)
    return compile_job(the_job), cluster


def step_time(plan, **options):
    program, cluster = compiled(plan, **options)
    return simulate(program, cluster, costs(cluster)).step_time_s


def payloads(program):
    sums = {}
    for stream in program.classes[0].streams:
        for i in stream.instructions:
            if isinstance(i, Collective):
                sums[i.group, str(i.kind)] = sums.get((i.group, str(i.kind)), 0.0) + i.payload_bytes
    return sums


def fsdp1_recurrence(units, gather_s, reduce_s, forward_s, backward_s):
    """One micro-batch of equal units, each wrapped: clocks of the device and of the communicator.

    All-gather k of the step waits for unit k - 2 of forward to be freed; in backward the prefetched one is let through,
    so that those after it wait for the free k - 3 (the two frees that the host has not yet waited for).
    """
    network = device = 0.0
    freed, gathered = [], []

    def gather():
        nonlocal network
        k = len(gathered)
        awaited = -1 if k == units + 1 else k - 2 if k <= units else k - 3
        network = max(network, freed[awaited] if awaited >= 0 else 0.0) + gather_s
        gathered.append(network)

    for unit in range(units):
        gather()
        device = max(device, gathered[unit]) + forward_s
        freed.append(device)
    gather()
    for unit in range(units):
        device = max(device, gathered[units + unit])
        if unit < units - 1:
            gather()
        device += backward_s
        freed.append(device)
        network = max(network, device) + reduce_s
    return max(device, network)


def fsdp2_recurrence(units, gather_s, reduce_s, forward_s, backward_s):
    """The same for fully_shard.

    In forward an all-gather waits for the copy-out of the unit two before, in backward for that of the unit in hand;
    a unit's gradients are copied in after the reduction of the unit before.
    """
    network = device = reduced = 0.0
    copied = []
    for unit in range(units):
        network = max(network, copied[unit - 2] if unit >= 2 else 0.0) + gather_s
        device = max(device, network)
        copied.append(device)
        device += forward_s
    network = arrived = max(network, copied[-1]) + gather_s
    for unit in range(units):
        device = max(device, arrived)
        if unit < units - 1:
            network = arrived = max(network, device) + gather_s
        device = max(device + backward_s, reduced)
        network = reduced = max(network, device) + reduce_s
    return max(device, network)


FULL = {
    fsdp1_recurrence: Fsdp1Plan(wrap="every_block"),
    fsdp2_recurrence: Fsdp2Plan(wrap="every_block"),
}


@pytest.mark.parametrize("recurrence", FULL)
@given(
    units=st.integers(1, 6),
    forward_s=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    backward_s=st.sampled_from([0.25, 1.0, 2.0, 4.0]),
    bandwidth=st.sampled_from([2.0**20, 2.0**21, 2.0**22, 2.0**23]),
)
def test_step_time_equals_the_recurrence(recurrence, units, forward_s, backward_s, bandwidth):
    moved_s = 4 * UNIT / 2 / bandwidth
    expected = recurrence(units, moved_s, moved_s, forward_s, backward_s)
    assert step_time(FULL[recurrence], units=units, times=(forward_s, backward_s), bandwidth=bandwidth) == expected


@pytest.mark.parametrize("plan", FULL.values())
def test_without_compute_the_communicator_never_rests(plan):
    """Five units gathered twice and reduced once, 1 s each."""
    assert step_time(plan, units=5, times=(0.0, 0.0), bandwidth=2.0**21) == 15.0


def test_without_prefetch_backward_waits_for_every_gather():
    """Forward 1 + 4 x 2; backward gathers 1, computes 2 and reduces while the next is gathered: 4 x 3 and a last 1."""
    options = {"units": 4, "times": (2.0, 2.0), "bandwidth": 2.0**21}
    late = step_time(Fsdp1Plan(wrap="every_block", backward_prefetch="none"), **options)
    assert step_time(FULL[fsdp1_recurrence], **options) < late
    assert step_time(Fsdp1Plan(wrap="every_block", backward_prefetch="post"), **options) <= late


def test_the_all_gather_limit_binds():
    """With long forwards and slow gathers, more than two at a time would be under way."""
    options = {"units": 6, "times": (4.0, 1.0), "bandwidth": 2.0**21}
    free = step_time(Fsdp1Plan(wrap="every_block", limit_all_gathers=False), **options)
    assert free <= step_time(FULL[fsdp1_recurrence], **options)


PSI = 4 * UNIT * 6
"""Bytes of six units."""


@pytest.mark.parametrize(
    ("plan", "gathered"),
    [
        (Fsdp1Plan(), 10 / 6),  # four of six units twice; the root holds the first and the last block
        (Fsdp1Plan(wrap="every_block"), 2),
        (Fsdp1Plan(sharding="shard_grad_op"), 1),
        (Fsdp1Plan(wrap="model"), 1),
        (Fsdp2Plan(), 10 / 6),
        (Fsdp2Plan(reshard_after_forward=True), 2),
        (Fsdp2Plan(reshard_after_forward=False), 1),
    ],
)
def test_volumes_are_those_of_the_closed_form(plan, gathered):
    """Parameters gathered once or twice and gradients reduce-scattered once: (N-1)/N (2 or 1 + 1) bytes on the wire."""
    program, _ = compiled(plan, units=6)
    assert payloads(program) == {("dp_shard", "all_gather"): gathered * PSI, ("dp_shard", "reduce_scatter"): PSI}


def test_links_carry_the_closed_form():
    program, cluster = compiled(Fsdp2Plan(reshard_after_forward=True), units=6, n=4)
    recording = simulate(program, cluster, costs(cluster))
    (load,) = {load.bytes_per_step for load in link_loads(recording.execution, recording.step_time_s)}
    assert load == pytest.approx(3 / 4 * PSI * 3)


def test_hybrid_sharding_all_reduces_shards():
    program, _ = compiled(HsdpPlan(), units=6, n=8, mesh=(("dp_shard", 4), ("dp_replicate", 2)))
    assert payloads(program)["dp_replicate", "all_reduce"] == PSI / 4


@pytest.mark.parametrize(("no_sync", "reductions"), [(False, 3), (True, 1)])
def test_accumulation_reduces_each_micro_batch_or_the_last(no_sync, reductions):
    program, _ = compiled(Fsdp2Plan(no_sync=no_sync), units=6, num_microbatches=3)
    sums = payloads(program)
    assert sums["dp_shard", "reduce_scatter"] == reductions * PSI
    assert sums["dp_shard", "all_gather"] == 3 * PSI * 10 / 6


def test_a_pipeline_gathers_and_reduces_once():
    mesh = (("dp_shard", 2), ("pp", 2))
    pipeline = PipelinePlan("1f1b", balance=(0, 3))
    program, _ = compiled(Fsdp2Plan(), units=6, n=4, mesh=mesh, num_microbatches=4, pipeline=pipeline)
    assert payloads(program) == {("dp_shard", "all_gather"): PSI / 2, ("dp_shard", "reduce_scatter"): PSI / 2}


def memory(plan, n=4, **options):
    cluster = StarCluster(n)
    the_job = job(cluster, toy(6), (("dp_shard", n),), data_parallel=plan, optimizer="adam", **options)
    return make_replica(the_job, [StageCode(the_job.build(1).blocks, 1, "none")]).memory()


def test_memory_is_a_shard_of_16_bytes_and_two_units():
    """(4 + 4 + 8)/N bytes a parameter, two neighbouring units, the root, and one unit's gradient."""
    state = memory(Fsdp2Plan())
    assert state.parameters + state.gradients + state.optimizer == 16 * 6 * UNIT / 4
    assert state.buffers == 4 * UNIT * (2 + 2) + 4 * 2 * UNIT
    assert memory(Fsdp1Plan(wrap="every_block")).buffers == 4 * UNIT * 2 + 4 * UNIT
    assert memory(Fsdp1Plan(sharding="shard_grad_op")).buffers == 4 * UNIT * 6 + 4 * 2 * UNIT
    whole = memory(Fsdp1Plan(no_sync=True), num_microbatches=2)
    assert whole.gradients == state.gradients + 4 * UNIT * 6


def test_shards_are_padded_to_equal_size():
    state = memory(Fsdp2Plan(wrap="model"), n=7)
    assert state.parameters == 4 * -(-6 * UNIT // 7)


def test_fsdp1_has_no_pipeline():
    with pytest.raises(InfeasibleError, match="fsdp1 does not combine with pp") as refused:
        compiled(Fsdp1Plan(), n=4, mesh=(("dp_shard", 2), ("pp", 2)), num_microbatches=2)
    assert "fsdp2" in refused.value.hint
