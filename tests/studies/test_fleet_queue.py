"""Queues: Erlang's closed form, backfilling by its definition, packing, fragmentation, the smallest cluster."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import exp, inf, log

import numpy as np
import pytest
from counting_schedulers import conservative_starts, easy_starts
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.errors import InfeasibleError
from simdml.studies.fleet.arriving import JobKind, QueuedJob, draw_jobs
from simdml.studies.fleet.erlang import erlang_c, mean_wait_s, wait_quantile_s
from simdml.studies.fleet.packing import place
from simdml.studies.fleet.policies import POLICIES
from simdml.studies.fleet.queue import Queue, serve
from simdml.studies.fleet.waiting import (
    Demand,
    Known,
    fewest_nodes,
    refuse_overload,
    resized,
    served_runs,
    smallest_cluster,
)

SINGLE = JobKind("single", gpus=1, every_s=100, runtime_s=700)


def jobs_of(*rows):
    """Return jobs of (submit, gpus, runtime[, estimate[, priority]])."""
    filled = [(*row, row[2], 0)[: max(len(row), 4)] for row in rows]
    return [QueuedJob(number, "job", *row) for number, row in enumerate(filled)]


def starts(queue, jobs):
    served = serve(queue, jobs)
    return [job.submit_s + wait for job, wait in zip(served.jobs, served.wait_s.tolist(), strict=True)]


def test_erlang_by_hand():
    """M/M/1 waits with probability rho; M/M/2 with 2 rho^2 / (1 + rho); a textbook's M/M/3 at a = 2: 4/9."""
    assert erlang_c(1, 0.8) == pytest.approx(0.8)
    assert erlang_c(2, 1.2) == pytest.approx(2 * 0.36 / 1.6)
    assert erlang_c(3, 2.0) == pytest.approx(4 / 9)
    assert mean_wait_s(1, 0.08, 10) == pytest.approx(0.8 * 10 / 0.2)
    assert mean_wait_s(2, 1, 2) == inf
    assert erlang_c(2, 2.5) == 1.0
    quantile = wait_quantile_s(0.9, 3, 0.2, 10)
    assert 4 / 9 * exp(-1.0 * quantile / 10) == pytest.approx(0.1)
    assert wait_quantile_s(0.5, 3, 0.2, 10) == 0


@pytest.mark.parametrize(("nodes", "node_gpus"), [(8, 1), (2, 4)])
def test_single_gpu_jobs_wait_as_erlang_says(nodes, node_gpus):
    """M/M/8 at 75 %: mean wait, share that waits, a quantile, busy servers and the queue's length."""
    every_s = 700 / 6
    demand = Demand((replace(SINGLE, every_s=every_s),), count=5000)
    waits = served_runs(Queue(nodes, node_gpus), demand, 8, seed=3, jobs=1)
    expected = {
        "mean": (waits.mean_wait_s(), mean_wait_s(8, 1 / every_s, 700)),
        "p90": (waits.wait_s(0.9), wait_quantile_s(0.9, 8, 1 / every_s, 700)),
        "waits": (waits.known(lambda run: float((run.wait_s > 0).mean())), erlang_c(8, 6.0)),
        "busy": (waits.known(lambda run: run.utilisation), 6 / 8),
        "queue": (waits.known(lambda run: run.waiting), mean_wait_s(8, 1 / every_s, 700) / every_s),
    }
    for name, (known, value) in expected.items():
        assert abs(known.mean - value) <= 2 * known.half_width, name
        assert known.half_width < 0.4 * value, name
    assert waits.known(lambda run: run.fragmentation).mean == 0


def test_what_waits_is_what_comes_times_how_long():
    """Little's law, exactly up to the edges of what is watched."""
    served = serve(Queue(8, 1), draw_jobs([SINGLE], 8000, 1))
    watched = served.jobs[-1].submit_s - served.jobs[0].submit_s
    assert served.waiting == pytest.approx(served.wait_s.sum() / watched, rel=0.01)


times = st.integers(0, 40)
job_rows = st.lists(
    st.tuples(times, st.integers(1, 6), st.integers(1, 15), st.integers(0, 10)), min_size=2, max_size=14
)


@settings(max_examples=150, deadline=None)
@given(job_rows)
def test_conservative_backfilling_is_insertion_into_a_plan(rows):
    jobs = jobs_of(*((float(s), g, float(r)) for s, g, r, _ in sorted(rows)))
    assert starts(Queue(1, 6, "conservative_backfill"), jobs) == conservative_starts(jobs, 6)


