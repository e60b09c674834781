"""DeepSpeed's three stages and Megatron-LM's distributed optimizer: volumes, memory and times in closed form."""

from collections import Counter

import pytest
from fakes import StarCluster, costs, job, layer, model
from hypothesis import given
from hypothesis import strategies as st

from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective
from simdml.results.links import link_loads
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.distributed_optimizer import DistributedOptimizerPlan
from simdml.strategies.data_parallel.kinds import make_replica, replica_memory
from simdml.strategies.data_parallel.zero import Zero1Plan, Zero2Plan, fill_buckets
from simdml.strategies.data_parallel.zero3 import Zero3Plan
from simdml.strategies.data_parallel.zero3_trace import Coordinator, Limits, ShardedParameter
from simdml.strategies.job import DataParallelPlan, PipelinePlan
from simdml.strategies.stage_code import StageCode

UNIT = 2**20
LAYERS = 6
PSI = 4 * UNIT * LAYERS
"""Bytes of all parameters."""


def toy(layers=LAYERS, forward_s=1.0, backward_s=1.0):
    return model([([layer(forward_s, backward_s, [UNIT])], 0.0) for _ in range(layers)])


def compiled(plan, n=2, mesh=None, bandwidth=2.0**22, **options):
    cluster = StarCluster(n, bandwidth=bandwidth)
    return compile_job(job(cluster, toy(), mesh or (("dp", n),), data_parallel=plan, **options)), cluster


def step_time(plan, **options):
    program, cluster = compiled(plan, **options)
    return simulate(program, cluster, costs(cluster)).step_time_s


def payloads(program, rank_class=0):
    sums = Counter()
    for stream in program.classes[rank_class].streams:
        for i in stream.written_out():
            if isinstance(i, Collective):
                sums[str(i.kind)] += i.payload_bytes
    return dict(sums)


def memory(plan, n=4, **training):
    the_job = job(StarCluster(n), toy(), (("dp", n),), data_parallel=plan, optimizer="adam")
    for name, value in training.items():
        object.__setattr__(the_job.training, name, value)
    return make_replica(the_job, [StageCode(the_job.build(1).blocks, 1, "none")]).memory()


# Sizes


@pytest.mark.parametrize("plan", [Zero1Plan(), Zero2Plan(), DistributedOptimizerPlan()])
def test_gradients_are_reduced_and_parameters_gathered_once(plan):
    """2 bytes a parameter byte on the wire, (N-1)/N of the payloads (arXiv 1910.02054, section 7.2.1)."""
    assert payloads(compiled(plan)[0]) == {"reduce_scatter": PSI, "all_gather": PSI}


@pytest.mark.parametrize("plan", [Zero1Plan(use_multi_rank_bucket_allreduce=True), Zero2Plan(reduce_scatter=False)])
def test_deepspeed_can_all_reduce_instead(plan):
    assert payloads(compiled(plan)[0]) == {"all_reduce": PSI, "all_gather": PSI}


def test_stage_3_gathers_twice_where_nothing_is_kept():
    """3 bytes a parameter byte (section 7.2.2); persistent parameters and reuse save the rest."""
    plain = Zero3Plan(stage3_param_persistence_threshold=0, stage3_max_reuse_distance=0, stage3_prefetch_bucket_size=0)
    assert payloads(compiled(plain)[0]) == {"reduce_scatter": PSI, "all_gather": 2 * PSI}
    reusing = Zero3Plan(stage3_param_persistence_threshold=0)
    assert payloads(compiled(reusing)[0]) == {"reduce_scatter": PSI, "all_gather": PSI}
    persisting = Zero3Plan(stage3_param_persistence_threshold=UNIT)
    assert payloads(compiled(persisting)[0]) == {"reduce_scatter": PSI, "all_gather": PSI}


@pytest.mark.parametrize(
    ("plan", "reductions"), [(Zero1Plan(), 1), (Zero1Plan(overlap_comm=True), 1), (Zero2Plan(), 3), (Zero3Plan(), 3)]
)
def test_stage_1_reduces_once_a_step_and_the_others_each_micro_batch(plan, reductions):
    assert payloads(compiled(plan, num_microbatches=3)[0])["reduce_scatter"] == reductions * PSI


def test_links_carry_the_closed_form():
    program, cluster = compiled(Zero2Plan(), n=4)
    recording = simulate(program, cluster, costs(cluster))
    (load,) = {load.bytes_per_step for load in link_loads(recording.execution, recording.step_time_s)}
    assert load == pytest.approx(3 / 4 * 2 * PSI)


# Memory, bytes a parameter for Adam

HALF = {"precision": "fp16", "gradient_bytes": 2}
MIXED = {"precision": "bf16", "gradient_bytes": 4}


