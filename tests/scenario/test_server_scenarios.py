"""Parameter servers in scenario files: what each key does, and what is refused with what would work."""

import pytest

import simdml
from simdml.errors import InfeasibleError
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario

BASE = {
    "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 1, "servers": {"nodes": 2}},
    "gpus": 4,
    "model": "alexnet",
    "training": {"batch_per_gpu": 32, "precision": "fp32"},
}


def scenario(section, **changes):
    return load_scenario({**BASE, "strategy": {"parameter_server": section}}, changes=changes)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"staleness": 3}, ["staleness says nothing about bsp", "consistency: ssp"]),
        ({"consistency": "asynchronous", "delay": 2}, ["delay says nothing", "consistency: bounded_delay"]),
        ({"backup_workers": 1}, ["backup_workers says nothing about bsp", "consistency: backup"]),
        ({"consistency": "ssp"}, ["ssp needs to know its staleness", "staleness: 1"]),
        ({"consistency": "backup"}, ["backup needs to know its backup_workers"]),
        ({"consistency": "backup", "backup_workers": 4}, ["none of the 4 workers", "0 to 3"]),
        ({"servers": 3}, ["3 servers need as many server nodes", "servers: {nodes: 3}"]),
    ],
)
def test_impossible_settings_are_refused_with_what_would_work(section, words):
    with pytest.raises(InfeasibleError) as caught:
        build(scenario(section)).program()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_ssp_lies_between_its_limits():
    def run(**section):
        return simdml.run({**BASE, "strategy": {"parameter_server": section}})

    assert run(consistency="ssp", staleness=0).step_time_s == run(consistency="bsp").step_time_s
    free = run(consistency="asynchronous")
    assert run(consistency="ssp", staleness=1000).recording.step_ends == free.recording.step_ends


def test_a_step_with_backup_workers_trains_fewer_samples():
    result = simdml.run({**BASE, "strategy": {"parameter_server": {"consistency": "backup", "backup_workers": 1}}})
    assert result.samples_per_step == 3 * 32
