"""Blocks that PyTorch's allocator keeps, against closed forms and bounds."""

from hypothesis import given
from hypothesis import strategies as st

from simdml.costs.memory import MemoryEstimate, cached_bytes

PHASES = st.lists(st.lists(st.integers(1, 1000).map(float), max_size=5), max_size=6)


def estimate(cached, total=10.0, capacity=16.0):
    return MemoryEstimate("every rank", total, 0.0, 0.0, 0.0, 0.0, 0.0, capacity, cached=cached)


def test_a_later_phase_fills_what_an_earlier_one_left():
    """3 and 1 fit into 4; 5 does not fit into 4 and is new; 4 and 4 then lie in both."""
    assert cached_bytes([(4,), (3, 1)]) == 4
    assert cached_bytes([(4,), (5,)]) == 9
    assert cached_bytes([(4,), (5,), (4, 4)]) == 9
    assert cached_bytes([(4,), (5,), (4, 4, 2)]) == 11


def test_the_smallest_block_that_fits_is_taken():
    assert cached_bytes([(4, 8), (3, 8)]) == 12


@given(PHASES)
def test_the_cache_holds_the_fullest_phase_and_at_most_all_blocks(phases):
    held = cached_bytes(phases)
    assert max(map(sum, phases), default=0) <= held <= sum(map(sum, phases))


@given(st.lists(st.integers(1, 1000).map(float), max_size=8))
def test_a_block_by_itself_is_new_where_it_is_larger_than_all_before(blocks):
    records = [block for index, block in enumerate(blocks) if block > max(blocks[:index], default=0)]
    assert cached_bytes([(block,) for block in blocks]) == sum(records)


def test_freed_blocks_are_held_as_far_as_there_is_room_and_refuse_nothing():
    assert estimate(3.0).held == 13.0
    assert estimate(30.0).held == 16.0
    assert estimate(30.0).fits
    assert estimate(1.0, total=20.0).held == 20.0
