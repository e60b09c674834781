"""When a worker may go on: stale synchronous between its limits, bounded delay, backup workers; how stale async is."""

import pytest
from fakes import StarCluster, costs, job, layer, model

from simdml.costs.model import ServerCost
from simdml.engine.simulator import simulate
from simdml.strategies.compiler import compile_job
from simdml.strategies.parameter_server.plan import ParameterServerPlan

SLOW_FIRST = 3.0
SLOW_SERVER = ServerCost(bytes_per_s=2.0**25, per_message_s=0.001)


class MixedCluster(StarCluster):
    """GPUs of one kind each."""

    def device(self, gpu):
        return type(super().device(gpu))(name=f"gpu {gpu}")


class Takes:
    def __init__(self, factor):
        self.factor = factor

    def seconds(self, operator, precision):
        return self.factor * operator.flops


def run(plan, factors, *, steps=None, server=SLOW_SERVER, bandwidth=2.0**26, parameters=2**18):
    """A model of two layers and two seconds a step on workers that take ``factors`` times as long, and one server."""
    workers = len(factors)
    cluster = MixedCluster(workers, bandwidth=bandwidth, servers=1)
    toy = model([([layer(0.5, 0.5, [parameters])], 0.0) for _ in range(2)])
    plan = ParameterServerPlan((workers,), placement="sharded", **plan)
    program = compile_job(job(cluster, toy, (("dp", workers),), parameter_server=plan))
    priced = costs(cluster, server=server)
    priced.compute.update({f"gpu {gpu}": Takes(factor) for gpu, factor in enumerate(factors)})
    return simulate(program, cluster, priced, steps=steps)


def ssp(staleness):
    return {"consistency": "ssp", "staleness": staleness}


SOME = (SLOW_FIRST, 1.0, 1.0)
BSP, ASYNCHRONOUS = {"consistency": "bsp"}, {"consistency": "asynchronous"}


@pytest.mark.parametrize("factors", [SOME, (1.0, 1.0, 1.0, 1.0)])
def test_no_staleness_is_bulk_synchronous(factors):
    stale, bulk = run(ssp(0), factors), run(BSP, factors)
    assert stale.step_ends == bulk.step_ends
    assert (stale.step_time_s, stale.periodic) == (bulk.step_time_s, bulk.periodic)


@pytest.mark.parametrize("factors", [SOME, (1.0, 1.0, 1.0, 1.0)])
def test_unreachable_bound_is_asynchronous(factors):
    assert run(ssp(10_000), factors).step_ends == run(ASYNCHRONOUS, factors).step_ends


def test_nobody_is_further_ahead_than_the_bound():
    for bound in (1, 4):
        ends = run(ssp(bound), SOME, steps=20).step_ends
        for fast in ends[1:]:
            for step, end in enumerate(fast):
                done_by_slowest = sum(other <= end for other in ends[0])
                assert step + 1 - done_by_slowest <= bound + 1
        leads = [step + 1 - sum(other <= end for other in ends[0]) for step, end in enumerate(ends[1])]
        assert max(leads) >= bound


def test_bound_binds_in_the_long_run():
    """However large, a bound ends with everybody at the pace of the slowest; without one the others run on."""
    slowest_s = 2.0 * SLOW_FIRST
    assert run(ssp(3), SOME, steps=60).step_time_s == pytest.approx(slowest_s, rel=0.1)
    assert run(ASYNCHRONOUS, SOME, steps=60).step_time_s < 0.7 * slowest_s


@pytest.mark.parametrize("delay", [0, 1, 2, 3])
@pytest.mark.parametrize(("push_s", "compute_s"), [(0.25, 2.0), (1.0, 2.0), (4.0, 2.0), (1.5, 2.0)])
def test_bounded_delay(delay, push_s, compute_s):
    """One worker, one key: d + 1 steps share a round of compute, push and pull, each of which does one at a time."""
    cluster = StarCluster(1, bandwidth=2.0**20, servers=1)
    toy = model([([layer(compute_s / 2, compute_s / 2, [int(push_s * 2**18)])], 0.0)])
    plan = ParameterServerPlan((1,), "bounded_delay", delay=delay, placement="sharded")
    program = compile_job(job(cluster, toy, (("dp", 1),), parameter_server=plan))
    recording = simulate(program, cluster, costs(cluster, server=ServerCost(bytes_per_s=1e30)))
    round_s = compute_s + 2 * push_s
    assert recording.step_time_s == pytest.approx(max(compute_s, push_s, round_s / (delay + 1)), rel=1e-6)