@pytest.mark.parametrize(
    ("plan", "training", "expected"),
    [
        (Zero1Plan(), HALF, 4 + 12 / 4),
        (Zero2Plan(), HALF, 2 + 14 / 4),
        (Zero3Plan(), HALF, 16 / 4),
        (DistributedOptimizerPlan(), MIXED, 6 + 12 / 4),
        (DistributedOptimizerPlan(), HALF, 4 + 12 / 4),
        (DistributedOptimizerPlan(), {}, 8 + 8 / 4),
        (DataParallelPlan(), MIXED, 18),
        (DataParallelPlan(), HALF, 16),
        (DataParallelPlan(), {}, 16),
    ],
)
def test_memory_equals_the_published_formulas(plan, training, expected):
    state = memory(plan, **training)
    assert (state.parameters + state.gradients + state.optimizer) / (UNIT * LAYERS) == expected


@pytest.mark.parametrize(("plan", "shards"), [(DistributedOptimizerPlan(), 4), (DataParallelPlan(), 1)])
def test_megatrons_fp32_gradients_of_half_precision_are_there_in_the_step_alone(plan, shards):
    """The published 20 and 4 + 16/N bytes have 4 and 4/N of them (dist_optimizer.md), none beside activations."""
    assert memory(plan, **HALF).after_backward == ((4 * UNIT * LAYERS // shards,),)
    assert memory(plan, **MIXED).after_backward == ()
    assert memory(plan).after_backward == ()


def test_buffers_of_gradients_have_a_buckets_size_whatever_the_model():
    assert memory(Zero1Plan(reduce_bucket_size=1000)).after_backward[0] == (4000,)
    assert memory(Zero2Plan(reduce_bucket_size=1000, overlap_comm=True)).buffers == 8000
    assert memory(Zero2Plan(contiguous_gradients=False)).buffers == 0
    live = Zero3Plan(
        reduce_bucket_size=1000,
        stage3_prefetch_bucket_size=0,
        stage3_param_persistence_threshold=0,
        stage3_max_reuse_distance=0,
    )
    assert memory(live).buffers == 4000 + 4 * UNIT


def test_a_step_in_half_precision_copies_the_largest_gradient_and_then_its_part():
    """deepspeed 0.6.5, stage_1_and_2.py: x.float(), g.data.double(), flatten(...).to(fp32); 4 ranks share 6 MiB."""
    part = UNIT * LAYERS // 4
    in_half = memory(Zero1Plan(contiguous_gradients=False), **HALF)
    assert in_half.after_backward[-3:] == ((4 * UNIT,), (8 * UNIT,), (2 * part, 4 * part))
    assert memory(Zero1Plan(), n=8, **HALF).after_backward[-2] == (8 * UNIT * LAYERS // 8,)
    assert memory(Zero1Plan(offload_optimizer="cpu"), **HALF).after_backward[1:] == ()


def test_the_bf16_optimizer_keeps_16_bit_gradients_beside_those_in_fp32():
    """Bytes a parameter: 2 weights, 4 + 2 gradients, 12/N; all gradients are summed in one 16-bit copy (0.6.5)."""
    state = memory(Zero1Plan(), **MIXED)
    assert (state.parameters + state.gradients + state.optimizer) / (UNIT * LAYERS) == 8 + 12 / 4
    assert state.after_backward[-2:] == ((4 * UNIT,), (2 * UNIT * LAYERS,))


def test_state_lies_as_deepspeed_has_it_on_a_single_rank_too():
    alone = job(StarCluster(1), toy(), (("dp", 1),), data_parallel=Zero1Plan(), optimizer="adam")
    object.__setattr__(alone.training, "precision", "fp16")
    object.__setattr__(alone.training, "gradient_bytes", 2)
    state = replica_memory(alone, [StageCode(alone.build(1).blocks, 1, "none")])
    assert state.optimizer == 12 * UNIT * LAYERS
    assert state.after_backward[-1] == (2 * UNIT * LAYERS, 4 * UNIT * LAYERS)


# Buckets


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(1, 120))
def test_a_bucket_closes_before_it_overflows(elements, limit):
    buckets = fill_buckets(elements, limit)
    assert [index for bucket in buckets for index in bucket] == list(range(len(elements)))
    sizes = [sum(elements[index] for index in bucket) for bucket in buckets]
    assert all(size <= limit or len(bucket) == 1 for size, bucket in zip(sizes, buckets, strict=True))
    assert all(size + elements[after[0]] > limit for size, after in zip(sizes, buckets[1:], strict=False))


UNAHEAD = Zero3Plan(stage3_prefetch_bucket_size=0, stage3_max_reuse_distance=0)
# Times: six layers, forward and backward 1 s each, a reduction or gather of a layer 0.5 s with two ranks


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Zero1Plan(), 12 + 3 + 3),
        (Zero2Plan(reduce_bucket_size=UNIT), 12 + 3 + 3),
        (Zero2Plan(reduce_bucket_size=UNIT, overlap_comm=True), 12 + 2 * 0.5 + 3),
        (Zero1Plan(reduce_bucket_size=2 * UNIT, overlap_comm=True), 12 + 1 + 3),
        (DistributedOptimizerPlan(), 12 + 3 + 3),
        (DistributedOptimizerPlan(overlap_grad_reduce=True, ddp_bucket_size=UNIT), 12 + 0.5 + 3),
        (DistributedOptimizerPlan(overlap_param_gather=True), 12 + 3 + 3),
        (DistributedOptimizerPlan(True, True, UNIT), 12 + 0.5 + 0.5),
        (Zero3Plan(reduce_bucket_size=UNIT), 0.5 + 5 * 0.5 + 5 + 6 + 2 * 0.5),
        (UNAHEAD, 0.5 + 12 + 3),
    ],
)
def test_step_times_in_closed_form(plan, expected):
    """A bucket of DeepSpeed's is full when the next gradient does not fit, so that two are left at the end.

    Stage 3 gathers the first layer, then five at once, which the second layer waits for. Without prefetch it gathers
    each by itself, as far ahead as the host is; all gradients fit into one bucket there.
    """
    assert step_time(plan) == expected


