"""Slow GPUs in several lanes, stages and replicas: folded, coarsened and extrapolated as every rank alone, ``==``."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simdml.engine.simulator import simulate
from simdml.scenario.building import build
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import load_scenario

GPUS = 16


def scenario(tp, pp, chunks, slow, nic):
    """GPT-2 on two nodes of eight A100: pipelines of tensor-parallel groups whose sends and gradients share NICs."""
    pipeline = {"schedule": "interleaved_1f1b", "chunks": chunks, "microbatch": 1} if pp > 1 else None
    strategy = {"mesh": {"tp": tp, "pp": pp, "order": ["tp", "pp", "dp"]}}
    return {
        "cluster": {"name": "dgx_a100", "nodes": GPUS // 8},
        "model": "gpt2",
        "training": {
            "global_batch": 4 * pp * GPUS // (tp * pp),
            "precision": "fp16",
            "recompute": "full",
            **({} if pipeline else {"microbatch": 1}),
        },
        "strategy": strategy | ({"pipeline": pipeline} if pipeline else {}),
        "faults": [{"slow": f"gpu {gpu}", "by": by} for gpu, by in slow.items()]
        + ([{"slow": "node 0 nic 0", "by": nic}] if nic else []),
    }


def run(document, **how):
    loaded = load_scenario(document)
    built = build(loaded)
    program, cluster = built.program(), built.job.cluster
    return simulate(program, cluster, built.costs, build_conditions(loaded, cluster), **how)


@settings(max_examples=15, deadline=None)
@example(mesh=(4, 2, 3), slow={7: 1.5, 8: 1.2}, nic=0)  # repeats from the fifth step on
@given(
    mesh=st.sampled_from([(2, 2, 2), (4, 2, 3), (2, 4, 1), (4, 1, 1), (2, 1, 1)]),
    slow=st.dictionaries(st.integers(0, GPUS - 1), st.sampled_from([1.2, 1.5, 3.0]), min_size=2, max_size=5),
    nic=st.sampled_from([0, 0, 8]),
)
def test_times_are_those_of_every_rank_and_kernel_by_itself(mesh, slow, nic):
    document = scenario(*mesh, slow, nic)
    short = run(document)
    steps = max(4, short.steps)
    plain = run(document, steps=steps, folded=False, coarsened=False)
    assert plain.execution.partition.num_classes == GPUS
    assert short.periodic
    for rank, position in enumerate(short.execution.partition.rank_class.tolist()):
        assert short.ends_of(position, steps) == plain.step_ends[rank][:steps]
    assert short.step_time_s == plain.end(steps) - plain.end(steps - 1)


@pytest.mark.parametrize(
    ("slow", "classes"),
    [([], 2), ([1], 8), ([1, 7], 12), ([1, 7, 8], 16), (range(GPUS), 2)],
)
def test_a_straggler_splits_its_lane_and_its_replica(slow, classes):
    """Two lanes, two stages, four replicas of four GPUs: (lanes told apart) x (replicas told apart) x stages.

    GPU 1 is in lane 1 of the first replica; GPU 7 in lane 1 of the second; GPU 8 in lane 0 of the third.
    """
    found = run(scenario(2, 2, 2, dict.fromkeys(slow, 1.2), 0), steps=1)
    assert found.execution.partition.num_classes == classes
