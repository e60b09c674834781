"""Pipeline schedules in the engine: makespans and memory of p = 4, m = 8, F = I = W = 1, in closed form."""

from fractions import Fraction
from itertools import pairwise

import pytest
from fakes import StarCluster, costs, job, layer_in_halves, model

from simdml.engine.simulator import simulate
from simdml.program.instructions import Collective, CollectiveKind
from simdml.results.accounting import Meanings, account
from simdml.results.critical_path import critical_path
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.fsdp2 import Fsdp2Plan
from simdml.strategies.footprint import peak_kept
from simdml.strategies.job import PipelinePlan
from simdml.strategies.schedules import SCHEDULES


def pipeline(name, p=4, m=8, chunks=None, output_bytes=0.0, steps=None, folded=True, **plan):
    """A step of F = I = W = 1 second a device and micro-batch (of one direction, where there are two)."""
    schedule = SCHEDULES[name]
    chunks = chunks or schedule.chunks
    each = 1.0 / chunks
    stages = schedule.placement(p, chunks).num_stages
    toy = model([([layer_in_halves(each, each, each)], output_bytes) for _ in range(stages)])
    plan = PipelinePlan(name, chunks, balance=tuple(range(stages)), **plan)
    cluster = StarCluster(p, bandwidth=1.0)
    program = compile_job(job(cluster, toy, (("pp", p),), num_microbatches=m, pipeline=plan))
    return simulate(program, cluster, costs(cluster), steps=steps, folded=folded)


# name: devices, micro-batches, makespan, peak live chunks by device
ORACLES = {
    "gpipe": (4, 8, 33.0, [8, 8, 8, 8]),
    "1f1b": (4, 8, 33.0, [4, 3, 2, 1]),
    "interleaved_1f1b": (4, 8, 28.5, [11, 9, 7, 5]),
    "looped_bfs": (4, 8, 28.5, [16, 16, 16, 16]),
    "interleaved_zero_bubble": (4, 8, 25.5, [8, 8, 8, 8]),
    "zb_v": (4, 8, 25.5, [8, 8, 8, 8]),
    "v_half": (4, 8, 28.5, [6, 6, 6, 6]),
    "v_min": (4, 8, 29.5, [4, 4, 4, 4]),
    "dual_pipe_v": (4, 8, 25.5, [9, 9, 9, 9]),
    "dual_pipe": (8, 16, 25.5, [9] * 8),
    "zb_h1": (4, 8, 27.0, [4, 4, 4, 4]),
    "zb_h2": (4, 8, 27.0, [7, 7, 7, 7]),
}
NAMES = [name for name in SCHEDULES if name in ORACLES]
JOINED = {"zb_h2": 24.0, "zb_v": 24.0}
"""Time from step to step where steps join more closely than a step alone would say: no device idles."""


def test_every_schedule_with_flush_has_an_oracle():
    assert set(ORACLES) == {name for name, schedule in SCHEDULES.items() if schedule.warm_up is None}


@pytest.mark.parametrize("name", ORACLES)
def test_makespan(name):
    p, m, makespan, _ = ORACLES[name]
    assert pipeline(name, p, m, steps=1).step_time_s == makespan
    recording = pipeline(name, p, m)
    assert recording.step_time_s == JOINED.get(name, makespan)
    assert recording.periodic


@pytest.mark.parametrize("name", ORACLES)
def test_peak_live_chunks(name):
    p, m, _, peaks = ORACLES[name]
    schedule = SCHEDULES[name]
    actions = [schedule.actions(device, p, m, schedule.chunks) for device in range(p)]
    assert [peak_kept(each, [1.0] * schedule.chunks) for each in actions] == peaks


@pytest.mark.parametrize("name", ORACLES)
def test_where_the_step_goes_adds_up(name):
    p, m, makespan, _ = ORACLES[name]
    makespan = JOINED.get(name, makespan)
    recording = pipeline(name, p, m)
    begin, end = recording.window
    meanings = Meanings(recording.execution)
    expected = {"forward": 8.0, "backward": 16.0, "bubble": makespan - 24.0}
    for rank in recording.execution.ranks:
        accounts = account(rank, meanings, begin, end)
        assert accounts == {name: seconds for name, seconds in expected.items() if seconds}
    path = critical_path(recording, begin, end)
    assert sum(segment.seconds for segment in path) == makespan
    assert all(before.end_s == after.begin_s for before, after in pairwise(path))


