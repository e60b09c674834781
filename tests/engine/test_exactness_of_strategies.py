"""Every strategy there is: folding, coarsening, bundles and templates leave all times as they are, with ``==``."""

import functools

import pytest

from simdml.costs import compute
from simdml.engine import kernels
from simdml.engine.bundles import Bundle
from simdml.engine.network import Network
from simdml.engine.simulator import simulate
from simdml.scenario.building import build
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import load_scenario
from simdml.strategies import compiler
from simdml.strategies import pipeline as pipeline_code
from simdml.strategies.catalog import strategies
from simdml.strategies.schedules import SCHEDULES

FAULTS = {
    0: [],
    1: [{"slow": "gpu 3", "by": 1.3}],
    3: [{"slow": "gpu 3", "by": 1.3}, {"slow": "gpu 6", "by": 1.7}, {"slow": "node 0 nic 0", "by": 4}],
}
LAYERS = [
    {"name": f"layer_{index}", "kind": "linear", "inputs": 512, "outputs": 512, "rows": 256} for index in range(3)
]
CLASSIC = {
    "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 2, "servers": {"nodes": 2, "cores": 32}},
    "model": {"name": "three layers", "layers": LAYERS},
    "training": {"batch_per_gpu": 32, "precision": "fp32", "optimizer": "sgd_momentum"},
}
GPT = {
    "cluster": {"name": "dgx_a100", "nodes": 2},
    "model": "gpt2",
    "training": {"global_batch": 16, "microbatch": 1, "precision": "fp16", "recompute": "full"},
}


def one_node(strategy):
    return {**CLASSIC, "cluster": "dgx1_v100", "strategy": strategy}


def mesh(strategy=None, **degrees):
    return {**GPT, "strategy": {"mesh": degrees, **(strategy or {})}}


