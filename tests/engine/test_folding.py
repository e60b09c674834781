"""Folding and coarsening change no time, with ``==`` on every end of every operation."""

import numpy as np
import pytest
from fakes import StarCluster, costs, job, layer, model
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.flows import flow_table
from simdml.engine.incidence import Incidence
from simdml.engine.refinement import Colours, unequal
from simdml.engine.simulator import simulate
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, PipelinePlan
from simdml.strategies.parameter_server.plan import ParameterServerPlan


def times_by_rank(recording, rank):
    """Ends of the operations of each stream of ``rank``, expanded from its class."""
    execution = recording.execution
    representative = execution.ranks[int(execution.partition.rank_class[rank])]
    return [
        (stream.name, [(entry.operation, entry.end) for entry in stream.entries]) for stream in representative.streams
    ]


def assert_equal_times(program, cluster, prices, conditions=AS_RATED, steps=2):
    folded = simulate(program, cluster, prices, conditions, steps=steps, coarsened=False)
    unfolded = simulate(program, cluster, prices, conditions, steps=steps, folded=False, coarsened=False)
    ranks = program.mesh.num_ranks
    assert unfolded.execution.partition.num_classes == ranks
    for rank in range(ranks):
        expected = dict(times_by_rank(unfolded, rank))
        for name, ends in times_by_rank(folded, rank):
            shared = min(len(ends), len(expected[name]))
            assert ends[:shared] == expected[name][:shared]
    coarsened = simulate(program, cluster, prices, conditions, steps=steps)
    positions = coarsened.execution.partition.rank_class
    for rank in range(ranks):
        assert coarsened.step_ends[int(positions[rank])] == unfolded.step_ends[rank]
    return folded


def hybrid(tp, dp, pp, *, layers=2, microbatches=2, nbytes=2.0**18, schedule="1f1b", **plan):
    cluster = StarCluster(tp * dp * pp, bandwidth=2.0**22)
    toy = model([([layer(0.3, 0.7, [2**14 * (i + 1), 100])], nbytes) for i in range(layers * pp)])
    made = job(
        cluster,
        toy,
        (("tp", tp), ("dp", dp), ("pp", pp)),
        num_microbatches=microbatches,
        pipeline=PipelinePlan(schedule, balance=tuple(range(0, layers * pp, layers)), **plan),
        data_parallel=DataParallelPlan(bucket_cap_bytes=2**16),
    )
    return compile_job(made), cluster


@pytest.mark.parametrize(("tp", "dp", "pp"), [(1, 8, 1), (1, 4, 4), (2, 2, 4), (1, 1, 8), (4, 4, 2)])
def test_symmetric_jobs_fold_to_their_stages(tp, dp, pp):
    program, cluster = hybrid(tp, dp, pp)
    folded = assert_equal_times(program, cluster, costs(cluster, latency_s=0.001))
    assert folded.execution.partition.num_classes == pp


def test_a_slow_link_splits_what_it_touches_and_nothing_more():
    program, cluster = hybrid(1, 4, 2)
    folded = assert_equal_times(program, cluster, costs(cluster), Conditions(link_bytes_per_s={0: 2.0**20}))
    # Ranks 0 and 4 are the two ends of the slow replica; the three others of each stage stay alike.
    assert folded.execution.partition.num_classes == 4


@settings(max_examples=25, deadline=None)
@given(
    tp=st.sampled_from([1, 2]),
    dp=st.integers(1, 4),
    pp=st.integers(1, 3),
    microbatches=st.integers(1, 4),
    slow_links=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([2.0, 3.0, 8.0])), max_size=3),
    slow_gpus=st.dictionaries(st.integers(0, 40), st.sampled_from([1.25, 2.0]), max_size=3),
    overlap=st.booleans(),
)
def test_folded_equals_unfolded(tp, dp, pp, microbatches, slow_links, slow_gpus, overlap):
    program, cluster = hybrid(tp, dp, pp, microbatches=microbatches, schedule="gpipe", overlap_p2p=overlap)
    capacities = cluster.links.capacity_bytes_per_s
    slow = {link % len(capacities): capacities[link % len(capacities)] / factor for link, factor in slow_links}
    gpus = {gpu % cluster.num_gpus: factor for gpu, factor in slow_gpus.items()}
    conditions = Conditions(slow_gpus=gpus, link_bytes_per_s=slow)
    assert_equal_times(program, cluster, costs(cluster, latency_s=0.0005, launch_s=0.01), conditions)


def test_a_slow_gpu_splits_its_replica_and_nothing_more():
    program, cluster = hybrid(1, 4, 2)
    folded = assert_equal_times(program, cluster, costs(cluster), Conditions(slow_gpus={5: 1.5}))
    assert folded.execution.partition.num_classes == 4


def test_a_wrong_partition_is_found_out():
    """The check behind the hash: classes that are not equitable are named, those of refinement pass."""
    program, cluster = hybrid(1, 4, 2)
    table = flow_table(program, cluster, costs(cluster))
    incidence = Incidence(program.mesh.num_ranks, table)
    sizes = (program.mesh.num_ranks, incidence.num_flows, len(incidence.links))
    finest = Colours(*(np.arange(size, dtype=np.uint64) for size in sizes))
    assert unequal(incidence, finest) == ""
    coarsest = Colours(*(np.zeros(size, dtype=np.uint64) for size in sizes))
    assert "flows of a class" in unequal(incidence, coarsest)
    ranks = finest.ranks.copy()
    ranks[1] = ranks[0]
    assert "ranks of a class" in unequal(incidence, Colours(ranks, finest.flows, finest.links))
    links = finest.links.copy()
    links[1] = links[0]
    assert "links of a class" in unequal(incidence, Colours(finest.ranks, finest.flows, links))


def test_ranks_that_use_servers_are_told_apart():
    cluster = StarCluster(4, bandwidth=2.0**22, servers=2)
    toy = model([([layer(0.5, 0.5, [2**16])], 0.0)])
    plan = ParameterServerPlan((4, 5), placement="sharded")
    program = compile_job(job(cluster, toy, (("dp", 4),), parameter_server=plan))
    recording = simulate(program, cluster, costs(cluster))
    assert recording.execution.partition.num_classes == 4
    assert "first come, first served" in recording.execution.partition.reason


def test_renumbering_replicas_changes_nothing():
    program, cluster = hybrid(1, 4, 2)
    plain = simulate(program, cluster, costs(cluster)).step_time_s
    order = (2, 0, 3, 1, 6, 4, 7, 5)
    from dataclasses import replace

    assert simulate(replace(program, device_of_rank=order), cluster, costs(cluster)).step_time_s == plain
