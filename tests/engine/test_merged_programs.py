"""Programs merged on disjoint ranks: apart they take what they take alone, and together they share what they share."""

from __future__ import annotations

from functools import partial

import pytest

from simdml.costs.merging import merge_costs, owned
from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.merging import MergedMesh, merge, part_of, qualified
from simdml.program.mesh import Mesh
from simdml.program.program import check
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.studies.fleet.sharing import deal, own_server_nodes, placed, share

LLAMA = {
    "model": "llama3_8b",
    "training": {"global_batch": 16, "microbatch": 1, "sequence": 2048, "precision": "bf16", "recompute": "full"},
    "strategy": {"mesh": {"tp": 4, "pp": 2}},
}
RESNET = {"model": "resnet50", "training": {"batch_per_gpu": 32, "precision": "fp32"}, "strategy": "ddp"}
FSDP = {
    "model": "gpt2",
    "training": {"global_batch": 64, "microbatch": 2, "precision": "bf16"},
    "strategy": {"data_parallel": {"kind": "fsdp2"}},
}
OFFLOAD = {
    "model": "gpt2",
    "training": {"global_batch": 64, "microbatch": 2, "precision": "fp16"},
    "strategy": {"data_parallel": {"kind": "zero2", "offload_optimizer": "cpu"}},
}


def cluster_of(oversubscription, nodes=8):
    network = {"nodes_per_leaf": 4, "oversubscription": oversubscription}
    return {"name": "dgx_h100", "nodes": nodes, "network": network}


def built(job, oversubscription, gpus=32):
    return build(load_scenario({**job, "cluster": cluster_of(oversubscription), "gpus": gpus}))


def on_nodes(jobs, oversubscription, layout):
    made = [built(job, oversubscription) for job in jobs]
    cluster = made[0].job.cluster
    nodes = deal(range(8), [4] * len(jobs), layout)
    return cluster, [
        placed(f"job {index}", each.program(), each.costs, cluster, mine)
        for index, (each, mine) in enumerate(zip(made, nodes, strict=True))
    ]


@pytest.mark.parametrize("job", [LLAMA, RESNET, FSDP, OFFLOAD], ids=["pipeline", "ddp", "fsdp2", "offload"])
def test_one_program_merged_is_the_program(job):
    """Bit for bit, whatever names and operators are called."""
    made = built(job, 1)
    alone = simulate(made.program(), made.job.cluster, made.costs).step_time_s
    program = merge([made.program()], partial(owned, [made.costs]))
    check(program)
    costs = merge_costs([made.costs], dict.fromkeys(range(32), 0), dict.fromkeys(range(4), 0))
    assert simulate(program, made.job.cluster, costs).step_time_s == alone


@pytest.mark.parametrize("name", ["resnet50_input", "gpt2_xl_1f1b"])
def test_bundled_jobs_are_what_they_were_too(name):
    made = build(load_scenario(name))
    alone = simulate(made.program(), made.job.cluster, made.costs).step_time_s
    ranks = range(made.job.mesh.num_ranks)
    program = merge([made.program()], partial(owned, [made.costs]))
    of_node = dict.fromkeys(range(made.job.cluster.num_nodes), 0)
    costs = merge_costs([made.costs], dict.fromkeys(ranks, 0), of_node)
    assert simulate(program, made.job.cluster, costs).step_time_s == alone


@pytest.mark.parametrize("other", [LLAMA, RESNET, FSDP], ids=["pipeline", "ddp", "fsdp2"])
def test_jobs_that_share_no_link_leave_each_other_alone(other):
    """Below leaves of their own, with precisions and strategies of their own, exactly."""
    cluster, jobs = on_nodes([LLAMA, other], 8, "packed")
    for step in share(jobs, cluster, phases=2):
        assert step.together_s == pytest.approx(step.alone_s, rel=1e-9)


def test_equal_jobs_in_phase_have_half_of_the_network_each():
    """Oracle: each alone where leaves pass on half as much."""
    cluster, jobs = on_nodes([LLAMA, LLAMA], 8, "spread")
    narrow, alone = on_nodes([LLAMA, LLAMA], 16, "spread")
    steps = share(jobs, cluster, phases=1)
    for step, job in zip(steps, alone, strict=True):
        assert step.alone_s < step.together_s
        expected = simulate(job.program, narrow, job.costs).step_time_s
        assert step.together_s == pytest.approx(expected, rel=1e-6)
        assert step.slowdown == pytest.approx(expected / step.alone_s)


