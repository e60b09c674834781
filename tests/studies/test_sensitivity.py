"""Sensitivities: what a knob does is what the changed scenario does, and on one GPU what the kernels' sum says."""

from __future__ import annotations

import json

import pytest
from sample_sweeps import JOB

import simdml
from simdml.cluster.loading import load_cluster
from simdml.cluster.scaling import with_nvlink_scaled
from simdml.errors import DoesNotFitError
from simdml.program.instructions import Compute
from simdml.reporting.saving import drawing_bytes
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.studies.sensitivity.knobs import BY_KEY, KNOBS
from simdml.studies.sensitivity.software import ARITHMETIC
from simdml.studies.sensitivity.table import COLUMNS, rows
from simdml.studies.sensitivity.tornado import ask, sensitivity

SERVERS = {
    "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 2, "servers": {"nodes": 2}},
    "model": "alexnet",
    "training": {"batch_per_gpu": 32},
    "strategy": {"parameter_server": {"local_aggregation": True, "per_message": "100 us", "connection": "10 Gbps"}},
}
ETHERNET = {**JOB, "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 2}}
ONE_GPU = {**JOB, "gpus": 1, "model": "resnet50", "training": {"batch_per_gpu": 64}}


def by_key(found):
    return {effect.knob.key: effect for effect in found.effects}


def test_on_one_gpu_a_knob_saves_half_of_its_kernels():
    """Oracle: seconds of every kernel of the program, added up."""
    built = build(load_scenario(ONE_GPU))
    cost = next(iter(built.costs.compute.values()))
    seconds = {True: 0.0, False: 0.0}
    for instruction, times in built.program().classes[0].streams[0].counts:
        for operator in instruction.operators if isinstance(instruction, Compute) else ():
            seconds[operator.family in ARITHMETIC] += times * cost.seconds(operator, built.costs.precision)
    found = sensitivity(ONE_GPU, jobs=1)
    effects = by_key(found)
    for key, kernels_s in (("arithmetic", seconds[True]), ("streaming", seconds[False])):
        assert found.step_time_s - effects[key].better_s == pytest.approx(kernels_s / 2, rel=1e-6)
        assert effects[key].worse_s - found.step_time_s == pytest.approx(kernels_s, rel=1e-6)
    assert set(effects) <= {"arithmetic", "streaming", "launch", "pcie", "nvlink"}


@pytest.mark.parametrize(
    ("job", "key", "better", "worse"),
    [
        (ETHERNET, "nics", {"cluster.node.nics.rate": "50 Gbps"}, {"cluster.node.nics.rate": "12.5 Gbps"}),
        (ETHERNET, "pcie", {"cluster.node.gpus.pcie": "gen4 x16"}, {"cluster.node.gpus.pcie": "gen3 x8"}),
        (SERVERS, "servers", {"cluster.servers.nodes": 4}, {"cluster.servers.nodes": 1}),
        (
            SERVERS,
            "server_rate",
            {"strategy.parameter_server.server_rate": "20 GB/s"},
            {"strategy.parameter_server.server_rate": "5 GB/s"},
        ),
        (
            SERVERS,
            "connections",
            {"strategy.parameter_server.connection": "20 Gbps"},
            {"strategy.parameter_server.connection": "5 Gbps"},
        ),
        (
            SERVERS,
            "messages",
            {"strategy.parameter_server.per_message": "50 us"},
            {"strategy.parameter_server.per_message": "200 us"},
        ),
        (
            {**ETHERNET, "profile": {"compute_scale": {"matmul": 3.0}}},
            "arithmetic",
            {
                "profile.compute_scale.matmul": 1.5,
                **{f"profile.compute_scale.{family}": 0.5 for family in ("batched_matmul", "attention", "convolution")},
            },
            None,
        ),
    ],
)
def test_a_knob_does_what_the_changed_scenario_does(job, key, better, worse):
    scenario = load_scenario(job)
    for factor, changes in ((2.0, better), (0.5, worse)):
        if changes is not None:
            assert ask(scenario, key, factor) == (simdml.run(job, **changes).step_time_s, "")


def test_nvlink_scales_alone():
    cluster = load_cluster("dgx_h100")
    faster = with_nvlink_scaled(cluster, 2.0)
    before, after = cluster.links, faster.links
    for link in range(before.num_links):
        times = 2.0 if before.kind(link) == "nvlink" else 1.0
        assert after.capacity_bytes_per_s[link] == times * before.capacity_bytes_per_s[link]
    assert faster.device(0).nvlink_bytes_per_s == 2 * cluster.device(0).nvlink_bytes_per_s
    assert with_nvlink_scaled(load_cluster("pcie_8gpu"), 2.0) is None


def test_edges_of_an_explicit_graph():
    graph = {
        "vertices": {
            "a": {"kind": "gpu", "type": "v100_pcie_16gb", "node": 0},
            "b": {"kind": "gpu", "type": "v100_pcie_16gb", "node": 0},
            "root": {"kind": "switch", "node": 0},
            "ram": {"kind": "host", "node": 0},
        },
        "edges": [{"between": [end, "root"], "rate": "1 GB/s", "kind": "pcie"} for end in ("a", "b", "ram")],
    }
    effects = by_key(sensitivity({**JOB, "cluster": {"graph": graph}}, jobs=1))
    assert effects["pcie edges"].better_s < effects["pcie edges"].worse_s
    assert {"nics", "pcie", "nvlink", "oversubscription"}.isdisjoint(effects)


def test_oversubscription_and_latency_where_there_is_any():
    network = {"kind": "leaf_spine", "nodes_per_leaf": 2, "oversubscription": 3}
    job = {**JOB, "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 4, "network": network}}
    effects = by_key(sensitivity(job, jobs=1))
    assert {"oversubscription", "latency", "collectives"} <= set(effects)
    better = simdml.run(job, **{"cluster.network.oversubscription": 1.5})
    assert effects["oversubscription"].better_s == better.step_time_s
    assert "oversubscription" not in by_key(sensitivity(ETHERNET, jobs=1))


def test_what_helps_most_comes_first_and_is_said():
    found = sensitivity(ETHERNET, jobs=1)
    gains = [found.gain(effect) for effect in found.effects]
    assert gains == sorted(gains, reverse=True)
    assert found.in_words().startswith(f"scenario is bound most by {found.effects[0].knob.bound}: with ")
    assert "The largest part of a step is" in found.in_words()
    assert {len(row) for row in rows(found)} == {len(COLUMNS)}
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["knobs"][0]["knob"] == found.effects[0].knob.key
    assert list(found.to_frame()["gain"]) == gains
    assert drawing_bytes(found.plot, "svg") == drawing_bytes(found.plot, "svg")


def test_processes_give_the_same():
    assert sensitivity(ETHERNET, jobs=2).effects == sensitivity(ETHERNET, jobs=1).effects


def test_what_cannot_be_has_a_reason():
    effects = by_key(sensitivity({**SERVERS, "strategy": {"parameter_server": {"location": "colocated"}}}, jobs=1))
    assert effects["servers"].better_s is None
    assert "4 servers need as many" in effects["servers"].reason


def test_bad_input():
    with pytest.raises(DoesNotFitError):
        sensitivity({**JOB, "training": {"batch_per_gpu": 10**6}}, jobs=1)
    assert len(BY_KEY) == len(KNOBS)
