"""Parameter servers in scenario files: what each key does, and what is refused with what would work."""

import pytest

import simdml
from simdml.documents.loading import load_document
from simdml.errors import InfeasibleError
from simdml.resources import available, find
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS

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
        ({"preset": "mxnet_p3", "consistency": "asynchronous"}, ["P3 is a synchronous store", "mxnet_dist_async"]),
        ({"preset": "mxnet_p3", "compression": "two_bit"}, ["without compression", "compression: none"]),
        ({"preset": "mxnet_p3", "update": "server"}, ["without an optimizer on the server", "mxnet_dist_sync"]),
        ({"preset": "mxnet_dist_async", "update": "worker"}, ["needs the optimizer on the server"]),
        ({"preset": "downpour", "consistency": "bsp"}, ["Downpour SGD is asynchronous"]),
        ({"preset": "petuum", "consistency": "bsp", "staleness": None}, ["stale synchronous"]),
        ({"partition_size": "1 MB"}, ["partition whole has no partition_size", "slices"]),
        ({"partition": "slices", "partition_pieces": 3}, ["slices has no partition_pieces", "min_size"]),
        ({"credit": 3}, ["there is none", "priority: push"]),
        ({"priority": "push", "fetch": "at_start"}, ["at the start of a step", "after_push"]),
        ({"priority": "push", "messages": "model"}, ["nothing to order", "messages: tensors"]),
        ({"push_every": 2}, ["bsp counts the pushes of every step", "consistency: asynchronous"]),
        ({"preset": "mxnet_dist_async", "pull_every": 2}, ["cannot skip", "local_aggregation: false"]),
        ({"send_every": 2}, ["workers have their own", "portions: shared"]),
        ({"preset": "sandblaster_lbfgs", "consistency": "asynchronous"}, ["L-BFGS is synchronous", "downpour"]),
        ({"portions": "shared"}, ["cannot have fetch after_push", "fetch: at_start", "portions: own"]),
        ({"preset": "sandblaster_lbfgs", "local_aggregation": True}, ["different numbers of portions"]),
        ({"preset": "sandblaster_lbfgs", "compression": "one_bit"}, ["cannot have compression one_bit"]),
        ({"placement": "byteps_mixed"}, ["with and without workers", "location: mixed"]),
        ({"preset": "byteps_mixed"}, ["BytePS permits no more", "location: dedicated"]),
        ({"preset": "byteps_mixed", "servers": 4}, ["4 servers are not one beside each of 1", "1 to 3"]),
        ({"model_parallel": 3}, ["replicas of 3 GPUs do not fill the 4", "1, 2, 4"]),
        ({"model_parallel": 2, "local_aggregation": True}, ["no gradients to sum", "local_aggregation: false"]),
        ({"model_parallel": 2, "consistency": "backup", "backup_workers": 1}, ["one by one", "model_parallel: 1"]),
        (
            {"consistency": "bounded_delay", "delay": 1, "fetch": "at_start"},
            ["before the fetch is over", "fetch: after_push"],
        ),
    ],
)
def test_impossible_settings_are_refused_with_what_would_work(section, words):
    with pytest.raises(InfeasibleError) as caught:
        build(scenario(section)).program()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_compression_needs_fp32_gradients():
    section = {"parameter_server": {"compression": "two_bit"}}
    with pytest.raises(InfeasibleError, match="compresses fp32 gradients, and these are fp16"):
        build(load_scenario({**BASE, "strategy": section}, changes={"training.gradients": "fp16"}))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_scenario_and_its_own_name(name):
    """That the scenarios run, their own tests see to."""
    used = set()
    for file in available("scenarios"):
        strategy = load_document(find("scenarios", file)).data.get("strategy")
        if isinstance(strategy, str):
            used.add(strategy)
        elif strategy and "parameter_server" in strategy:
            used.add(strategy["parameter_server"].get("preset"))
    assert name in used
    mixed = name == "byteps_mixed"
    cluster = {"name": "pcie_8gpu_25gbe", "nodes": 2, "servers": {"nodes": 2}} if mixed else BASE["cluster"]
    made = build(load_scenario({**BASE, "cluster": cluster, "gpus": 16 if mixed else 4, "strategy": name}))
    assert (
        made.job.parameter_server
        == build(
            load_scenario(
                {
                    **BASE,
                    "cluster": cluster,
                    "gpus": 16 if mixed else 4,
                    "strategy": {"parameter_server": {"preset": name}},
                }
            )
        ).job.parameter_server
    )
    noted = {choice.path.removeprefix("strategy.parameter_server."): choice.value for choice in made.choices}
    assert SYSTEMS[name].settings.items() <= noted.items()


def test_ssp_lies_between_its_limits():
    def run(**section):
        return simdml.run({**BASE, "strategy": {"parameter_server": section}})

    assert run(consistency="ssp", staleness=0).step_time_s == run(consistency="bsp").step_time_s
    free = run(consistency="asynchronous")
    assert run(consistency="ssp", staleness=1000).recording.step_ends == free.recording.step_ends


def test_a_step_with_backup_workers_trains_fewer_samples():
    result = simdml.run({**BASE, "strategy": {"parameter_server": {"consistency": "backup", "backup_workers": 1}}})
    assert result.samples_per_step == 3 * 32