def test_out_of_phase_jobs_are_slowed_less():
    cluster, jobs = on_nodes([LLAMA, LLAMA], 8, "spread")
    for step in share(jobs, cluster, phases=4):
        assert step.alone_s * (1 - 1e-9) <= step.fastest_s <= step.together_s <= step.slowest_s
        assert step.fastest_s < step.slowest_s
        assert (step.slowest_s, step.num_gpus) == (share(jobs, cluster, phases=1)[0].slowest_s, 32)


def test_nobody_is_faster_with_others():
    cluster, jobs = on_nodes([LLAMA, RESNET], 8, "spread")
    for step in share(jobs, cluster, phases=3):
        assert step.slowdown >= 1 - 1e-3


def test_nodes_are_dealt():
    assert deal(range(5), [2, 3], "packed") == [(0, 1), (2, 3, 4)]
    assert deal(range(6), [2, 3], "spread") == [(0, 2), (1, 3, 4)]
    with pytest.raises(InfeasibleError, match="want 6 nodes and the cluster has 5"):
        deal(range(5), [2, 4], "packed")


def test_names_and_ranks_of_parts():
    assert part_of(qualified(3, "dp/x")) == (3, "dp/x")
    mesh = MergedMesh.of([Mesh((("tp", 2), ("dp", 3))), Mesh((("dp", 4),))])
    assert mesh.num_ranks == 10
    assert [mesh.part_of_rank(rank) for rank in (0, 5, 6, 9)] == [0, 0, 1, 1]
    assert mesh.neighbour(4, "0/dp", 1) == 0
    assert mesh.neighbour(9, "1/dp", 1) == 6


def test_what_cannot_be_merged_is_refused():
    program = built(RESNET, 1).program()
    with pytest.raises(InfeasibleError, match="both use GPU 0"):
        merge([program, program])
    with pytest.raises(InfeasibleError, match="not in lockstep"):
        merge([build(load_scenario("vgg16_ssp")).program()])


@pytest.mark.parametrize("name", ["vgg16_mxnet_dist_device_sync", "resnet50_mxnet_p3"])
def test_servers_in_lockstep_are_what_they_were_too(name):
    made = build(load_scenario(name))
    alone = simulate(made.program(), made.job.cluster, made.costs, steps=3).step_time_s
    program = merge([made.program()], partial(owned, [made.costs]))
    of_node = dict.fromkeys(range(made.job.cluster.num_nodes), 0)
    costs = merge_costs([made.costs], dict.fromkeys(range(made.job.mesh.num_ranks), 0), of_node)
    assert simulate(program, made.job.cluster, costs, steps=3).step_time_s == alone


SERVERS = {
    "cluster": {
        "name": "pcie_8gpu_25gbe",
        "nodes": 4,
        "servers": {"nodes": 4, "cores": 32},
        "network": {"kind": "leaf_spine", "nodes_per_leaf": 2, "oversubscription": 8},
    },
    "model": "alexnet",
    "training": {"batch_per_gpu": 32},
    "strategy": {"parameter_server": {"servers": 2, "local_aggregation": "device"}},
    "gpus": 16,
}


def test_parameter_servers_of_two_jobs_share_uplinks():
    """Workers and servers of each job below leaves of their own, or below leaves that both jobs share."""
    made = build(load_scenario(SERVERS))
    cluster = made.job.cluster
    slowdowns = {}
    for layout in ("packed", "spread"):
        workers, servers = deal(range(4), [2, 2], layout), deal(range(4, 8), [2, 2], layout)
        jobs = [
            placed(f"job {index}", made.program(), made.costs, cluster, mine, own)
            for index, (mine, own) in enumerate(zip(workers, servers, strict=True))
        ]
        assert own_server_nodes(jobs[1].program, cluster) == servers[1]
        slowdowns[layout] = [step.slowdown for step in share(jobs, cluster, phases=1)]
    assert slowdowns["packed"] == pytest.approx([1, 1], abs=1e-3)
    assert min(slowdowns["spread"]) > 1.05
