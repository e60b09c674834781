"""Young's and Daly's intervals against a search, and the closed forms against each other."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simdml.studies.goodput.intervals import daly, expected_ettr, expected_wall_s, optimal, slowdown, young

stalls = st.floats(0.1, 1e4)
mtbfs = st.floats(600.0, 1e7)


@given(stalls, mtbfs)
def test_no_other_interval_is_better(stall_s, mtbf_s):
    best = optimal(stall_s, mtbf_s)
    assert 0 < best < mtbf_s
    least = slowdown(best, stall_s, mtbf_s)
    others = best * np.array([0.2, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 5.0])
    assert all(slowdown(other, stall_s, mtbf_s) >= least * (1 - 1e-12) for other in others if other < 100 * mtbf_s)


@given(mtbfs)
def test_young_and_daly_are_what_it_tends_to_for_short_stalls(mtbf_s):
    stall_s = 1e-4 * mtbf_s
    best = optimal(stall_s, mtbf_s)
    assert best == pytest.approx(young(stall_s, mtbf_s), rel=0.01)
    assert best == pytest.approx(daly(stall_s, mtbf_s), rel=1e-4)
    longer = 0.2 * mtbf_s
    assert daly(longer, mtbf_s) == pytest.approx(optimal(longer, mtbf_s), rel=0.01)
    assert abs(young(longer, mtbf_s) / optimal(longer, mtbf_s) - 1) > 0.05


def test_young_by_hand():
    assert young(50, 10_000) == 1000.0
    assert daly(30_000, 10_000) == 10_000


def test_without_failures_or_stalls_nothing_is_lost():
    assert optimal(10, inf) == inf
    assert optimal(0, 1000) == 0
    assert slowdown(100, 10, inf) == pytest.approx(1.1)
    assert expected_wall_s([100, 50], inf) == 150
    assert slowdown(100, 10, 1e12, detection_s=100, restart_s=100) == pytest.approx(1.1)


def test_equal_segments_are_the_slowdown():
    many = expected_wall_s([1860] * 50, 7000, detection_s=60, restart_s=200)
    assert many / (50 * 1800) == pytest.approx(slowdown(1800, 60, 7000, detection_s=60, restart_s=200))


@pytest.mark.parametrize("nodes", [16, 128])
def test_the_first_order_ratio_is_what_the_exact_one_tends_to(nodes):
    """Kokolis et al.'s ratio, for rare failures, up to second order: the restart u0 is detection and restart."""
    rate, interval_s, write_s = 6.5e-3 / 86_400, 1800.0, 30.0
    exact = 1 / slowdown(interval_s, write_s, 1 / (nodes * rate), detection_s=200, restart_s=100)
    first = expected_ettr(nodes, rate, 300, interval_s, write_s)
    assert first == pytest.approx(exact, abs=2 * (nodes * rate * (interval_s + 300)) ** 2 + nodes * rate * write_s)


def test_the_best_interval_for_large_jobs_of_rsc_1():
    """MTTF of 1.8 h at 16,384 GPUs (the paper's projection) and a write of 10 s give about six minutes."""
    assert optimal(10, 1.8 * 3600) == pytest.approx(sqrt(2 * 10 * 6480), rel=0.02)
