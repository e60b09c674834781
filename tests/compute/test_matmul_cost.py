import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simdml.calibration.curves import MatmulCurve, Tile
from simdml.costs.matmul import MatmulUnit, arithmetic_seconds, combine, product_seconds, waves

UNIT = MatmulUnit(peak_flops_per_s=100e12, memory_bytes_per_s=1e12, num_multiprocessors=100)


def curve(**changes):
    values = {
        "plateau": 1.0,
        "prologue_depth": 0.0,
        "wave_quantization": 1.0,
        "memory_efficiency": 1.0,
        "sharpness": 1.0,
        "max_split": 1,
        "floor_s": 0.0,
        "tiles": (Tile(128, 128, 1.0),),
    }
    return MatmulCurve(**(values | changes))


def test_whole_waves_of_one_tile_reach_the_peak():
    m, n, k = 128 * 100, 128 * 3, 4096
    assert arithmetic_seconds(curve(), UNIT, 1, m, n, k) == pytest.approx(2 * m * n * k / 100e12)


def test_one_tile_more_than_a_wave_pays_a_second_wave():
    full = arithmetic_seconds(curve(), UNIT, 100, 128, 128, 1024)
    assert arithmetic_seconds(curve(), UNIT, 101, 128, 128, 1024) == pytest.approx(2 * full)


def test_overhanging_edges_are_paid():
    full = arithmetic_seconds(curve(), UNIT, 1, 12800, 128, 1024)
    assert arithmetic_seconds(curve(), UNIT, 1, 12800, 65, 1024) == full


def test_prologue_halves_the_rate_where_depth_equals_it():
    fast = arithmetic_seconds(curve(), UNIT, 1, 12800, 128, 64)
    assert arithmetic_seconds(curve(prologue_depth=64.0), UNIT, 1, 12800, 128, 64) == pytest.approx(2 * fast)


def test_a_smaller_tile_is_picked_where_it_wins():
    small_loses = curve(tiles=(Tile(128, 128, 1.0), Tile(64, 64, 0.5)))
    assert arithmetic_seconds(small_loses, UNIT, 1, 12800, 128, 64) == arithmetic_seconds(
        curve(), UNIT, 1, 12800, 128, 64
    )
    assert arithmetic_seconds(small_loses, UNIT, 1, 64, 64, 64) == pytest.approx(
        arithmetic_seconds(curve(), UNIT, 1, 64, 64, 64) / 2
    )


def test_splitting_k_fills_an_idle_device_and_pays_for_the_reduction():
    one = arithmetic_seconds(curve(), UNIT, 1, 128, 128, 65536)
    split = arithmetic_seconds(curve(max_split=4), UNIT, 1, 128, 128, 65536)
    reduction = 2 * 4 * 128 * 128 * 4 / 1e12
    assert split == pytest.approx(one / 4 + reduction)


def test_streaming_bounds_thin_products_and_the_floor_is_added():
    sharp = curve(sharpness=1e6, floor_s=5e-6)
    traffic = 1e9
    assert product_seconds(sharp, UNIT, 1, 128, 128, 8, traffic) == pytest.approx(traffic / 1e12 + 5e-6)


@pytest.mark.parametrize(("ratio", "expected"), [(0.01, 1.0), (1.0, 1.0), (1.5, 1.75), (2.0, 2.0), (2.1, 2.55)])
def test_waves(ratio, expected):
    assert waves(ratio, 0.5) == pytest.approx(expected)


@given(st.floats(1e-9, 1.0), st.floats(1e-9, 1.0), st.floats(1.0, 20.0))
def test_combined_time_is_between_the_longer_and_the_sum(first, second, sharpness):
    together = combine(first, second, sharpness)
    assert max(first, second) * (1 - 1e-12) <= together <= (first + second) * (1 + 1e-12)
    assert together == combine(second, first, sharpness)


def test_nothing_to_stream_costs_nothing():
    assert combine(2.0, 0.0, 3.0) == 2.0


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 64))
def test_never_faster_than_the_roofs(m, n, k, batch):
    real = curve(
        plateau=0.8,
        prologue_depth=50.0,
        wave_quantization=0.3,
        max_split=16,
        tiles=(Tile(256, 128, 1.0), Tile(128, 64, 0.9), Tile(64, 64, 0.7)),
    )
    traffic = 2.0 * batch * (m * k + k * n + m * n)
    seconds = product_seconds(real, UNIT, batch, m, n, k, traffic)
    assert seconds >= max(2.0 * batch * m * n * k / 80e12, traffic / 1e12) * (1 - 1e-12)
    assert math.isfinite(seconds)
