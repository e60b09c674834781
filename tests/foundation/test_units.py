from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simdml import units
from simdml.errors import UnitError

GOOD = [
    (units.parse_bytes, "80 GiB", 80 * 2**30),
    (units.parse_bytes, "25MB", 25e6),
    (units.parse_bytes, " 1.5  KiB ", 1536),
    (units.parse_bytes, "2 TB", 2e12),
    (units.parse_bytes, "1e3 kB", 1e6),
    (units.parse_bytes, "+7 B", 7),
    (units.parse_bandwidth, "400 Gbps", 50e9),
    (units.parse_bandwidth, "400 Gb/s", 50e9),
    (units.parse_bandwidth, "25 GB/s", 25e9),
    (units.parse_bandwidth, "1 GiB/s", 2**30),
    (units.parse_bandwidth, "8 bps", 1),
    (units.parse_time, "25 us", 25e-6),
    (units.parse_time, "25 µs", 25e-6),
    (units.parse_time, "25 μs", 25e-6),
    (units.parse_time, ".3 ns", 0.3e-9),
    (units.parse_time, "2 h", 7200),
    (units.parse_flops, "989 TFLOPS", 989e12),
    (units.parse_flops, "989 TFLOP/s", 989e12),
    (units.parse_count, "2 T", 2 * 10**12),
    (units.parse_count, "300 B", 300 * 10**9),
    (units.parse_count, "1.5 K", 1500),
    (units.parse_count, 1024, 1024),
    (units.parse_count, "1024", 1024),
    (units.parse_power, "1.2 kW", 1200),
    (units.parse_percent, "1 %", 0.01),
    (units.parse_percent, "62.5%", 0.625),
    (units.parse_frequency, "1.98 GHz", 1.98e9),
]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_reads_exactly(parse, text, value):
    assert parse(text) == value


BAD = [
    (units.parse_bandwidth, "400 Gb", ["did you mean Gbps (gigabit per second)?", '"25 GB/s"', "b is bit"]),
    (units.parse_bandwidth, "5 mb", ["Mbps (megabit per second)", "MB/s (megabyte per second)"]),
    (units.parse_bandwidth, "5 GBps", ["Gbps (gigabit per second)", "GB/s (gigabyte per second)"]),
    (units.parse_bandwidth, 400, ["a bare number has no unit", "Gbps"]),
    (units.parse_bandwidth, "0 Gbps", ["more than zero"]),
    (units.parse_bandwidth, "-1 Gbps", ["negative"]),
    (units.parse_bytes, "5 mb", ["did you mean MB (megabyte)?", "b is bit, B is byte"]),
    (units.parse_bytes, "80 gigabytes", ["GB (gigabyte)"]),
    (units.parse_bytes, "80 Gib", ["GiB (gibibyte)"]),
    (units.parse_bytes, "80", ["a bare number has no unit", '"80 GiB"']),
    (units.parse_bytes, 80.5, ["a bare number has no unit"]),
    (units.parse_bytes, "nan GB", ["finite number"]),
    (units.parse_bytes, "inf GB", ["finite number"]),
    (units.parse_bytes, math.nan, ["finite number"]),
    (units.parse_bytes, "1e999999999 GB", ["out of range"]),
    (units.parse_bytes, "1" * 100 + " GB", ["too long"]),
    (units.parse_bytes, "", ["empty"]),
    (units.parse_bytes, "GB", ["does not start with a finite number"]),
    (units.parse_bytes, "1,5 GB", ["unknown unit"]),
    (units.parse_bytes, "٣ GB", ["finite number"]),
    (units.parse_bytes, True, ["number with its unit"]),
    (units.parse_bytes, None, ["number with its unit"]),
    (units.parse_time, "3 seconds", ["did you mean s (second)?"]),
    (units.parse_time, "3 US", ["did you mean us (microsecond)?"]),
    (units.parse_flops, "989 TFLOPs", ["TFLOP"]),
    (units.parse_count, "1.5", ["not a whole number"]),
    (units.parse_count, "300 Bn", ["unknown unit"]),
    (units.parse_count, 0, ["more than zero"]),
    (units.parse_percent, 0.01, ["a bare number has no unit", '"1 %"']),
]


@pytest.mark.parametrize(("parse", "value", "said"), BAD)
def test_refuses_and_says_why(parse, value, said):
    with pytest.raises(UnitError) as caught:
        parse(value)
    message = str(caught.value)
    for words in said:
        assert words in message
    assert "write for example" in message
    assert isinstance(caught.value, ValueError)
    assert caught.value.exit_code == 3


