"""Folding and coarsening leave the times of real strategies as they are, with ``==``, whatever is slow."""

import pytest

from simdml.engine.simulator import simulate
from simdml.scenario.building import build
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import load_scenario

GPT = {"model": "gpt2", "training": {"global_batch": 16, "microbatch": 1, "precision": "fp16", "recompute": "full"}}
FAULTS = {
    0: [],
    1: [{"slow": "gpu 3", "by": 1.3}],
    3: [{"slow": "gpu 3", "by": 1.3}, {"slow": "node 1 gpu 5", "by": 1.7}, {"slow": "node 1 nic 0", "by": 4}],
}


def mesh(schedule="1f1b", chunks=None, nodes=2, **degrees):
    pipeline = {"schedule": schedule, "microbatch": 1, **({"chunks": chunks} if chunks else {})}
    strategy = {"mesh": degrees, **({"pipeline": pipeline} if degrees.get("pp", 1) > 1 else {})}
    return {**GPT, "cluster": {"name": "dgx_a100", "nodes": nodes}, "strategy": strategy}


SCENARIOS = {
    "tp": mesh(tp=4),
    "tp across nodes": mesh(tp=4, pp=4, nodes=2, order=["pp", "tp", "dp"]),
    "tp, pp, dp": mesh(tp=4, pp=2),
    "interleaved": mesh("interleaved_1f1b", 2, tp=4, pp=2),
    "gpipe": mesh("gpipe", pp=4),
    "zero bubble": mesh("zb_h1", pp=4),
    "dual pipe": {**mesh("dual_pipe_v", pp=2), "training": {**GPT["training"], "global_batch": 32}},
    "ddp": {
        "cluster": {"name": "dgx1_v100", "nodes": 2},
        "model": "resnet50",
        "training": {"batch_per_gpu": 32, "precision": "fp16"},
    },
    "fsdp2": {**GPT, "cluster": {"name": "dgx_a100", "nodes": 2}, "strategy": "fsdp2"},
    "zero3": {**GPT, "cluster": {"name": "dgx_a100", "nodes": 2}, "strategy": "zero3"},
    "layer placement": {
        "cluster": {"name": "dgx1_v100", "nodes": 2},
        "model": "resnet50",
        "training": {"global_batch": 64},
        "strategy": {"layer_placement": {"devices": 2}},
    },
}


def recordings(scenario, faults):
    loaded = load_scenario({**scenario, "faults": FAULTS[faults]})
    built = build(loaded)
    program, cluster = built.program(), built.job.cluster
    conditions = build_conditions(loaded, cluster)
    for folded, coarsened in ((True, True), (True, False), (False, True), (False, False)):
        yield simulate(program, cluster, built.costs, conditions, steps=3, folded=folded, coarsened=coarsened)


def ends_by_rank(recording):
    classes = recording.execution.partition.rank_class.tolist()
    return [recording.step_ends[each] for each in classes]


@pytest.mark.parametrize("faults", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_of_every_rank_ends_at_the_same_time(name, faults):
    plain, *others = (ends_by_rank(each) for each in recordings(SCENARIOS[name], faults))
    for other in others:
        assert other == plain


@pytest.mark.parametrize("name", ["tp, pp, dp", "interleaved", "ddp"])
def test_every_operation_ends_at_the_same_time(name):
    """Streams of folded and unfolded runs have the same entries, kernel by kernel."""
    _, folded, _, unfolded = recordings(SCENARIOS[name], 1)
    assert folded.execution.partition.num_classes < unfolded.execution.partition.num_classes
    for rank, mine in enumerate(unfolded.execution.ranks):
        like = folded.execution.ranks[int(folded.execution.partition.rank_class[rank])]
        for stream, other in zip(mine.streams, like.streams, strict=True):
            ends = [(entry.operation, entry.end) for entry in stream.entries]
            shared = [(entry.operation, entry.end) for entry in other.entries]
            length = min(len(ends), len(shared))
            assert ends[:length] == shared[:length]