def test_every_device_of_zb_h2_is_busy_from_its_first_forward_on():
    """Device i runs from i to 24 + i (arXiv 2401.10241, figure 3)."""
    recording = pipeline("zb_h2", steps=1)
    assert [ends[0] for ends in recording.step_ends] == [24.0, 25.0, 26.0, 27.0]


BUBBLES = {
    "gpipe": lambda p, m, v: Fraction(p - 1, m + p - 1),
    "1f1b": lambda p, m, v: Fraction(p - 1, m + p - 1),
    "interleaved_1f1b": lambda p, m, v: Fraction(p - 1, v * m + p - 1),
    "looped_bfs": lambda p, m, v: Fraction(p - 1, v * m + p - 1),
}


@pytest.mark.parametrize("name", BUBBLES)
@pytest.mark.parametrize(("p", "m", "v"), [(2, 4, 2), (3, 6, 2), (4, 8, 4), (8, 16, 2)])
def test_bubble_fraction(name, p, m, v):
    """Narayanan et al., SC21, section 2.2; Lamy-Poirier, arXiv 2211.05953."""
    v = v if SCHEDULES[name].any_chunks else 1
    makespan = Fraction(pipeline(name, p, m, v).step_time_s)
    assert 1 - 3 * m / makespan == BUBBLES[name](p, m, v)


@pytest.mark.parametrize("p", [2, 3, 8])
@pytest.mark.parametrize("m", [1, 4, 24])
def test_1f1b_bubble_is_p_minus_one_forwards_and_backwards(p, m):
    assert pipeline("1f1b", p, m).step_time_s == (m + p - 1) * 3.0


@pytest.mark.parametrize("p", [2, 3, 5, 8])
def test_bubble_of_zero_bubble_schedules_without_communication(p):
    """A third of 1F1B's for ZB-H1, (p-1)(F+I-W); none for ZB-H2 and ZB-V (arXiv 2401.10241, table 2)."""
    m = 3 * p
    assert pipeline("zb_h1", p, m).step_time_s == 3.0 * m + (p - 1)
    assert pipeline("zb_h2", p, m).step_time_s == 3.0 * m
    assert pipeline("zb_v", p, m).step_time_s == 3.0 * m


@pytest.mark.parametrize("name", ORACLES)
def test_more_micro_batches_than_the_oracles_have_keep_every_bubble(name):
    p, m, makespan, _ = ORACLES[name]
    longer = pipeline(name, p, 2 * m, steps=1).step_time_s
    assert longer - makespan == 24.0


def test_blocking_sends_lengthen_the_pipeline_more_than_overlapped_ones():
    overlapped = pipeline("1f1b", output_bytes=0.25, overlap_p2p=True).step_time_s
    blocking = pipeline("1f1b", output_bytes=0.25, overlap_p2p=False).step_time_s
    assert 33.0 < overlapped < blocking


def test_messages_delay_the_fill_and_drain_of_gpipe_by_their_time():
    """Forward: the last stage starts after p-1 stages and messages; then its m forwards; backward likewise."""
    assert pipeline("gpipe", output_bytes=0.5).step_time_s == 33.0 + 2 * 3 * 0.5


@pytest.mark.parametrize("name", ORACLES)
def test_messages_cross_every_boundary_once_a_micro_batch_and_direction(name):
    """Bytes leaving device i: one message a micro-batch, direction and boundary between two devices."""
    p, m, _, _ = ORACLES[name]
    schedule = SCHEDULES[name]
    paths = schedule.placement(p, schedule.chunks).paths
    each = m // len(paths)
    expected = [0.0] * p
    for path in paths:
        for (here, _), (there, _) in pairwise(path):
            if here != there:
                expected[here] += each * 0.125
                expected[there] += each * 0.125
    recording = pipeline(name, p, m, output_bytes=0.125)
    sent = [sum_of_sends(rank) for rank in recording.execution.ranks]
    assert sent == expected