@settings(max_examples=150, deadline=None)
@given(job_rows)
def test_easy_backfilling_is_its_definition(rows):
    jobs = jobs_of(*((float(s), g, float(r), float(r + late)) for s, g, r, late in sorted(rows)))
    assert starts(Queue(1, 6, "easy_backfill"), jobs) == easy_starts(jobs, 6)


@settings(max_examples=100, deadline=None)
@given(job_rows, st.sampled_from([*POLICIES]), st.sampled_from(["best_fit", "first_fit", "spread"]))
def test_no_gpu_has_two_jobs_and_every_job_runs(rows, policy, placement):
    jobs = jobs_of(*((float(s), g, float(r), float(r + late), late % 3) for s, g, r, late in sorted(rows)))
    began = starts(Queue(3, 2, policy, placement), jobs)
    for moment in began:
        used = sum(job.gpus for job, start in zip(jobs, began, strict=True) if start <= moment < start + job.runtime_s)
        assert used <= 6
    assert all(start >= job.submit_s for job, start in zip(jobs, began, strict=True))
    if policy == "fifo":
        assert began == sorted(began)


def test_who_goes_first():
    """A big job runs; then come a whole-cluster job, a short small one and a long small one."""
    rows = (0, 6, 10), (1, 8, 10), (2, 2, 8), (3, 2, 30)
    assert starts(Queue(1, 8, "fifo"), jobs_of(*rows)) == [0, 10, 20, 20]
    # The short one ends when the first does; the long one would delay the whole-cluster job.
    assert starts(Queue(1, 8, "easy_backfill"), jobs_of(*rows)) == [0, 10, 2, 20]
    urgent = jobs_of(*rows[:3], (3, 2, 30, 30, 5))
    assert starts(Queue(1, 8, "priority"), urgent) == [0, 33, 43, 3]
    assert starts(Queue(1, 8, "fifo"), urgent) == [0, 10, 20, 20]


def test_all_that_ends_with_the_reservation_is_free_then():
    """Two jobs end as the first that waits can start: what both leave over may be used beside it."""
    rows = (0, 3, 2, 12), (0, 2, 2, 12), (1, 4, 1), (1, 1, 2, 13)
    assert starts(Queue(1, 6, "easy_backfill"), jobs_of(*rows)) == [0, 0, 2, 1]


def test_easy_delays_the_second_and_conservative_does_not():
    """A small long job fits beside the first that waits, and not beside the second."""
    rows = (0, 6, 10), (1, 8, 10), (2, 6, 10), (3, 2, 17)
    assert starts(Queue(1, 10, "conservative_backfill"), jobs_of(*rows)) == [0, 10, 20, 3]
    assert starts(Queue(1, 10, "easy_backfill"), jobs_of(*rows)) == [0, 10, 20, 3]
    passing = (0, 6, 10), (1, 4, 10), (2, 8, 10), (3, 2, 25)
    assert starts(Queue(1, 8, "easy_backfill"), jobs_of(*passing)) == [0, 10, 28, 3]
    assert starts(Queue(1, 8, "conservative_backfill"), jobs_of(*passing)) == [0, 10, 20, 30]


def test_where_jobs_go():
    free = np.array([4, 1, 3, 8, 8])
    assert place(free, 3, 8, "best_fit") == ((2, 3),)
    assert place(free, 3, 8, "first_fit") == ((0, 3),)
    assert place(free, 3, 8, "spread") == ((3, 3),)
    assert place(free, 16, 8, "best_fit") == ((3, 8), (4, 8))
    assert place(free, 11, 8, "best_fit") == ((3, 8), (2, 3))
    assert place(free, 11, 8, "spread") == ((3, 8), (4, 3))
    assert place(free, 13, 8, "best_fit") == ((3, 8), (4, 5))
    assert place(free, 17, 8, "best_fit") == ((3, 8), (4, 8), (1, 1))
    assert place(free, 24, 8, "best_fit") is None
    assert (free == [4, 1, 3, 8, 8]).all()


def test_spreading_small_jobs_leaves_no_room_for_large_ones():
    """Two small jobs on two nodes: side by side the large one runs at once, spread it waits for both."""
    rows = (0, 1, 10), (0, 1, 20), (1, 4, 5), (21, 1, 1)
    together, spread = (serve(Queue(2, 4, placement=p), jobs_of(*rows)) for p in ("best_fit", "spread"))
    assert together.wait_s.tolist() == [0, 0, 0, 0]
    assert spread.wait_s.tolist() == [0, 0, 9, 0]
    assert together.fragmentation == 0
    # Six of eight GPUs were free, and of no use, from 1 s to 10 s.
    assert spread.fragmentation == pytest.approx(6 * 9 / (8 * 21))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 8))
