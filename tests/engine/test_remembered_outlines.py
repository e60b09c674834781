"""What is found again of a program that was run before: outlines, paced streams, kernels in a row; as if made anew."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.kernels import Kernels
from simdml.engine.outline import Outlines
from simdml.engine.simulator import simulate
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.strategies import compiler

PIPELINE = {
    "cluster": {"name": "dgx_a100", "nodes": 2},
    "model": "gpt2",
    "training": {"global_batch": 16, "precision": "fp16"},
    "strategy": {"mesh": {"tp": 2, "pp": 2}, "pipeline": {"schedule": "1f1b", "microbatch": 1}},
}
SERVERS = {
    "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 1, "servers": {"nodes": 2, "cores": 32}},
    "model": "alexnet",
    "training": {"batch_per_gpu": 32},
    "strategy": {"parameter_server": {"servers": 2, "consistency": "asynchronous"}},
}
WAYS = [
    (AS_RATED, {}),
    (AS_RATED, {"coarsened": False}),
    (AS_RATED, {"folded": False}),
    (Conditions(slow_gpus={3: 1.5}), {}),
    (Conditions(link_bytes_per_s={0: 1e9}), {}),
    (Conditions(jitter_cv=0.1), {}),
]


def run(scenario, conditions, options):
    """Return when every representative ended two steps, and what its streams have recorded."""
    built = build(load_scenario(scenario))
    recording = simulate(built.program(), built.job.cluster, built.costs, conditions, steps=2, **options)
    streams = [stream for rank in recording.execution.ranks for stream in rank.streams]
    return recording.step_ends, [[entry[:4] for entry in stream.entries] for stream in streams]


@pytest.mark.parametrize("scenario", [PIPELINE, SERVERS], ids=["pipeline", "servers"])
def test_runs_in_any_order_are_those_of_a_program_made_anew(scenario):
    alone = []
    for conditions, options in WAYS:
        compiler._compiled.cache_clear()
        alone.append(run(scenario, conditions, options))
    compiler._compiled.cache_clear()
    for order in (WAYS, WAYS[::-1]):
        found = [run(scenario, conditions, options) for conditions, options in order]
        assert found == [alone[WAYS.index(way)] for way in order]


@pytest.mark.parametrize("scenario", [PIPELINE, SERVERS], ids=["pipeline", "servers"])
def test_a_second_run_draws_nothing_and_prices_nothing(scenario):
    first = run(scenario, AS_RATED, {})
    with (
        patch.object(Outlines, "_draw", side_effect=AssertionError("an outline is drawn again")),
        patch.object(Kernels, "_priced", side_effect=AssertionError("a kernel is priced again")),
    ):
        assert run(scenario, AS_RATED, {}) == first
