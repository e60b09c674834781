"""When the start of a run no longer matters, and how sure its mean is: known processes, and exact recurrence."""

import numpy as np
import pytest
from fakes import StarCluster, costs, job, layer, model
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.engine import operations
from simdml.engine.conditions import Conditions
from simdml.engine.launching import lead
from simdml.engine.simulator import simulate
from simdml.engine.steady_state import estimate, warm_up
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, PipelinePlan


def autoregressive(seed, count, start, rho=0.5):
    draws = np.random.default_rng(seed).normal(size=count)
    values, state = [], start
    for draw in draws:
        state = rho * state + draw
        values.append(10.0 + state)
    return values


def test_a_high_start_is_cut():
    series = [100.0] * 50 + [1.0, 1.1] * 500
    assert warm_up(series) == 50
    assert estimate(series).mean == pytest.approx(1.05)


def test_a_constant_series_is_known_exactly():
    found = estimate([2.0] * 100)
    assert (found.mean, found.half_width, found.cut) == (2.0, 0.0, 0)


def test_too_short_a_series_is_not_trusted():
    assert estimate([1.0] * 30).half_width == float("inf")


def test_intervals_cover_the_mean_as_often_as_they_say():
    """AR(1) around 10 from a start far away: 95 % of intervals should hold 10; 90 to 99 % of 200 is within chance."""
    found = [estimate(autoregressive(seed, 1000, start=30.0)) for seed in range(200)]
    inside = sum(abs(each.mean - 10.0) <= each.half_width for each in found)
    assert 180 <= inside <= 199


def pipeline(dp=2, pp=3, microbatches=3, **plan):
    cluster = StarCluster(dp * pp, bandwidth=2.0**20)
    toy = model([([layer(0.25, 0.5, [2**15, 2**12])], 2.0**17) for _ in range(2 * pp)])
    made = job(
        cluster,
        toy,
        (("dp", dp), ("pp", pp)),
        num_microbatches=microbatches,
        pipeline=PipelinePlan("1f1b", balance=tuple(range(0, 2 * pp, 2)), **plan),
        data_parallel=DataParallelPlan(bucket_cap_bytes=2**15),
    )
    return compile_job(made), cluster


@settings(max_examples=20, deadline=None)
@given(
    dp=st.integers(1, 3),
    pp=st.integers(1, 4),
    microbatches=st.integers(1, 4),
    overlap=st.booleans(),
    slow=st.dictionaries(st.integers(0, 11), st.sampled_from([1.25, 2.0, 3.0]), max_size=3),
    launch=st.sampled_from([0.0, 0.01, 0.2, 0.4]),
)
def test_extrapolated_equals_simulated(dp, pp, microbatches, overlap, slow, launch):
    program, cluster = pipeline(dp, pp, microbatches, overlap_p2p=overlap)
    conditions = Conditions(slow_gpus={gpu % (dp * pp): factor for gpu, factor in slow.items()})
    prices = costs(cluster, latency_s=0.001, launch_s=launch)
    short = simulate(program, cluster, prices, conditions)
    assert short.periodic
    long = simulate(program, cluster, prices, conditions, steps=9)
    for position, ends in enumerate(long.step_ends):
        assert short.ends_of(position, 9) == ends[:9]
    assert long.period == short.period


def delay(seconds, launched):
    return operations.Delay(seconds, launched)


@pytest.mark.parametrize(
    ("those", "expected"),
    [
        ([], -np.inf),
        ([delay(2.0, 3.0)], 1.0),
        ([delay(2.0, 2.5), delay(1.0, 2.0)], 0.5),
        ([delay(2.0, 1.0), delay(1.0, 4.0)], 1.0),
        ([delay(2.0, 1.0), delay(5.0, 4.0)], -1.0),
        ([operations.VaryingDelay(2.0, 1.0)], np.inf),
    ],
)
def test_how_early_a_host_has_to_begin(those, expected):
    """Kernels of 2 s that are launched 3 s after the host began wait for one that begins less than 1 s early."""
    assert lead(those) == expected


def test_jitter_is_reproducible_and_slows_those_who_wait_for_the_slowest():
    program, cluster = pipeline(dp=4, pp=1)
    exact = simulate(program, cluster, costs(cluster)).step_time_s
    once, again, other = (
        simulate(program, cluster, costs(cluster), Conditions(jitter_cv=0.1, seed=seed)) for seed in (1, 1, 2)
    )
    assert once.step_ends == again.step_ends
    assert once.step_ends != other.step_ends
    assert once.execution.partition.num_classes == 4
    assert "jitter" in once.execution.partition.reason
    for run in (once, other):
        assert run.estimate.relative_half_width <= 0.01
        # The largest of four lognormal factors of cv 0.1 averages 1.1 (1.03 sigma above the mean); not all is compute.
        assert 1.02 * exact < run.step_time_s < 1.11 * exact
    mean, half = once.estimate.mean, once.estimate.half_width + other.estimate.half_width
    assert abs(mean - other.estimate.mean) <= half


def test_a_run_without_period_is_not_extrapolated():
    program, cluster = pipeline(dp=2, pp=1)
    run = simulate(program, cluster, costs(cluster), Conditions(jitter_cv=0.1), steps=5)
    with pytest.raises(ValueError, match="step 6 was not simulated"):
        run.ends_of(0, 6)
