"""DistributedDataParallel: PyTorch's buckets, and their overlap with backward."""

import pytest
from fakes import StarCluster, costs, job, layer, model
from hypothesis import given
from hypothesis import strategies as st

from simdml.engine.simulator import simulate
from simdml.program.instructions import Collective
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.buckets import assign_buckets
from simdml.strategies.job import DataParallelPlan

# 12 x Linear(1024, 1024) with bias, fp32: gradients get ready last layer first, bias and weight of one together.
LINEAR = [1024 * 4, 1024 * 1024 * 4]
TWELVE_LINEARS = LINEAR * 12


def sizes(**options):
    return [bucket.payload_bytes for bucket in assign_buckets(TWELVE_LINEARS, **options)]


def test_golden_buckets_of_twelve_linears():
    """What torch 2.13 does with DistributedDataParallel's defaults and two explicit caps."""
    assert sizes(first_iteration=True) == [50_380_800]
    assert sizes() == [4_198_400, 29_388_800, 16_793_600]
    assert sizes(cap_bytes=10 * 2**20) == [12_595_200] * 4
    assert sizes(cap_bytes=25 * 2**20) == [29_388_800, 20_992_000]


@given(st.lists(st.integers(1, 10**8), max_size=40), st.integers(1, 10**8))
def test_every_gradient_is_in_one_bucket_and_buckets_close_at_the_cap(gradients, cap):
    buckets = assign_buckets(gradients, cap)
    assert [p for b in buckets for p in b.parameters] == list(range(len(gradients)))
    for bucket in buckets:
        assert sum(gradients[p] for p in bucket.parameters) == bucket.payload_bytes
        assert bucket.payload_bytes - gradients[bucket.parameters[-1]] < cap
    assert all(bucket.payload_bytes >= cap for bucket in buckets[:-1])


def ddp(plan, n=2, bandwidth=2.0**22):
    """Four layers of 4 MiB gradients each; backward 1 s a layer; an all-reduce of one takes 2(n-1)/n s."""
    cluster = StarCluster(n, bandwidth=bandwidth)
    toy = model([([layer(1.0, 1.0, [2**20])], 0.0) for _ in range(4)])
    program = compile_job(job(cluster, toy, (("dp", n),), data_parallel=plan))
    return program, cluster


def step_time(plan, **options):
    program, cluster = ddp(plan, **options)
    return simulate(program, cluster, costs(cluster)).step_time_s


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (DataParallelPlan(overlap=False, gradient_as_bucket_view=True), 8.0 + 4.0),
        (DataParallelPlan(bucket_cap_bytes=2**22, gradient_as_bucket_view=True), 5.0 + 4.0),
        (DataParallelPlan(bucket_cap_bytes=2**23, gradient_as_bucket_view=True), 6.0 + 4.0),
        (DataParallelPlan(first_iteration=True, gradient_as_bucket_view=True), 8.0 + 4.0),
    ],
)
def test_step_time_of_two_ranks_in_closed_form(plan, expected):
    """Reduction takes 1 s a layer with two ranks, as long as a layer's backward: one bucket's time is exposed."""
    assert step_time(plan) == expected


def test_bytes_reduced_are_the_parameters():
    program, _ = ddp(DataParallelPlan())
    reduced = [i.payload_bytes for s in program.classes[0].streams for i in s.instructions if isinstance(i, Collective)]
    assert sum(reduced) == 4 * 2**22


@given(st.integers(2, 6), st.sampled_from([2**20, 2**22, 2**23, 2**25]))
def test_overlap_never_slows_and_never_beats_the_bounds(n, cap):
    overlapped = step_time(DataParallelPlan(bucket_cap_bytes=cap, gradient_as_bucket_view=True), n=n)
    sequential = step_time(DataParallelPlan(overlap=False, gradient_as_bucket_view=True), n=n)
    wire = 4 * 2 * (n - 1) / n
    assert max(8.0, 4.0 + wire) <= overlapped + 1e-9
    assert overlapped <= sequential + 1e-9