def test_another_server_never_lets_single_jobs_wait_longer(seed, nodes):
    jobs = draw_jobs([SINGLE], 60, seed)
    fewer, more = serve(Queue(nodes, 1), jobs), serve(Queue(nodes + 1, 1), jobs)
    assert (more.wait_s <= fewer.wait_s + 1e-6).all()


def test_the_smallest_cluster_is_the_one_of_all_that_were_tried():
    demand = Demand((SINGLE,), count=400)

    @cache
    def wait_at(nodes):
        return served_runs(Queue(nodes, 1), demand, 5, 7, jobs=1)

    for limit_s in (0.0, 20.0, 200.0):
        found, tried = smallest_cluster(wait_at, 8, 0.5, limit_s)
        every = [nodes for nodes in range(8, 16) if wait_at(nodes).wait_s(0.5).mean <= limit_s]
        assert found == every[0]
        assert {found} <= {each.nodes for each in tried}
    with pytest.raises(InfeasibleError, match="not even"):
        smallest_cluster(lambda _: wait_at(7), 8, 0.999, 0.0)


def test_erlang_finds_the_smallest_cluster_too():
    """Mean waits of M/M/c cross 60 s between 9 and 10 servers; the search on quantiles agrees with the closed form."""
    demand = Demand((SINGLE,), count=3000)
    found, _ = smallest_cluster(lambda n: served_runs(Queue(n, 1), demand, 4, 1, jobs=1), 8, 0.9, 300.0)
    quantiles = {nodes: wait_quantile_s(0.9, nodes, 0.01, 700) for nodes in range(8, 14)}
    assert found == next(nodes for nodes, wait in quantiles.items() if wait <= 300)
    assert min(abs(log(wait / 300)) for wait in quantiles.values() if wait) > 0.1


def test_overload_is_refused():
    with pytest.raises(InfeasibleError, match="grows for ever") as refused:
        refuse_overload(Queue(7, 1), Demand((SINGLE,)))
    assert "at least 8 nodes" in refused.value.hint
    refuse_overload(Queue(8, 1), Demand((SINGLE,)))
    assert fewest_nodes(Queue(1, 8), Demand((replace(SINGLE, gpus=100, every_s=1e9),))) == 13
    with pytest.raises(InfeasibleError, match="wants 100 GPUs") as refused:
        serve(Queue(12, 8), draw_jobs([replace(SINGLE, gpus=100)], 10, 0))
    assert "at least 13 nodes" in refused.value.hint


def test_a_queue_that_grows_says_so():
    """First come, first served: 71 % load is too much where the cluster runs empty before each whole-cluster job."""
    kinds = (replace(SINGLE, every_s=140), JobKind("whole", 8, 1200, 100))
    demand = Demand(kinds, count=1500)
    assert demand.load_gpus == pytest.approx(5.67, abs=0.01)
    grows = served_runs(Queue(8, 1), demand, 3, 0, jobs=1)
    assert grows.grows
    assert not served_runs(resized(grows.queue, 20), demand, 3, 0, jobs=1).grows
    assert not served_runs(replace(grows.queue, policy="easy_backfill", num_nodes=12), demand, 3, 0, jobs=1).grows


@pytest.mark.parametrize("distribution", ["constant", "exponential", "lognormal"])
def test_draws_have_the_mean_and_spread_that_is_said(distribution):
    kind = replace(SINGLE, distribution=distribution, cv=1.5, overestimate=3.0)
    jobs = draw_jobs([kind, replace(kind, every_s=200.0, name="other")], 30_000, 5)
    mine = [job for job in jobs if job.kind == "single"]
    assert len(mine) / len(jobs) == pytest.approx(2 / 3, rel=0.02)
    runtimes = np.array([job.runtime_s for job in mine])
    assert runtimes.mean() == pytest.approx(700, rel=0.03)
    cv = {"constant": 0, "exponential": 1, "lognormal": 1.5}[distribution]
    assert runtimes.std() / runtimes.mean() == pytest.approx(cv, rel=0.1)
    assert all(job.estimate_s == 3 * job.runtime_s for job in jobs)
    assert [job.submit_s for job in jobs] == sorted(job.submit_s for job in jobs)
    assert mine[-1].submit_s / len(mine) == pytest.approx(100, rel=0.03)


def test_student():
    """97.5 % quantiles of Student's t from a table: 2.776 with 4 degrees of freedom, 2.262 with 9."""
    for count, t in ((5, 2.776), (10, 2.262), (30, 2.045)):
        values = np.arange(count, dtype=float).tolist()
        deviation = np.std(values, ddof=1) / count**0.5
        assert Known.of(values).half_width == pytest.approx(t * deviation, rel=0.01)
