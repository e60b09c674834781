"""Faults of a scenario: what they name, what they do, and what is refused."""

import statistics

import pytest

import simdml
from simdml.errors import DocumentError
from simdml.scenario.building import build
from simdml.scenario.clusters import build_cluster
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import load_scenario

BASE = {
    "cluster": {"name": "dgx_a100", "nodes": 2},
    "model": "gpt2",
    "training": {"batch_per_gpu": 4, "precision": "fp16"},
}


def conditions(*faults):
    scenario = load_scenario({**BASE, "faults": list(faults)})
    cluster = build(scenario).job.cluster
    return build_conditions(scenario, cluster), cluster


def test_gpus_and_nics_are_found_by_their_places():
    found, cluster = conditions(
        {"slow": "node 1 gpu 2", "by": 1.5},
        {"slow": "gpu 10", "by": 2.0},
        {"slow": "node 0 nic 3", "by": 4},
        {"jitter": "lognormal", "cv": 0.05},
    )
    assert found.slow_gpus == {10: 3.0}
    out, into = cluster.nic_links(0, 3)
    rated = float(cluster.links.capacity_bytes_per_s[out])
    assert found.link_bytes_per_s == {out: rated / 4, into: rated / 4}
    assert found.jitter_cv == 0.05
    whole, _ = conditions({"slow": "node 1", "by": 1.2})
    assert set(whole.slow_gpus) == set(range(8, 16))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"slow": "node 2", "by": 2}, "no node 2: there are 2"),
        ({"slow": "node 0 gpu 8", "by": 2}, "no GPU on node 0 8: there are 8"),
        ({"slow": "gpu 16", "by": 2}, "no GPU 16: there are 16"),
        ({"slow": "node 0 nic 9", "by": 2}, "no NIC on node 0 9: there are 8"),
        ({"slow": "nic 1", "by": 2}, "a NIC needs its node"),
        ({"slow": "the third one", "by": 2}, "names no GPU, node or NIC"),
        ({"slow": "", "by": 2}, "names no GPU, node or NIC"),
        ({"slow": "node 0", "by": 0.5}, "greater than 1"),
        ({"jitter": "lognormal", "cv": 0}, "greater than 0"),
        ({"jitter": "normal", "cv": 0.1}, "lognormal"),
    ],
)
def test_what_is_not_there_is_refused(fault, message):
    with pytest.raises(DocumentError, match=message):
        conditions(fault)


def test_jitter_is_given_once():
    with pytest.raises(DocumentError, match="jitter is given twice"):
        conditions({"jitter": "lognormal", "cv": 0.1}, {"jitter": "lognormal", "cv": 0.2})


def test_a_slow_gpu_slows_the_step_by_its_compute():
    """Data parallel waits for the slowest: all kernels of the step take 1.5 times as long, communication does not."""
    rated = simdml.run({**BASE, "gpus": 1})
    slow = simdml.run({**BASE, "gpus": 1, "faults": [{"slow": "gpu 0", "by": 2.0}]})
    busy = sum(seconds for name, seconds in rated.breakdown.items() if name != "launch")
    assert slow.step_time_s == pytest.approx(2 * busy, rel=0.02)
    together = simdml.run({**BASE, "faults": [{"slow": "node 1 gpu 2", "by": 2.0}]})
    assert together.step_time_s > 1.5 * simdml.run(BASE).step_time_s
    assert together.half_width_s is None


def test_jitter_comes_with_an_interval():
    found = simdml.run({**BASE, "gpus": 8, "faults": [{"jitter": "lognormal", "cv": 0.1}]})
    assert 0 < found.half_width_s <= 0.01 * found.step_time_s
    assert found.to_dict()["half_width_s"] == found.half_width_s


def test_a_share_of_the_gpus_is_drawn_with_the_seed():
    found, _ = conditions({"slow": "25 % of gpus", "by": 1.5})
    assert list(found.slow_gpus.values()) == [1.5] * 4
    again, _ = conditions({"slow": "25 % of gpus", "by": 1.5})
    assert again.slow_gpus == found.slow_gpus
    scenario = load_scenario({**BASE, "faults": [{"slow": "25 % of gpus", "by": 1.5}], "simulate": {"seed": 7}})
    assert build_conditions(scenario, build(scenario).job.cluster).slow_gpus != found.slow_gpus
    whole, _ = conditions({"slow": "50 % of nodes", "by": 1.5})
    assert set(whole.slow_gpus) in (set(range(8)), set(range(8, 16)))


def test_a_share_of_the_nics_is_slow_both_ways():
    found, cluster = conditions({"slow": "25 % of nics", "by": 4})
    nics = sum(len(cluster.template(node).nics) for node in range(2))
    assert len(found.link_bytes_per_s) == 2 * nics // 4
    for link, left in found.link_bytes_per_s.items():
        assert cluster.links.kind(link) == "nic"
        assert left == float(cluster.links.capacity_bytes_per_s[link]) / 4


@pytest.mark.parametrize(
    ("fault", "deviation"),
    [
        ({"by": "exponential", "mean": 1.2}, 0.2),
        ({"by": "lognormal", "mean": 1.2, "cv": 0.5}, 0.1),
    ],
)
def test_factors_are_as_distributed(fault, deviation):
    big = BASE | {"cluster": {"name": "dgx_a100", "nodes": 1024}, "faults": [{"slow": "100 % of gpus", **fault}]}
    scenario = load_scenario(big)
    factors = list(build_conditions(scenario, build_cluster(scenario)).slow_gpus.values())
    assert min(factors) > 1
    assert statistics.mean(factors) == pytest.approx(1.2, abs=5 * deviation / 8192**0.5)
    assert statistics.stdev(factors) == pytest.approx(deviation, rel=0.1)


def test_a_synchronous_step_waits_for_the_slowest():
    """With kernels alone on the path, the step is the mean one times the largest factor."""
    fault = {"slow": "100 % of gpus", "by": "exponential", "mean": 1.3}
    base = {**BASE, "communication": {"interference": "none"}}
    scenario = load_scenario({**base, "faults": [fault]})
    worst = max(build_conditions(scenario, build_cluster(scenario)).slow_gpus.values())
    plain, slow = simdml.run(base), simdml.run({**base, "faults": [fault]})
    kernels = ("forward", "backward", "optimizer", "gradient copies")
    computed = sum(plain.breakdown[name] for name in kernels)
    assert sum(slow.breakdown[name] for name in kernels) == pytest.approx(computed * worst, rel=1e-6)
    assert slow.step_time_s >= computed * worst
    assert slow.step_time_s <= plain.step_time_s + computed * (worst - 1) + 1e-9


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"slow": "2 % of gpus", "by": 1.5}, "are 0 of the 16 gpus"),
        ({"slow": "200 % of nodes", "by": 1.5}, "are 4 of the 2 nodes"),
        ({"slow": "gpu 1", "by": "lognormal", "mean": 1.5}, "needs cv"),
        ({"slow": "gpu 1", "by": 1.5, "mean": 1.5}, "mean does not go with"),
        ({"slow": "gpu 1", "by": "gamma"}, "by"),
    ],
)
def test_shares_and_distributions_are_checked(fault, words):
    with pytest.raises(DocumentError, match=words):
        conditions(fault)
