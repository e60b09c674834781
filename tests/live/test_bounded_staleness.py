"""Stale synchronous parallel shards between their two limits: bulk synchronous and asynchronous."""

import pytest
from fakes import StarCluster, costs, job, layer, model

from simdml.costs.model import ServerCost
from simdml.engine.simulator import simulate
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import ParameterServerPlan

FAST = ServerCost(bytes_per_s=1e30)
SLOW_FIRST = 3.0


class SlowFirst(StarCluster):
    """GPU 0 is another, slower device."""

    def device(self, gpu):
        found = super().device(gpu)
        return found if gpu else type(found)(name="slow")


class Slower:
    def seconds(self, operator, precision):
        return SLOW_FIRST * operator.flops


def run(staleness, *, synchronous=False, steps=None, workers=3):
    cluster = SlowFirst(workers, bandwidth=2.0**26, servers=1)
    toy = model([([layer(0.5, 0.5, [2**18])], 0.0) for _ in range(2)])
    plan = ParameterServerPlan((workers,), synchronous=synchronous, placement="sharded", staleness=staleness)
    program = compile_job(job(cluster, toy, (("dp", workers),), parameter_server=plan))
    priced = costs(cluster, server=FAST)
    priced.compute["slow"] = Slower()
    return simulate(program, cluster, priced, steps=steps)


def test_no_staleness_goes_in_step_with_the_slowest():
    bulk = run(None, synchronous=True)
    assert run(0).step_time_s == pytest.approx(bulk.step_time_s, rel=1e-3)


def test_unreachable_bound_is_asynchronous():
    assert run(10_000).step_ends == run(None).step_ends


def test_nobody_is_further_ahead_than_the_bound():
    for bound in (0, 1, 4):
        ends = run(bound, steps=20).step_ends
        for fast in ends[1:]:
            for step, end in enumerate(fast):
                done_by_slowest = sum(other <= end for other in ends[0])
                assert step + 1 - done_by_slowest <= bound + 1
        leads = [step + 1 - sum(other <= end for other in ends[0]) for step, end in enumerate(ends[1])]
        assert max(leads) >= bound


def test_bound_binds_in_the_long_run():
    """However large, a bound ends with everybody at the pace of the slowest; without one the others run on."""
    slowest_s = 2.0 * SLOW_FIRST
    assert run(3, steps=60).step_time_s == pytest.approx(slowest_s, rel=0.1)
    assert run(None, steps=60).step_time_s < 0.7 * slowest_s
