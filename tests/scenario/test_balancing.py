"""Stages balanced by time and by memory: no contiguous cut does better, and the job says where it cut."""

from itertools import combinations

import pytest

from simdml.scenario.balancing import _bytes, _seconds
from simdml.scenario.building import build
from simdml.scenario.explaining import defaults
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import run

SMALL = {
    "cluster": "dgx1_v100",
    "gpus": 3,
    "model": "vgg16",
    "training": {"global_batch": 96, "precision": "fp32", "optimizer": "adam"},
}


def largest(weights, begins):
    ends = [*begins[1:], len(weights)]
    return max(sum(weights[begin:end]) for begin, end in zip(begins, ends, strict=True))


@pytest.mark.parametrize("by", ["time", "memory"])
def test_no_other_cut_of_a_placement_is_better(by):
    built = build(load_scenario(SMALL | {"strategy": {"layer_placement": {"devices": 3, "balance": by}}}))
    blocks, job = built.job.build(96).blocks, built.job
    weights = [_seconds(job, b, built.costs) if by == "time" else _bytes(job, b) for b in blocks]
    others = [(0, *rest) for rest in combinations(range(1, len(blocks)), 2)]
    assert largest(weights, job.pipeline.balance) == min(largest(weights, begins) for begins in others)
    noted = {choice.path: choice.value for choice in defaults(built)}
    assert noted["strategy.layer_placement.stages"] == list(job.pipeline.balance)


def test_a_pipeline_balanced_by_time_is_no_slower_than_one_by_flops():
    pipelines = {
        by: {"mesh": {"pp": 3}, "pipeline": {"schedule": "gpipe", "microbatch": 8, "balance": by}}
        for by in ("flops", "time")
    }
    by_time, by_flops = (run(SMALL, strategy=pipelines[by]).step_time_s for by in ("time", "flops"))
    assert by_time <= by_flops


def test_balancing_by_memory_evens_out_what_stages_need():
    def spread(by):
        result = run(SMALL | {"strategy": {"layer_placement": {"devices": 3, "balance": by}}})
        totals = [estimate.total for estimate in result.memory]
        return max(totals) - min(totals)

    assert spread("memory") < spread("flops")


def test_resnet101_is_cut_about_where_torchgpipe_cut_it():
    """Their four partitions begin at bottlenecks 4, 12 and 23 of 33, found by trial (benchmarks/resnet101-speed)."""
    changes = {"strategy": {"pipeline": {"balance": "time"}}}
    found = build(load_scenario("torchgpipe/pipeline_4", changes=changes)).job.pipeline.balance
    assert all(abs(ours - theirs) <= 2 for ours, theirs in zip(found, (0, 5, 13, 24), strict=True))