def test_slow_reductions_hold_up_the_next_bucket():
    """A reduction takes 2 s and a backward 1 s; the first bucket is full after two, each later one waits for it."""
    plan = Zero2Plan(reduce_bucket_size=UNIT, overlap_comm=True)
    assert step_time(plan, bandwidth=2.0**20) == 6 + 2 + 6 * 2 + 6 * 2


def test_zero_1_and_the_distributed_optimizer_combine_with_pipelines():
    mesh, pipeline = (("dp", 2), ("pp", 2)), PipelinePlan("1f1b", balance=(0, 3))
    for plan in (Zero1Plan(), DistributedOptimizerPlan(True, True, UNIT)):
        program, cluster = compiled(plan, n=4, mesh=mesh, num_microbatches=4, pipeline=pipeline)
        for stage in (0, 1):
            assert payloads(program, stage) == {"reduce_scatter": PSI / 2, "all_gather": PSI / 2}
        assert simulate(program, cluster, costs(cluster)).step_time_s > 0


@pytest.mark.parametrize("plan", [Zero2Plan(), Zero3Plan()])
def test_stages_2_and_3_refuse_pipelines(plan):
    """PipelineEngine asserts as much (deepspeed/runtime/pipe/engine.py)."""
    with pytest.raises(InfeasibleError, match="does not combine with pp") as refused:
        compiled(plan, n=4, mesh=(("dp", 2), ("pp", 2)), num_microbatches=2)
    assert "zero1" in refused.value.hint


# The coordinator of stage 3

LIMITS = st.builds(Limits, st.integers(0, 30), st.integers(0, 3), st.integers(0, 60), st.integers(0, 80))
MODULES = st.lists(st.lists(st.integers(1, 10), min_size=1, max_size=3), min_size=1, max_size=8)


def trace_of(modules):
    named = [
        tuple(ShardedParameter(f"{number}.{index}", count) for index, count in enumerate(module))
        for number, module in enumerate(modules)
    ]
    return [*named, *reversed(named)]


@given(MODULES, LIMITS)
def test_every_module_finds_its_parameters_whole_and_all_are_released_in_the_end(modules, limits):
    trace = trace_of(modules)
    persistent = {p for module in trace for p in module if p.elements <= limits.persistence}
    whole = set(persistent)
    for module, fetch in zip(trace, Coordinator(trace, limits).walk(), strict=True):
        gathered = {*fetch.fetched, *fetch.prefetched}
        assert len(gathered) == len(fetch.fetched) + len(fetch.prefetched)
        assert not gathered & whole
        whole |= gathered
        assert set(module) <= whole
        assert fetch.live_elements == sum(p.elements for p in whole - persistent)
        assert sum(p.elements for p in fetch.prefetched[:-1]) < max(limits.prefetch_bucket, 1)
        assert set(fetch.released) <= set(module) - persistent
        whole -= set(fetch.released)
    assert whole == persistent


@given(MODULES)
def test_without_limits_everything_is_gathered_once(modules):
    fetches = list(Coordinator(trace_of(modules), Limits(10**9, 0, 10**9, 10**9)).walk())
    assert sum(len(f.fetched) + len(f.prefetched) for f in fetches) == sum(map(len, modules))
    assert not any(f.fetched for f in fetches[1:])


@given(MODULES)
def test_without_prefetch_and_reuse_each_module_fetches_its_own(modules):
    trace = trace_of(modules)
    for module, fetch in zip(trace, Coordinator(trace, Limits(0, 0, 10**9, 0)).walk(), strict=True):
        assert fetch.fetched == module
        assert not fetch.prefetched
        assert fetch.live_elements == sum(p.elements for p in module)


def test_schedules_without_flush_keep_whole_versions():
    options = {"n": 4, "mesh": (("dp", 2), ("pp", 2)), "num_microbatches": 2}
    with pytest.raises(InfeasibleError, match="zero1 does not combine with pipedream"):
        compiled(Zero1Plan(), pipeline=PipelinePlan("pipedream", balance=(0, 3)), **options)