@pytest.mark.parametrize("backups", [0, 1, 2, 3])
def test_backup_workers_make_a_step_the_order_statistic(backups):
    """The step takes as long as the (W - b)-th fastest worker, however slow the others are."""
    factors = (1.5, 1.0, 7.0, 1.25, 2.0)
    plan = {"consistency": "backup", "backup_workers": backups}
    recording = run(plan, factors, server=ServerCost(bytes_per_s=1e30), bandwidth=1e30)
    assert recording.step_time_s == pytest.approx(2.0 * sorted(factors)[len(factors) - backups - 1], rel=1e-9)


def test_backup_workers_without_backups_are_bulk_synchronous():
    plan = {"consistency": "backup", "backup_workers": 0}
    assert run(plan, (1.0,) * 3).step_time_s == pytest.approx(run(BSP, (1.0,) * 3).step_time_s, rel=0.02)


def test_gradients_of_backup_workers_that_come_late_are_dropped():
    recording = run({"consistency": "backup", "backup_workers": 1}, (1.0, 1.0, 1.0, 2.5))
    [shard] = recording.execution.shards
    assert 0 < shard.activity.dropped < shard.activity.pushes / 4
    assert set(shard.activity.staleness) == {0}
    assert shard.activity.updates > 0


@pytest.mark.parametrize("workers", [1, 2, 5, 16])
def test_asynchronous_gradients_of_equal_workers_are_stale_by_the_others(workers):
    """Between a worker's pull and its next push everybody else pushes once: W - 1 updates."""
    [shard] = run(ASYNCHRONOUS, (1.0,) * workers, steps=12).execution.shards
    staleness = shard.activity.staleness
    assert staleness.total() > 5 * workers
    mean = sum(updates * times for updates, times in staleness.items()) / staleness.total()
    assert mean == pytest.approx(workers - 1, rel=0.02)


def test_synchronous_gradients_are_fresh_and_delayed_ones_are_not():
    for plan, stale in ((BSP, 0), (ssp(0), 0), ({"consistency": "bounded_delay", "delay": 2}, 2)):
        [shard] = run(plan, (1.0,) * 3).execution.shards
        assert set(shard.activity.staleness) == {stale}


def test_who_waits_for_whom():
    """The fast workers wait for the slow one, which waits for nobody but the server."""
    [shard] = run(BSP, SOME, server=ServerCost(bytes_per_s=1e30)).execution.shards
    by_worker = {}
    for (waiter, other), seconds in shard.activity.held.items():
        by_worker[waiter, other] = by_worker.get((waiter, other), 0.0) + seconds
    assert by_worker[1, 0] == pytest.approx(by_worker[2, 0])
    # Backward of the last layer ends 1.5 s into a fast worker's step and 4.5 s into that of the slow one, which pushes
    # the first layer's key at 6 s.
    assert by_worker[1, 0] == pytest.approx(6.0 - 1.5, rel=0.05)
    assert sum(seconds for (waiter, _), seconds in by_worker.items() if waiter == 0) < 0.1


def test_threads_serve_different_keys_side_by_side_and_one_key_after_another():
    from dataclasses import replace

    def step_s(threads, key_lock):
        cluster = StarCluster(4, bandwidth=1e30, servers=1)
        toy = model([([layer(2.0**-40, 2.0**-40, [2**20, 2**20])], 0.0)])
        plan = ParameterServerPlan((4,), placement="sharded")
        program = compile_job(job(cluster, toy, (("dp", 4),), parameter_server=plan))
        servers = tuple(replace(shard, threads=threads, key_lock=key_lock) for shard in program.servers)
        rate = ServerCost(bytes_per_s=2.0**22)
        return simulate(replace(program, servers=servers), cluster, costs(cluster, server=rate)).step_time_s

    # A key takes one copy (2), three sums (9) and an update (3) of its bytes: 14 s at one key's bytes a second.
    assert step_s(1, True) == pytest.approx(28.0)
    assert step_s(2, True) == pytest.approx(14.0)
    assert step_s(8, True) == pytest.approx(14.0)
    assert step_s(8, False) < 10.0
