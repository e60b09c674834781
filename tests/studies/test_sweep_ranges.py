"""Ranges: exact values in the units they were written in."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simdml import units
from simdml.errors import DocumentError
from simdml.studies.sweep.ranges import read_range

READ = {
    "10 Gbps .. 40 Gbps step 10 Gbps": ["10 Gbps", "20 Gbps", "30 Gbps", "40 Gbps"],
    "10 Gbps..40 Gbps step 20 Gbps": ["10 Gbps", "30 Gbps"],
    "500 Mbps .. 1.5 Gbps step 500 Mbps": ["500 Mbps", "1000 Mbps", "1500 Mbps"],
    "1 min .. 2 min step 30 s": ["1 min", "1.5 min", "2 min"],
    "1 min .. 2 min step 20 s": ["60 s", "80 s", "100 s", "120 s"],
    "1 GiB .. 2 GiB step 0.5 GiB": ["1 GiB", "1.5 GiB", "2 GiB"],
    "10 % .. 30 % step 10 %": ["10 %", "20 %", "30 %"],
    "1..4": [1, 2, 3, 4],
    "16 .. 64 step 16": [16, 32, 48, 64],
    "1 .. 2 step 0.5": [1, 1.5, 2],
    "1 k .. 3 k step 1 k": ["1 k", "2 k", "3 k"],
    "0.1 .. 0.3 step 0.1": [0.1, 0.2, 0.3],
    "5 .. 5": [5],
}


@pytest.mark.parametrize("text", READ)
def test_values(text):
    assert read_range(text).values() == READ[text]
    assert read_range(text).count == len(READ[text])


@pytest.mark.parametrize("text", ["../cluster.yaml", "./a..b", "..", "a .. b", "quickstart", "1, 2"])
def test_other_text_is_no_range(text):
    assert read_range(text) is None


REFUSED = {
    "10 Gbps .. 40 Gbps": "has no step",
    "1.5 .. 4": "has no step",
    "1 .. 4 step 0": "step of nothing",
    "1 .. 4 step -1": '"-1" in the range',
    "4 .. 1": "ends before it begins",
    "1 .. x": '"x" in the range',
    "10 Gbps .. 40 GiB step 1 GiB": "do not go together",
    "1 .. 40 Gbps step 1 Gbps": "do not go together",
    "1 .. 4 step": "has no step",
    "1 .. 4step 2": '"4step 2" in the range',
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    with pytest.raises(DocumentError, match="range") as error:
        read_range(text)
    assert REFUSED[text] in str(error.value)
    assert error.value.hint


@given(
    first=st.integers(1, 5000),
    step=st.integers(1, 5000),
    count=st.integers(1, 30),
    symbols=st.sampled_from([("Gbps", "Mbps"), ("GiB", "MiB"), ("s", "ms"), ("MB", "GB"), ("us", "us")]),
    rest=st.fractions(0, Fraction(9, 10)),
)
def test_values_are_first_plus_steps(first, step, count, symbols, rest):
    """Oracle: SI values of the parsed texts, added up in fractions."""
    dimension = next(d for d in (units.BANDWIDTH, units.BYTES, units.TIME) if symbols[0] in d.units)
    scales = [dimension.units[symbol].scale for symbol in symbols]
    begin, by = first * scales[0], step * scales[1]
    last = int((begin + (count - 1 + rest) * by) / scales[1])
    if last * scales[1] < begin + (count - 1) * by:
        last += 1
    if last * scales[1] >= begin + count * by or last == 0:
        return
    found = read_range(f"{first} {symbols[0]} .. {last} {symbols[1]} step {step} {symbols[1]}")
    values = [units.read(value, dimension) for value in found.values()]
    assert values == [begin + index * by for index in range(found.count)]
    assert values[-1] <= last * scales[1] < values[-1] + by