def test_every_accepted_unit_reads_as_its_scale():
    for dimension in (units.BYTES, units.BANDWIDTH, units.TIME, units.FLOPS, units.POWER, units.FREQUENCY):
        for symbol, unit in dimension.units.items():
            assert units.read(f"3 {symbol}", dimension) == 3 * unit.scale


def test_bits_are_an_eighth_of_bytes():
    for prefix in ("", "k", "M", "G", "T"):
        assert 8 * units.parse_bandwidth(f"1 {prefix}bps") == units.parse_bandwidth(f"1 {prefix}B/s")


def test_zero_only_where_allowed():
    assert units.parse_time("0 us", allow_zero=True) == 0.0
    with pytest.raises(UnitError, match="more than zero"):
        units.parse_time("0 us")
    with pytest.raises(UnitError, match="negative"):
        units.parse_time("-1 us", allow_zero=True)


FORMATTED = [
    (units.format_bytes(80 * 2**30), "80 GiB"),
    (units.format_bytes(0), "0 B"),
    (units.format_bytes(100), "100 B"),
    (units.format_bandwidth(25e9), "25 GB/s"),
    (units.format_bandwidth(50e9, network=True), "400 Gbps"),
    (units.format_time(25e-6), "25 us"),
    (units.format_time(1.23456), "1.235 s"),
    (units.format_time(9000), "2.5 h"),
    (units.format_time(0), "0 s"),
    (units.format_flops(989e12), "989 TFLOP/s"),
    (units.format_count(300e9), "300 B"),
    (units.format_count(25_557_032), "25.56 M"),
    (units.format_count(1024), "1024"),
    (units.format_count(0), "0"),
    (units.format_power(1200), "1.2 kW"),
    (units.format_percent(0.625), "62.5 %"),
]


@pytest.mark.parametrize(("shown", "expected"), FORMATTED)
def test_formats_short(shown, expected):
    assert shown == expected


positive = st.floats(min_value=1e-12, max_value=1e18, allow_nan=False, allow_infinity=False)
ROUND_TRIPS = [
    (units.parse_bytes, units.format_bytes),
    (units.parse_bandwidth, units.format_bandwidth),
    (units.parse_bandwidth, lambda value: units.format_bandwidth(value, network=True)),
    (units.parse_time, units.format_time),
    (units.parse_flops, units.format_flops),
    (units.parse_power, units.format_power),
    (units.parse_percent, units.format_percent),
]


@pytest.mark.parametrize(("parse", "show"), ROUND_TRIPS)
@given(value=positive)
def test_what_is_formatted_can_be_read(parse, show, value):
    assert math.isclose(parse(show(value)), value, rel_tol=6e-4)


@given(count=st.integers(min_value=1, max_value=10**15))
def test_formatted_counts_can_be_read(count):
    assert math.isclose(units.parse_count(units.format_count(count)), count, rel_tol=6e-4)


@given(text=st.text(max_size=20))
def test_any_text_is_read_or_refused(text):
    for parse in (units.parse_bytes, units.parse_bandwidth, units.parse_time, units.parse_count):
        try:
            value = parse(text)
        except UnitError:
            continue
        assert math.isfinite(value)
        assert value > 0


@given(
    number=st.from_regex(r"\A([0-9]{1,5}\.?[0-9]{0,5}|\.[0-9]{1,5})([eE][+-]?[0-9])?\Z"),
    symbol=st.sampled_from(["GB", "GiB", "gb", "Gb", "Gbps", "kB", "", "B/s"]),
)
def test_pattern_for_editors_agrees_with_the_parser(number, symbol):
    text = f"{number} {symbol}"
    try:
        units.parse_bytes(text, allow_zero=True)
    except UnitError:
        accepted = False
    else:
        accepted = True
    assert accepted == bool(re.search(units.BYTES.pattern, text))


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("150 samples/s", units.SAMPLES, 150),
        ("1.2 kimages/s per worker", units.SAMPLES, 1200),
        ("90 sequences/s", units.SAMPLES, 90),
        ("1000", units.STEPS, 1000),
        ("1000 steps", units.STEPS, 1000),
        ("5 k steps", units.STEPS, 5000),
    ],
)
def test_rates_of_samples_and_numbers_of_steps(text, dimension, value):
    assert units.read(text, dimension) == value
    assert re.fullmatch(dimension.pattern, text)
    # ECMA 262 knows no escaped space.
    assert "\\ " not in dimension.pattern
