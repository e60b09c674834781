"""V-Half and V-Min: bubble and memory of arXiv 2405.15362 against 1F1B's, and patterns without clashes."""

from itertools import pairwise

import pytest
from test_schedules import pipeline

from simdml.errors import InfeasibleError
from simdml.strategies.footprint import peak_kept
from simdml.strategies.schedules import SCHEDULES
from simdml.strategies.schedules.building_block import PERIOD, BuildingBlock

DEPTHS = (4, 6, 8, 16)


def bubble(name, p, m):
    """Idle time of the step over that of 1F1B, F = I = W."""
    return (pipeline(name, p, m, steps=1).step_time_s - 3 * m) / (3 * (p - 1))


def live(name, p, m):
    """The most chunks of micro-batches that a device holds over the 2p of 1F1B's first device."""
    schedule = SCHEDULES[name]
    return max(peak_kept(schedule.actions(device, p, m, 2), [1.0, 1.0]) for device in range(p)) / (2 * p)


@pytest.mark.parametrize("p", DEPTHS)
@pytest.mark.parametrize("times", [2, 4])
def test_v_half_has_half_of_the_bubble_in_half_of_the_memory(p, times):
    """sail-sg's table: B/2 and 1/2; two chunks more than p, which is the least at this bubble."""
    assert bubble("v_half", p, times * p) == 0.5
    assert live("v_half", p, times * p) == (p + 2) / (2 * p)


@pytest.mark.parametrize("p", DEPTHS)
@pytest.mark.parametrize("times", [2, 4])
def test_v_min_has_two_thirds_of_the_bubble_in_a_third_of_the_memory(p, times):
    """sail-sg's table, 2B/3 and a bit, and 1/3: 4(p - 1) of 6(p - 1) passes but one, or and one if three divides p."""
    assert bubble("v_min", p, times * p) == pytest.approx((4 * (p - 1) + (1 if p % 3 == 0 else -1)) / (6 * (p - 1)))
    assert live("v_min", p, times * p) < (2 * p / 3 + 3) / (2 * p)


def test_what_is_above_a_third_does_not_grow_with_the_depth():
    assert [live("v_min", p, 2 * p) for p in (16, 32, 64)] == [12 / 32, 24 / 64, 44 / 128]


@pytest.mark.parametrize("name", ["v_half", "v_min"])
def test_memory_does_not_grow_with_the_micro_batches(name):
    assert live(name, 8, 16) == live(name, 8, 64)


@pytest.mark.parametrize("name", ["v_half", "v_min"])
@pytest.mark.parametrize("p", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_any_depth_and_number_of_micro_batches_runs(name, p, m):
    assert pipeline(name, p, m, steps=1).step_time_s >= 3 * m


@pytest.mark.parametrize("offsets", [(1, 1, 1, 1), (1, 2, 1, 2), (4, 2, 2, 4)])
@pytest.mark.parametrize("p", [*DEPTHS, 5, 9])
def test_no_two_passes_of_a_device_meet(offsets, p):
    """The paper's condition: different slots of a period on every device, and no pass before what it needs."""
    block = BuildingBlock(p, *offsets)
    slots = [block.slots(device) for device in range(p)]
    for times in slots:
        assert len({time % PERIOD for time in times.values()}) == PERIOD
        for chunk in (0, 1):
            assert times["F", chunk] < times["I", chunk] < times["W", chunk]
    for above, below in pairwise(slots):
        assert above["F", 0] < below["F", 0]
        assert below["F", 1] < above["F", 1]
        assert above["I", 1] < below["I", 1]
        assert below["I", 0] < above["I", 0]


def test_offsets_that_always_clash_are_refused():
    with pytest.raises(InfeasibleError, match="no pattern of these offsets"):
        BuildingBlock(8, 2, 1, 1, 2).order(0, 4)
