"""Runs with parameter servers and urgent tasks repeat themselves when their whole state recurs, with ``==``."""

import pytest

from simdml.engine.conditions import Conditions
from simdml.engine.simulator import simulate
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario

LAYERS = [
    {"name": f"layer_{index}", "kind": "linear", "inputs": 512, "outputs": 512, "rows": 256} for index in range(3)
]


def scenario(strategy, *, nodes=2, servers=2):
    return {
        "cluster": {"name": "pcie_8gpu_25gbe", "nodes": nodes, "servers": {"nodes": servers, "cores": 32}},
        "model": {"name": "three layers", "layers": LAYERS},
        "training": {"batch_per_gpu": 32, "precision": "fp32", "optimizer": "sgd_momentum"},
        "strategy": strategy,
    }


def rules(**rule):
    return {"parameter_server": {"servers": 2, "placement": "round_robin", **rule}}


LOCKSTEP = {
    "bsp": rules(consistency="bsp"),
    "bsp, sharded": rules(consistency="bsp", placement="sharded"),
    "no staleness": rules(consistency="ssp", staleness=0),
    "bounded delay": rules(consistency="bounded_delay", delay=2),
    **{
        name: name
        for name in (
            "tensorflow_distributed_replicated",
            "tensorflow_parameter_server",
            "mxnet_dist_sync",
            "mxnet_dist_device_sync",
            "mxnet_p3",
            "bytescheduler",
            "byteps",
            "sandblaster_lbfgs",
        )
    },
}
OTHERS = {
    "backup workers": rules(consistency="backup", backup_workers=3),
    "ssp": rules(consistency="ssp", staleness=2),
    "asynchronous": rules(consistency="asynchronous", placement="sharded", messages="model"),
    "tensorflow1_sync": "tensorflow1_sync",
    "mxnet_dist_async": "mxnet_dist_async",
}
LATER = {"bounded delay": 33, "sandblaster_lbfgs": 9}
"""Steps after which those have recurred whose steps hardly differ long before."""


def runs(strategy, conditions=None, steps=None):
    built = build(load_scenario(scenario(strategy)))
    program, cluster = built.program(), built.job.cluster
    short = simulate(program, cluster, built.costs, conditions or Conditions(), steps=steps)
    return short, simulate(program, cluster, built.costs, conditions or Conditions(), steps=short.steps + 9)


def assert_repeats(short, long):
    assert short.periodic
    shared = 0
    for position, ends in enumerate(long.step_ends):
        assert short.ends_of(position, len(ends)) == ends
        shared += len(ends) - len(short.step_ends[position])
    assert shared > 0, "the long run is longer"
    assert short.step_time_s == pytest.approx(long.step_time_s, rel=1e-12)


@pytest.mark.parametrize("name", LOCKSTEP)
def test_extrapolated_equals_simulated(name):
    assert_repeats(*runs(LOCKSTEP[name], steps=LATER.get(name)))


@pytest.mark.parametrize("name", ["bsp", "bounded delay", "mxnet_dist_sync", "mxnet_p3", "byteps"])
def test_so_it_does_with_a_slow_gpu(name):
    assert_repeats(*runs(LOCKSTEP[name], Conditions(slow_gpus={3: 1.25}), LATER.get(name)))


@pytest.mark.parametrize("name", OTHERS)
def test_so_do_workers_that_step_on_their_own(name):
    short, long = runs(OTHERS[name])
    assert_repeats(short, long)
    assert short.estimate.half_width == 0.0
