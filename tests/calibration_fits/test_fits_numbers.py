"""Robust least squares and measured curves against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from simdml.calibration.fitting.measured_curve import interpolation_errors, measured_curve
from simdml.calibration.fitting.robust import robust_fit

X = np.linspace(0.0, 1.0, 20)


def line(coefficients):
    return coefficients[0] + coefficients[1] * X


def test_an_exact_line_is_found():
    fit = robust_fit(lambda c: line(c) - line([2.0, -3.0]), [(0.0, 0.0)], (-9.0, -9.0), (9.0, 9.0), 0.1)
    assert fit.coefficients == pytest.approx([2.0, -3.0], abs=1e-6)
    assert fit.spread < 1e-6


def test_small_residuals_give_the_least_squares_line():
    noise = 1e-3 * np.cos(7.0 * np.arange(20))
    measured = line([2.0, -3.0]) + noise
    exact = np.polynomial.polynomial.polyfit(X, measured, 1)
    fit = robust_fit(lambda c: line(c) - measured, [(0.0, 0.0)], (-9.0, -9.0), (9.0, 9.0), 10.0)
    assert fit.coefficients == pytest.approx(exact, abs=1e-7)


def test_an_outlier_moves_the_robust_line_far_less():
    measured = line([2.0, -3.0])
    measured[-1] += 50.0
    plain = np.polynomial.polynomial.polyfit(X, measured, 1)
    fit = robust_fit(lambda c: line(c) - measured, [(0.0, 0.0)], (-99.0, -99.0), (99.0, 99.0), 0.05)
    assert abs(plain[1] + 3.0) > 10.0
    assert fit.coefficients == pytest.approx([2.0, -3.0], abs=0.1)


def test_bounds_hold_and_the_rest_makes_the_best_of_it():
    fit = robust_fit(lambda c: line(c) - line([2.0, -3.0]), [(0.0, 0.0)], (-9.0, -1.0), (9.0, 9.0), 100.0)
    assert fit.coefficients[1] == -1.0
    assert fit.coefficients[0] == pytest.approx(2.0 - 3.0 / 2 + 1.0 / 2, abs=1e-6)


def test_the_best_of_several_starts_counts():
    def residuals(c):
        return np.array([c[0] ** 2 - 1.0, 0.2 * (c[0] < 0)])

    fit = robust_fit(residuals, [(-1.0,), (0.9,)], (-2.0,), (2.0,), 1.0)
    assert fit.coefficients[0] == pytest.approx(1.0, abs=1e-5)


def test_between_measured_sizes_time_is_latency_plus_bytes_over_rate():
    def exact(size):
        return 10e-6 + size / 1e9

    curve = measured_curve([(size, exact(size)) for size in (1e3, 1e5, 1e6)])
    for size in (1e3, 5e4, 3e5, 1e6, 7e6):
        assert curve.at(size) == pytest.approx(exact(size), rel=1e-12)
    assert curve.at(1.0) == exact(1e3)


def test_repeated_sizes_count_with_their_median():
    assert measured_curve([(8, 3.0), (8, 1.0), (8, 2.0), (16, 4.0)]).at(12) == 3.0
    with pytest.raises(ValueError, match="at least one"):
        measured_curve([])


def test_left_out_sizes_of_an_affine_curve_have_no_error():
    points = [(2.0**power, 1e-5 + 2.0**power / 1e9) for power in range(18, 30)]
    errors = interpolation_errors(points, 2**20)
    assert len(errors) == 9
    assert max(map(abs, errors)) < 1e-12
    bent = [(size, time * (1.1 if size == 2**24 else 1.0)) for size, time in points]
    assert max(map(abs, interpolation_errors(bent, 2**20))) > 0.05
