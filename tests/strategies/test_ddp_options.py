"""DistributedDataParallel's options: unused parameters, accumulation, buffers, communication hooks, local SGD."""

from collections import Counter
from dataclasses import replace

import pytest
from fakes import StarCluster, costs, job, layer, model, work
from hypothesis import given
from hypothesis import strategies as st

from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.buckets import assign_registered_buckets
from simdml.strategies.data_parallel.comm_hooks import Gradient, compresses, hooked
from simdml.strategies.data_parallel.kinds import make_replica
from simdml.strategies.data_parallel.local_sgd import LocalSgdPlan
from simdml.strategies.job import DataParallelPlan, Training
from simdml.strategies.stage_code import StageCode
from simdml.workload.model import Buffer, Layer, Parameter

LINEAR = [1024 * 4, 1024 * 1024 * 4]
UNIT = 2**20


def toy(layers=4, backward_s=1.0):
    return model([([layer(1.0, backward_s, [UNIT])], 0.0) for _ in range(layers)])


def compiled(plan, toy_model=None, n=2, mesh=None, **options):
    cluster = StarCluster(n, bandwidth=2.0**22)
    axes = mesh or (("dp", n),)
    return compile_job(job(cluster, toy_model or toy(), axes, data_parallel=plan, **options)), cluster


def collectives(program):
    return [i for s in program.classes[0].streams for i in s.written_out() if isinstance(i, Collective)]


def payloads(program):
    sums = Counter()
    for collective in collectives(program):
        sums[collective.group, str(collective.kind)] += collective.payload_bytes
    return dict(sums)


def step_time(plan, **options):
    program, cluster = compiled(plan, **options)
    return simulate(program, cluster, costs(cluster)).step_time_s


# Unused parameters


def test_golden_buckets_with_unused_parameters():
    """Twelve Linear(1024, 1024) in torch 2.13 with find_unused_parameters: the small bucket is the first layer's."""
    buckets = assign_registered_buckets(LINEAR * 12)
    assert [bucket.payload_bytes for bucket in buckets] == [16_797_696, 29_388_800, 4_194_304]
    assert buckets[-1].parameters == (23,)


@given(st.lists(st.integers(1, 10**8), max_size=30), st.one_of(st.none(), st.integers(1, 10**8)))
def test_registered_buckets_hold_every_gradient_in_order(sizes, cap):
    buckets = assign_registered_buckets(sizes, cap)
    assert [index for bucket in buckets for index in bucket.parameters] == list(range(len(sizes)))
    assert all(bucket.payload_bytes == sum(sizes[i] for i in bucket.parameters) for bucket in buckets)


def test_looking_for_unused_parameters_reduces_a_map_of_them():
    program, _ = compiled(DataParallelPlan(find_unused_parameters=True))
    assert payloads(program)["dp", "all_reduce"] == 4 * 4 * UNIT + 4 * 4
    static, _ = compiled(DataParallelPlan(find_unused_parameters=True, static_graph=True))
    assert payloads(static)["dp", "all_reduce"] == 4 * 4 * UNIT


# Accumulation


def test_no_sync_reduces_once_and_sync_each_micro_batch():
    """Two micro-batches of 4 + 4 s; a layer's reduction takes 1 s, of which one is exposed each time."""
    plan = DataParallelPlan(bucket_cap_bytes=4 * UNIT, gradient_as_bucket_view=True)
    assert step_time(plan, num_microbatches=2) == 16 + 1
    assert step_time(replace(plan, no_sync=False), num_microbatches=2) == 16 + 2


# Buffers


def with_buffers(samples=1):
    statistics = (Buffer("mean", "fp32", 4096), Buffer("variance", "fp32", 4096), Buffer("count", "int64", 8))
    layers = [Layer(f"norm{i}", (work(1.0),), (work(1.0),), (Parameter("w", 64),), (), statistics) for i in range(3)]
    return model([([each], 0.0) for each in layers])


def test_buffers_are_sent_in_one_message_a_type_before_the_forward_that_will_reduce():
    program, _ = compiled(DataParallelPlan(), with_buffers(), num_microbatches=2)
    sent = [c.payload_bytes for c in collectives(program) if c.kind == "broadcast"]
    assert sent == [3 * 8192, 3 * 8]
    each, _ = compiled(DataParallelPlan(no_sync=False), with_buffers(), num_microbatches=2)
    assert len([c for c in collectives(each) if c.kind == "broadcast"]) == 4
    none, _ = compiled(DataParallelPlan(broadcast_buffers=False), with_buffers())
    assert not [c for c in collectives(none) if c.kind == "broadcast"]


