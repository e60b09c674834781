"""Operators: FLOPs, bytes, and one rank's part of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simdml.workload.operators import (
    Family,
    Phase,
    Split,
    attention,
    batched_matmul,
    convolution,
    divide,
    matmul,
    memory_bound,
)

SIZES = st.integers(1, 64)


def test_matmul_bytes():
    plain = matmul("x", 3, 5, 7, element_bytes=2)
    assert (plain.flops, plain.read_bytes, plain.written_bytes) == (210, 2 * (21 + 35), 2 * 15)
    fused = matmul("x", 3, 5, 7, element_bytes=2, accumulate=True)
    assert (fused.read_bytes, fused.written_bytes) == (2 * (21 + 35) + 4 * 15, 4 * 15)


@given(SIZES, SIZES, SIZES, st.sampled_from([2, 4, 8]), st.sampled_from([Split.M, Split.N, Split.K]), st.booleans())
def test_part_of_a_matmul_is_the_matmul_of_a_part(m, n, k, ways, split, accumulate):
    whole = matmul("x", m * ways, n * ways, k * ways, element_bytes=2, split=split, accumulate=accumulate)
    sizes = {Split.M: (m, n * ways, k * ways), Split.N: (m * ways, n, k * ways), Split.K: (m * ways, n * ways, k)}
    part = matmul("x", *sizes[split], element_bytes=2, split=split, accumulate=accumulate)
    assert divide(whole, ways) == part
    assert divide(whole, ways).flops * ways == whole.flops


@given(SIZES, st.sampled_from([2, 4]), st.sampled_from(list(Split)))
def test_part_of_a_batched_matmul(size, ways, split):
    whole = batched_matmul("x", 4, 8, 16, 4 * size, element_bytes=2, split=split, launches=3)
    part = divide(whole, ways)
    position = {Split.BATCH: 0, Split.M: 1, Split.N: 2, Split.K: 3}[split]
    expected = list(whole.shape)
    expected[position] //= ways
    assert part.shape == tuple(expected)
    assert part.flops * ways == whole.flops
    assert part.written_bytes == whole.written_bytes / (1 if split is Split.K else ways)
    assert (part.launches, part.split) == (3, split)


def test_sizes_that_do_not_divide_are_rounded_up():
    assert divide(matmul("x", 4, 10, 4, element_bytes=2, split=Split.N), 4).shape == (4, 3, 4)


def test_whole_operators_stay_and_memory_bound_ones_scale():
    whole = memory_bound("x", Family.ELEMENTWISE, read_bytes=8, written_bytes=4, element_bytes=2)
    assert divide(whole, 4) is whole
    split = memory_bound("x", Family.SOFTMAX, read_bytes=8, written_bytes=4, element_bytes=2, split=Split.BATCH)
    assert divide(split, 4).bytes == 3
    lookup = memory_bound("x", Family.EMBEDDING, read_bytes=8, written_bytes=4, element_bytes=2, split=Split.K)
    assert divide(lookup, 4) is lookup
    assert lookup.leaves_partial_sum


@pytest.mark.parametrize(("phase", "products"), [(Phase.FORWARD, 2), (Phase.INPUT_GRADIENT, 5)])
def test_attention(phase, products):
    op = attention(
        "x",
        batch=2,
        heads=8,
        kv_heads=2,
        sequence=64,
        head_size=16,
        element_bytes=2,
        causal=True,
        phase=phase,
    )
    assert op.flops == products * 2 * 2 * 8 * 64 * 64 * 16
    assert op.executed_flops == op.flops / 2
    query, key, rows = 2 * 2 * 8 * 64 * 16, 2 * 2 * 2 * 64 * 16, 4 * 2 * 8 * 64
    moved = 2 * query + 2 * key + rows if phase is Phase.FORWARD else 4 * query + 4 * key + rows
    assert op.bytes == moved
    assert divide(op, 2).shape == (2, 4, 64, 64, 16)
    assert divide(op, 2).causal


def test_convolution_moves_two_tensors_and_writes_the_third():
    sizes = {"channels": (3, 8), "kernel": (3, 3), "image": (8, 8), "output": (4, 4), "stride": 2}
    written = {Phase.FORWARD: 8 * 16, Phase.INPUT_GRADIENT: 3 * 64, Phase.WEIGHT_GRADIENT: 8 * 27}
    written[Phase.FORWARD] *= 5
    written[Phase.INPUT_GRADIENT] *= 5
    for phase, elements in written.items():
        op = convolution("x", batch=5, **sizes, element_bytes=4, phase=phase)
        assert op.written_bytes == 4 * elements
        assert op.bytes == 4 * sum(written.values())
        assert op.flops == 2 * 5 * 8 * 16 * 27