def pipeline(schedule):
    """Four pieces of the model, however many a device holds."""
    chunks = 2 if schedule.any_chunks else schedule.chunks
    plan = {"schedule": schedule.name, "microbatch": 1, **({"chunks": chunks} if schedule.any_chunks else {})}
    training = {**GPT["training"], "global_batch": 64}
    return {**GPT, "training": training, "strategy": {"mesh": {"pp": 4 // chunks}, "pipeline": plan}}


LARGE = ("zero1", "zero2", "zero3", "fsdp1", "fsdp2", "distributed_optimizer")
SCENARIOS = {
    **{name: {**GPT, "strategy": {"data_parallel": {"kind": name}}} for name in LARGE},
    **{name: pipeline(schedule) for name, schedule in SCHEDULES.items()},
    "dataparallel": one_node("dataparallel"),
    "mirrored": one_node("mirrored"),
    "one_weird_trick": {
        **one_node({"data_parallel": {"kind": "one_weird_trick", "scheme": "b"}}),
        "model": "alexnet",
        "training": {**CLASSIC["training"], "batch_per_gpu": 128},
    },
    "hsdp": mesh({"data_parallel": {"kind": "hsdp"}}, dp_shard=8, dp_replicate=2),
    "tensor_parallel": mesh(tp=4),
    "sequence_parallel": mesh({"tensor_parallel": {"sequence_parallel": True}}, tp=4),
    "context_parallel": mesh({"context_parallel": {"method": "ulysses"}}, cp=4),
    "expert_parallel": {
        "cluster": "dgx_h100",
        "model": "mixtral_8x7b",
        "training": {"sequence": 1024, "global_batch": 8, "precision": "bf16", "recompute": "full"},
        "strategy": {"mesh": {"ep": 8}, "data_parallel": {"kind": "fsdp2"}},
    },
    "layer_placement": {
        **one_node({"layer_placement": {"devices": 2}}),
        "training": {"global_batch": 64, "precision": "fp32", "optimizer": "sgd_momentum"},
    },
    "pipedream": {
        **one_node({"mesh": {"pp": 4}, "pipeline": {"schedule": "pipedream", "microbatch": 8, "balance": "flops"}}),
        "model": "alexnet",
        "training": {"global_batch": 64, "precision": "fp32", "optimizer": "sgd_momentum"},
    },
    "parameter_server": {
        **CLASSIC,
        "strategy": {"parameter_server": {"servers": 2, "placement": "round_robin", "consistency": "bsp"}},
    },
}
"""Where a strategy does not train three layers on 16 GPUs as it is."""


def scenario(name, faults=0):
    return {**SCENARIOS.get(name, {**CLASSIC, "strategy": name}), "faults": FAULTS[faults]}


def run(document, **how):
    loaded = load_scenario(document)
    built = build(loaded)
    program, cluster = built.program(), built.job.cluster
    return simulate(program, cluster, built.costs, build_conditions(loaded, cluster), steps=3, **how)


def recording(name, faults=0, **how):
    return run(scenario(name, faults), **how)


def ends_by_rank(made):
    return [made.step_ends[each] for each in made.execution.partition.rank_class.tolist()]


def assert_same_ends(one, other):
    """Asynchronous runs stop at a number of updates, when some ranks may or may not have ended another step."""
    for mine, ends in zip(ends_by_rank(one), ends_by_rank(other), strict=True):
        assert abs(len(mine) - len(ends)) <= one.asynchronous
        shared = min(len(mine), len(ends))
        assert mine[:shared] == ends[:shared]
    assert one.steps > 1 or one.updates
    assert one.updates == other.updates
    assert one.step_time_s == other.step_time_s


@pytest.mark.parametrize("faults", FAULTS)
@pytest.mark.parametrize("name", strategies())
def test_folding_and_coarsening_change_no_time(name, faults):
    plain = recording(name, faults, folded=False, coarsened=False)
    assert plain.execution.partition.num_classes == plain.execution.program.mesh.num_ranks
    assert_same_ends(recording(name, faults), plain)
    folded = recording(name, faults, coarsened=False)
    assert_same_ends(folded, plain)
    for rank, mine in enumerate(plain.execution.ranks):
        like = folded.execution.ranks[int(folded.execution.partition.rank_class[rank])]
        streams = {stream.name: stream for stream in like.streams}
        for stream in mine.streams:
            assert operations(stream, streams[stream.name]) == operations(streams[stream.name], stream)


@pytest.mark.parametrize("name", ["ddp", "mxnet_dist_device_sync", "1f1b"])
def test_nor_on_256_gpus(name):
    nodes = scenario(name, 3)
    nodes["cluster"] = {**nodes["cluster"], "nodes": 32}
    if "global_batch" in nodes["training"]:
        nodes["training"] = {**nodes["training"], "global_batch": 256}
    plain = run(nodes, folded=False)
    assert plain.execution.partition.num_classes == 256
    assert_same_ends(run(nodes), plain)


def operations(stream, other):
    """Return the operations of a stream that both remember, and when they ended."""
    first, last = max(stream.first, other.first), min(stream.position, other.position)
    return [(each.operation, each.end) for each in stream.entries[first - stream.first : last - stream.first]]


def of_its_own(network, flow):
    bundle = network._bundles[object()] = Bundle(flow, network.capacities)
    network._crowding.add(bundle)
    return bundle


@pytest.mark.parametrize("name", strategies())
def test_bundles_change_no_time(name, monkeypatch):
    together = recording(name, 3, folded=False)
    monkeypatch.setattr(Network, "bundle", of_its_own)
    apart = recording(name, 3, folded=False)
    assert len(apart.execution.network._bundles) >= len(together.execution.network._bundles)
    assert_same_ends(apart, together)


TEMPLATES = [
    each
    for module in (compiler, pipeline_code, kernels, compute)
    for each in vars(module).values()
    if isinstance(each, functools._lru_cache_wrapper)
]
"""What remembers programs, orders of schedules and prices of kernels."""


def forget_templates():
    assert len(TEMPLATES) >= 4
    for each in TEMPLATES:
        each.cache_clear()


@pytest.mark.parametrize("name", strategies())
def test_templates_change_no_time(name):
    """A job that finds programs, plans and prices of its own and of one in another precision made, and one afresh."""
    forget_templates()
    other = scenario(name)
    other["training"] = {
        **other["training"],
        "precision": "fp32" if other["training"]["precision"] != "fp32" else "fp16",
    }
    run(other)
    run(scenario(name))
    again = run(scenario(name))
    forget_templates()
    assert_same_ends(run(scenario(name)), again)