# Hooks


@pytest.mark.parametrize("rank", [1, 3, 8])
@pytest.mark.parametrize("rate", [0.5, 2.0, 4.0])
def test_what_powersgd_compresses_is_what_torch_compresses(rank, rate):
    torch_hook = pytest.importorskip("torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook")
    for n in (1, 2, 5, 16, 31, 1000):
        for m in (1, 3, 7, 16, 64, 4096):
            expected = torch_hook._should_compress(n, m, min(n, m, rank), rate)[0]
            assert compresses(Gradient(n * m, n), rank, rate) == expected


def reduced(plan, gradients, gradient_bytes=4):
    instructions = hooked(plan, "bucket", gradients, gradient_bytes, "dp").reduction
    return [i.payload_bytes for i in instructions if isinstance(i, Collective)]


MATRIX, VECTOR = Gradient(1000 * 200, 1000), Gradient(1000, 0)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (DataParallelPlan(), [4 * 201_000]),
        (DataParallelPlan(comm_hook="allreduce"), [4 * 201_000]),
        (DataParallelPlan(comm_hook="fp16_compress"), [2 * 201_000]),
        (DataParallelPlan(comm_hook="bf16_compress"), [2 * 201_000]),
        (DataParallelPlan(comm_hook="powersgd"), [4 * 1000, 4 * 1000, 4 * 200]),
        (DataParallelPlan(comm_hook="powersgd", powersgd_rank=4), [4 * 1000, 4 * 4 * 1000, 4 * 4 * 200]),
        (DataParallelPlan(comm_hook="powersgd", powersgd_min_compression_rate=1000.0), [4 * 201_000]),
        (DataParallelPlan(comm_hook="batched_powersgd"), [4 * 449, 4 * 449]),
    ],
)
def test_hooks_reduce_what_their_closed_forms_say(plan, expected):
    """Half the bytes; or what is not compressed, then (n r) of P and (m r) of Q; or both of a square of 449."""
    assert reduced(plan, [MATRIX, VECTOR]) == expected


def test_halving_halves_the_time_of_a_reduction():
    plan = DataParallelPlan(bucket_cap_bytes=16 * UNIT, gradient_as_bucket_view=True)
    assert step_time(plan) == 8 + 4
    assert step_time(replace(plan, comm_hook="fp16_compress")) == 8 + 2


def test_powersgd_keeps_errors_and_refuses_tensor_parallelism():
    def memory(plan):
        the_job = job(StarCluster(2), toy(), (("dp", 2),), data_parallel=plan)
        return make_replica(the_job, [StageCode(the_job.build(1).blocks, 1, "none")]).memory()

    plain, compressed = memory(DataParallelPlan()), memory(DataParallelPlan(comm_hook="powersgd"))
    assert compressed.buffers - plain.buffers == plain.gradients
    with pytest.raises(InfeasibleError, match="tp cuts them"):
        compiled(DataParallelPlan(comm_hook="powersgd"), n=4, mesh=(("tp", 2), ("dp", 2)))


# Local SGD


def period(plan, n=4, node=2):
    cluster = StarCluster(n, bandwidth=2.0**22)
    training = Training(1, plan.period, optimizer="sgd", local_steps=plan.period)
    the_job = job(cluster, toy(), (("dp_node", node), ("dp", n // node)), data_parallel=plan)
    the_job = replace(the_job, training=training)
    return compile_job(the_job), cluster


def test_local_sgd_averages_gradients_in_the_node_and_parameters_once_a_period():
    program, _ = period(LocalSgdPlan(period=3))
    assert payloads(program) == {("dp_node", "all_reduce"): 3 * 16 * UNIT, ("dp_all", "all_reduce"): 16 * UNIT}
    alone, _ = period(LocalSgdPlan(period=3, post_local_gradient_allreduce=False))
    assert payloads(alone) == {("dp_all", "all_reduce"): 16 * UNIT}


def test_a_period_of_local_steps_in_closed_form():
    """Three times 8 s of computation, then 16 MiB averaged over four ranks: 2 x 3/4 x 4 s."""
    program, cluster = period(LocalSgdPlan(period=3, post_local_gradient_allreduce=False))
    assert simulate(program, cluster, costs(cluster)).step_time_s == pytest.approx(3 * 8 + 6, abs=1e-9)
