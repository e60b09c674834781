"""Parameter servers: closed forms of balanced synchronous and saturated asynchronous ones."""

import pytest
from fakes import StarCluster, costs, job, layer, model

from simdml.costs.model import ServerCost
from simdml.engine.simulator import simulate
from simdml.results.accounting import Meanings, account
from simdml.results.critical_path import critical_path
from simdml.strategies.compiler import compile_job
from simdml.strategies.parameter_server.placement import place
from simdml.strategies.parameter_server.plan import ParameterServerPlan

FAST = ServerCost(bytes_per_s=1e30)
MODEL_BYTES = 4.0 * 2**20


def run(workers, servers, *, synchronous, compute_s=1.0, bandwidth=2.0**22, server_bandwidth=None, steps=3, layers=1):
    cluster = StarCluster(workers, bandwidth=bandwidth, servers=servers, server_bandwidth=server_bandwidth)
    each = compute_s / 2 / layers
    toy = model([([layer(each, each, [2**20 // layers])], 0.0) for _ in range(layers)])
    nodes = tuple(range(workers, workers + servers))
    plan = ParameterServerPlan(nodes, consistency="bsp" if synchronous else "asynchronous", placement="sharded")
    program = compile_job(job(cluster, toy, (("dp", workers),), parameter_server=plan))
    return simulate(program, cluster, costs(cluster, server=FAST), steps=steps)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (4, 1), (4, 2), (4, 4), (2, 4), (8, 3)])
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_balanced_synchronous_server(workers, servers, ratio):
    """Each direction takes max(M / B_w, W M / (S B_s)): the workers' links or the servers'."""
    bandwidth = 2.0**22
    recording = run(workers, servers, synchronous=True, bandwidth=bandwidth, server_bandwidth=ratio * bandwidth)
    direction = max(MODEL_BYTES / bandwidth, workers * MODEL_BYTES / (servers * ratio * bandwidth))
    assert recording.step_time_s == pytest.approx(1.0 + 2 * direction, rel=1e-9)


@pytest.mark.parametrize(("workers", "servers"), [(6, 1), (12, 1), (12, 2)])
def test_saturated_asynchronous_servers(workers, servers):
    """With little compute the servers' links are always full: W workers step together in W M / (S B_s)."""
    recording = run(workers, servers, synchronous=False, compute_s=0.5, steps=60, layers=16)
    bound = workers * MODEL_BYTES / (servers * 2.0**22)
    # The run begins and ends between two updates, of which there are at least 240.
    assert bound * (1 - 1 / 120) <= recording.step_time_s <= bound * 1.05


def test_asynchronous_workers_do_not_wait_for_each_other():
    recording = run(2, 2, synchronous=False, compute_s=100.0, steps=8)
    assert recording.step_time_s == pytest.approx(100.0 + 2 * 1.0, rel=0.02)


@pytest.mark.parametrize("synchronous", [True, False])
def test_a_worker_s_time_adds_up(synchronous):
    recording = run(4, 2, synchronous=synchronous, steps=8)
    for position, rank in enumerate(recording.execution.ranks):
        begin, end = recording.window if synchronous else recording.step_ends[position][-2:]
        accounts = account(rank, Meanings(recording.execution), begin, end)
        assert sum(accounts.values()) == pytest.approx(end - begin, abs=1e-12)
        assert accounts["forward"] == accounts["backward"] == 0.5
    begin, end = recording.window
    path = critical_path(recording, begin, end)
    assert sum(segment.seconds for segment in path) == pytest.approx(end - begin, abs=1e-12)


def test_server_that_sums_slowly_is_waited_for():
    cluster = StarCluster(2, bandwidth=1e12, servers=1)
    toy = model([([layer(0.5, 0.5, [2**20])], 0.0)])
    plan = ParameterServerPlan((2,), placement="sharded")
    program = compile_job(job(cluster, toy, (("dp", 2),), parameter_server=plan))
    recording = simulate(program, cluster, costs(cluster, server=ServerCost(bytes_per_s=MODEL_BYTES)))
    accounts = account(recording.execution.ranks[0], Meanings(recording.execution), *recording.window)
    # One push copied (2 bytes moved a byte), one summed (3), then one update of 3: 8 s at one model a second.
    assert accounts["server wait"] == pytest.approx(8.0, rel=1e-3)


def test_placements():
    tensors = [("a", 100), ("b", 60), ("c", 50), ("d", 10)]
    assert place(tensors, 2, "round_robin") == [[(0, 100.0)], [(1, 60.0)], [(0, 50.0)], [(1, 10.0)]]
    assert place(tensors, 2, "greedy_by_bytes") == [[(0, 100.0)], [(1, 60.0)], [(1, 50.0)], [(0, 10.0)]]
    assert place(tensors, 2, "sharded")[0] == [(0, 50.0), (1, 50.0)]
