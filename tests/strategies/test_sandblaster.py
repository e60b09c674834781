"""Portions of work on demand, against a simulation by hand; the cost of L-BFGS on shards."""

import heapq
from math import ceil

import pytest
from fakes import StarCluster, costs, job, layer, model
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.costs.model import ServerCost
from simdml.engine.conditions import Conditions
from simdml.engine.simulator import simulate
from simdml.results.accounting import Meanings, account
from simdml.results.critical_path import critical_path
from simdml.strategies.compiler import compile_job
from simdml.strategies.parameter_server import lbfgs
from simdml.strategies.parameter_server.compiling import server_work
from simdml.strategies.parameter_server.plan import ParameterServerPlan

FAST = ServerCost(bytes_per_s=1e30)
PLAN = {"placement": "sharded", "messages": "model", "overlap": False, "fetch": "at_start", "portions": "shared"}


def run(workers, portions, slow=(), *, bandwidth=1e30, server=FAST, parameters=2**20, steps=None, latency=0.0, **plan):
    """Workers share ``portions`` of one second each; GPU i takes ``slow[i]`` times as long."""
    cluster = StarCluster(workers, bandwidth=bandwidth, servers=1, latency=latency)
    toy = model([([layer(0.25, 0.75, [parameters])], 0.0)])
    the_job = job(
        cluster,
        toy,
        (("dp", workers),),
        num_microbatches=portions // workers,
        parameter_server=ParameterServerPlan((workers,), **{**PLAN, **plan}),
    )
    conditions = Conditions(slow_gpus=dict(enumerate(slow)))
    return simulate(compile_job(the_job), cluster, costs(cluster, server=server), conditions, steps=steps)


def by_hand(portions, factors, *, duplicates):
    """When a batch is over, by trying every worker that is free in the order they become free."""
    unbegun, begun, finished = portions, {}, set()
    free = [(0.0, worker) for worker in range(len(factors))]
    running = []
    now = 0.0
    while len(finished) < portions:
        while free:
            _, worker = heapq.heappop(free)
            if unbegun:
                unbegun -= 1
                portion = portions - 1 - unbegun
                begun[portion] = [worker]
            else:
                open_ones = [p for p in begun if p not in finished]
                if not duplicates or not open_ones:
                    continue
                portion = min(open_ones, key=lambda p: (len(begun[p]), p))
                begun[portion].append(worker)
            heapq.heappush(running, (now + factors[worker], worker, portion))
        now, worker, portion = heapq.heappop(running)
        finished.add(portion)
        others = [item for item in running if item[2] == portion]
        running = [item for item in running if item[2] != portion]
        heapq.heapify(running)
        free = [(now, who) for who in (worker, *(item[1] for item in others))]
    return now


@pytest.mark.parametrize(("workers", "portions"), [(1, 4), (4, 4), (4, 12), (8, 64)])
def test_equal_workers_share_equally(workers, portions):
    recording = run(workers, portions)
    assert recording.step_time_s == pytest.approx(ceil(portions / workers) * 1.0)


@settings(max_examples=40, deadline=None)
@given(
    factors=st.lists(st.sampled_from([1.0, 1.3, 1.7, 2.9, 6.1, 11.3]), min_size=1, max_size=5),
    each=st.integers(1, 6),
    duplicates=st.booleans(),
)
def test_batches_are_those_made_by_hand(factors, each, duplicates):
    """Distinct speeds keep two workers from finishing at once, where either may come first."""
    factors = [factor * (1 + number / 1000) for number, factor in enumerate(factors)]
    recording = run(len(factors), each * len(factors), factors, duplicates=duplicates, steps=2)
    expected = by_hand(each * len(factors), factors, duplicates=duplicates)
    # Later batches may begin in another order, and so hand out portions to others.
    assert recording.end(1) == pytest.approx(expected, rel=1e-9)


def test_duplicates_save_a_batch_from_its_slowest_worker():
    """Two workers, six portions, one ten times slower: its only portion is done again."""
    alone = run(2, 6, (10.0, 1.0), duplicates=False).step_time_s
    helped = run(2, 6, (10.0, 1.0)).step_time_s
    assert alone == pytest.approx(10.0)
    assert helped == pytest.approx(6.0)


def test_time_adds_up_with_work_that_is_discarded():
    recording = run(3, 9, (7.0, 1.0, 1.5), bandwidth=2.0**23, send_every=2, server=ServerCost(2.0**26), steps=3)
    for position, rank in enumerate(recording.execution.ranks):
        begin, end = recording.own_window(position)
        accounts = account(rank, Meanings(recording.execution), begin, end)
        assert sum(accounts.values()) == pytest.approx(end - begin, abs=1e-9)
        if rank.rank == 0:
            assert accounts["duplicate work"] > 0
    begin, end = recording.window
    assert sum(s.seconds for s in critical_path(recording, begin, end)) == pytest.approx(end - begin, abs=1e-9)


@pytest.mark.parametrize(("send_every", "sums"), [(1, 8), (2, 4), (4, 2), (100, 0)])
def test_gradients_are_sent_every_few_portions(send_every, sums):
    """Each of two workers does eight portions: so many parts on top of the two last pushes, all of them summed."""
    recording = run(2, 16, send_every=send_every, steps=3, server=ServerCost(bytes_per_s=2.0**30))
    [shard] = recording.execution.shards
    assert shard.activity.pushes == 2 * sums + 2
    assert shard.activity.updates == 1


def test_lbfgs_moves_vectors_inside_shards_at_a_coordinator_s_commands():
    # m = 1: two dot products (2 vectors each), two additions (3), a scaling (2), two differences and the step (3 each).
    assert lbfgs.vectors_moved(1) == 2 * 2 + 2 * 3 + 2 + 3 * 3
    assert lbfgs.commands(1) == 2 + 2 + 1 + 2 + 1
    plan = ParameterServerPlan((0,), lbfgs_history=10)
    work = server_work(plan, "sgd")
    assert (work.update, work.commands) == (111, 44)


def test_time_of_a_batch_on_equal_machines():
    """Fetch M / B, portions, push M / B, copy or sum of every push, the update and its commands there and back."""
    nbytes, bandwidth, rate, latency = 2.0**22, 2.0**24, 2.0**26, 2.0**-10
    server = ServerCost(bytes_per_s=rate, per_message_s=2.0**-12)
    recording = run(1, 3, bandwidth=bandwidth, server=server, latency=latency, send_every=100, lbfgs_history=5)
    update_s = nbytes * (10 * 5 + 11) / rate + (4 * 5 + 4) * (2 * latency + 2.0**-12)
    expected = 3.0 + 2 * (nbytes / bandwidth + latency) + 2.0**-12 + 2 * nbytes / rate + update_s
    assert recording.step_time_s == pytest.approx(expected, rel=1e-6)