def sum_of_sends(rank):
    return sum(
        meaning.payload_bytes
        for stream, meanings in zip(rank.streams, rank.meanings, strict=True)
        if stream.name.startswith("send")
        for meaning in meanings
    )


@pytest.mark.parametrize("name", ["zb_v", "dual_pipe", "dual_pipe_v"])
def test_folded_equals_unfolded(name):
    p, m, _, _ = ORACLES[name]
    folded = pipeline(name, p, m, output_bytes=0.125)
    assert folded.step_time_s == pipeline(name, p, m, output_bytes=0.125, folded=False).step_time_s


@pytest.mark.parametrize("name", ["pipedream", "pipedream_2bw"])
@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (5, 5)])
def test_pipelines_without_flush_have_no_bubble_in_the_steady_state(name, p, m):
    recording = pipeline(name, p, m)
    assert recording.periodic
    assert recording.step_time_s == 3.0 * m
    first = pipeline(name, p, m, steps=1).step_time_s
    assert first == 3.0 * m + (p - 1) * 3.0


@pytest.mark.parametrize("name", ["pipedream", "pipedream_2bw"])
def test_pipelines_without_flush_keep_as_many_micro_batches_as_stages_follow(name):
    schedule = SCHEDULES[name]
    live = [(*schedule.warm_up(i, 4, 8, 1), *schedule.actions(i, 4, 8, 1)) for i in range(4)]
    assert [peak_kept(actions, [1.0]) for actions in live] == [4, 3, 2, 1]


def test_versions_of_the_weights():
    """p - i of them are stashed by PipeDream, two are kept by 2BW, one by all others."""
    versions = {name: [schedule.weight_versions(i, 4) for i in range(4)] for name, schedule in SCHEDULES.items()}
    assert versions.pop("pipedream") == [4, 3, 2, 1]
    assert versions.pop("pipedream_2bw") == [2, 2, 2, 2]
    assert all(kept == [1, 1, 1, 1] for kept in versions.values())


def test_pipedream_updates_after_every_micro_batch_and_2bw_once_a_step():
    def updates(name):
        meanings = pipeline_of_parameters(name).execution.ranks[0].meanings[0]
        return [segment.label for meaning in meanings for segment in meaning.segments].count("optimizer")

    assert updates("pipedream") == 8
    assert updates("pipedream_2bw") == 1


def pipeline_of_parameters(name):
    cluster = StarCluster(8)
    toy = model([([layer_in_halves(1.0, 1.0, 1.0, parameters=(1000,))], 0.0) for _ in range(4)])
    plan = PipelinePlan(name, balance=(0, 1, 2, 3))
    program = compile_job(job(cluster, toy, (("dp", 2), ("pp", 4)), num_microbatches=8, pipeline=plan))
    return simulate(program, cluster, costs(cluster))


def test_replicas_of_a_pipedream_stage_sum_the_gradients_of_every_micro_batch():
    def summed(name):
        rank = pipeline_of_parameters(name).execution.ranks[0]
        return sum(
            meaning.payload_bytes
            for stream, meanings in zip(rank.streams, rank.meanings, strict=True)
            if stream.name == "gradients"
            for meaning in meanings
        )

    assert summed("pipedream") == 8 * 4000
    assert summed("pipedream_2bw") == 4000


def test_sharded_replicas_run_backward_in_halves():
    """FSDP2 reduces after the weight gradients, once a step (torch/distributed/pipelining/stage.py)."""
    cluster = StarCluster(8)
    toy = model([([layer_in_halves(1.0, 1.0, 1.0, parameters=(1000,))], 0.0) for _ in range(4)])
    plans = {"pipeline": PipelinePlan("zb_h1", balance=(0, 1, 2, 3)), "data_parallel": Fsdp2Plan()}
    program = compile_job(job(cluster, toy, (("dp_shard", 2), ("pp", 4)), num_microbatches=8, **plans))
    kinds = [i.kind for i, _ in program.classes[0].streams[-1].counts if isinstance(i, Collective)]
    assert kinds == [CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER]
    assert simulate(program, cluster, costs(cluster)).step_time_s == pytest.approx(27.0, rel=1e-3)
