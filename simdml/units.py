"""Quantities as people write them ("400 Gbps", "80 GiB", "25 us"), read strictly into SI floats and back.

``b`` is bit and ``B`` is byte. Prefixes are decimal (k, M, G, T, P, E) or binary (Ki, Mi, Gi, Ti, Pi), as in the
SI brochure and IEC 80000-13. A bare number, an unknown or miscased unit, a negative number, NaN or infinity is a
:class:`~simdml.errors.UnitError`; zero is accepted only with ``allow_zero``. Reading is exact up to the final
rounding to a float. The ``format_`` functions give four significant digits and can be read back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from simdml.errors import UnitError, nearest_names, quoted

_NUMBER = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]+))?", re.ASCII)
_LONGEST = 64
_LARGEST_EXPONENT = 40
_DECIMAL = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_WORDS = {"": "", "k": "kilo", "M": "mega", "G": "giga", "T": "tera", "P": "peta", "E": "exa"}
_BINARY_WORDS = {"Ki": "kibi", "Mi": "mebi", "Gi": "gibi", "Ti": "tebi", "Pi": "pebi"}


@dataclass(frozen=True, slots=True)
class Unit:
    """A symbol such as ``Gbps``, what it stands for, and its size in SI."""

    symbol: str
    words: str
    scale: Fraction


@dataclass(frozen=True, slots=True, eq=False)
class Dimension:
    """A kind of quantity: its ``name`` with an article, its SI symbol, the units it accepts, and examples.

    ``bare`` tells whether a number without a unit is accepted (counts only).
    """

    name: str
    symbol: str
    units: Mapping[str, Unit]
    examples: tuple[str, ...]
    note: str = ""
    bare: bool = False

    @property
    def expected(self) -> str:
        """What is accepted, with an example."""
        first = {unit.words: unit.symbol for unit in reversed([*self.units.values()]) if unit.symbol}
        units = ", ".join(symbol for symbol in self.units if symbol in first.values())
        examples = " or ".join(quoted(example) for example in self.examples)
        return f"write for example {examples}; units are {units}{self.note and '; '}{self.note}"

    @property
    def pattern(self) -> str:
        """A regular expression (ECMA 262) of what is accepted, for editors."""
        units = "|".join(re.escape(symbol).replace(r"\%", "%").replace(r"\ ", " ") for symbol in self.units if symbol)
        return rf"^\s*\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*({units}){'?' if self.bare else ''}\s*$"


def _decimal(symbol: str, words: str, prefixes: str, scale: Fraction = Fraction(1)) -> list[Unit]:
    chosen = ["", *prefixes]
    return [Unit(prefix + symbol, _DECIMAL_WORDS[prefix] + words, scale * 10 ** _DECIMAL[prefix]) for prefix in chosen]


def _binary(symbol: str, words: str) -> list[Unit]:
    return [
        Unit(prefix + symbol, _BINARY_WORDS[prefix] + words, Fraction(1024**power))
        for power, prefix in enumerate(_BINARY_WORDS, start=1)
    ]


def _table(*groups: list[Unit]) -> dict[str, Unit]:
    return {unit.symbol: unit for group in groups for unit in group}


_BIT = Fraction(1, 8)
_BITS_NOTE = "b is bit, B is byte"
_MICRO = [Unit(f"{mu}s", "microsecond", Fraction(1, 10**6)) for mu in ("u", "\N{MICRO SIGN}", "μ")]

BYTES = Dimension(
    "a size in bytes",
    "B",
    _table(_decimal("B", "byte", "kMGTP"), _binary("B", "byte")),
    ("80 GiB", "25 MB"),
    _BITS_NOTE,
)
BANDWIDTH = Dimension(
    "a bandwidth",
    "B/s",
    _table(
        _decimal("bps", "bit per second", "kMGT", _BIT),
        _decimal("b/s", "bit per second", "kMGT", _BIT),
        _decimal("B/s", "byte per second", "kMGT"),
        _binary("B/s", "byte per second"),
    ),
    ("400 Gbps", "25 GB/s"),
    _BITS_NOTE + ", Gb/s is Gbps",
)
TIME = Dimension(
    "a time",
    "s",
    _table(
        [Unit("s", "second", Fraction(1)), Unit("ms", "millisecond", Fraction(1, 1000))],
        _MICRO,
        [Unit("ns", "nanosecond", Fraction(1, 10**9)), Unit("ps", "picosecond", Fraction(1, 10**12))],
        [Unit("min", "minute", Fraction(60)), Unit("h", "hour", Fraction(3600))],
        [Unit(symbol, "day", Fraction(86400)) for symbol in ("d", "day", "days")],
        [Unit(symbol, "week", Fraction(604800)) for symbol in ("week", "weeks")],
    ),
    ("25 us", "1.5 s"),
)
FLOPS = Dimension(
    "a rate of floating-point operations",
    "FLOP/s",
    _table(
        _decimal("FLOP/s", "FLOP per second", "kMGTPE"),
        _decimal("FLOPS", "FLOP per second", "kMGTPE"),
    ),
    ("989 TFLOP/s", "19.5 TFLOPS"),
)
COUNT = Dimension(
    "a count",
    "",
    _table(
        [Unit("", "", Fraction(1)), Unit("k", "thousand", Fraction(10**3)), Unit("K", "thousand", Fraction(10**3))],
        [Unit("M", "million", Fraction(10**6)), Unit("G", "billion", Fraction(10**9))],
        [Unit("B", "billion", Fraction(10**9)), Unit("T", "trillion", Fraction(10**12))],
    ),
    ("1024", "16 k"),
    bare=True,
)
POWER = Dimension("a power", "W", _table(_decimal("W", "watt", "kM")), ("700 W", "1.2 kW"))
STEPS = Dimension(
    "a number of steps",
    "",
    _table(
        [Unit("", "", Fraction(1)), Unit("steps", "steps", Fraction(1))],
        [Unit("k steps", "thousand steps", Fraction(10**3)), Unit("ksteps", "thousand steps", Fraction(10**3))],
    ),
    ("1000 steps", "5 k steps"),
    bare=True,
)
SAMPLES = Dimension(
    "a rate of samples",
    "samples/s",
    _table(
        *(
            [Unit(f"{prefix}{what}/s{each}", f"{_DECIMAL_WORDS[prefix]}samples per second", Fraction(10**power))]
            for prefix, power in (("", 0), ("k", 3))
            for what in ("samples", "images", "sequences")
            for each in ("", " per worker")
        )
    ),
    ("150 samples/s", "1.2 ksamples/s"),
)
PERCENT = Dimension("a percentage", "", {"%": Unit("%", "percent", Fraction(1, 100))}, ("1 %", "62.5 %"))
MONEY = Dimension(
    "an amount of money",
    "USD",
    _table([Unit(f"{k}USD", f"{k}dollar", Fraction(scale)) for k, scale in (("", 1), ("k ", 10**3), ("M ", 10**6))]),
    ("250 k USD", "1.5 M USD"),
)
HOURLY_PRICE = Dimension(
    "a price for a time",
    "USD/s",
    _table([Unit("USD/h", "dollar an hour", Fraction(1, 3600)), Unit("USD/s", "dollar a second", Fraction(1))]),
    ("2.49 USD/h",),
)
DATA_PRICE = Dimension(
    "a price for data",
    "USD/B",
    _table([Unit("USD/GB", "dollar a gigabyte", Fraction(1, 10**9)), Unit("USD/B", "dollar a byte", Fraction(1))]),
    ("0.05 USD/GB",),
)
STORAGE_PRICE = Dimension(
    "a price for storage",
    "USD/B/s",
    _table(
        [
            Unit("USD/GB/month", "dollar a gigabyte and 30 days", Fraction(1, 10**9 * 30 * 86400)),
            Unit("USD/B/s", "dollar a byte and second", Fraction(1)),
        ]
    ),
    ("0.023 USD/GB/month",),
)
CARBON_INTENSITY = Dimension(
    "a carbon intensity",
    "kg/J",
    _table(
        [
            Unit("g/kWh", "gram a kWh", Fraction(1, 3_600_000_000)),
            Unit("kg/J", "kilogram a J", Fraction(1)),
        ]
    ),
    ("380 g/kWh",),
)
FREQUENCY = Dimension("a frequency", "Hz", _table(_decimal("Hz", "hertz", "kMG")), ("1.98 GHz", "1410 MHz"))


def _refuse(value: object, dimension: Dimension, reason: str) -> UnitError:
    return UnitError(f"{quoted(value)} is not {dimension.name}: {reason}", hint=dimension.expected)


def _suggestion(symbol: str, dimension: Dimension) -> str:
    def fold(text: str) -> str:
        folded = text.casefold().removesuffix("/s").removesuffix("ps")
        return folded.replace("bytes", "b").replace("byte", "b").replace("bits", "b").replace("bit", "b")

    by_words = {unit.words: unit for unit in reversed([*dimension.units.values()]) if unit.symbol}
    units = list(reversed(by_words.values()))
    words = [unit for unit in units if unit.words == symbol.casefold().removesuffix("s")]
    same = [unit for unit in units if fold(unit.symbol) == fold(symbol)]
    exact = [unit for unit in same if unit.symbol.startswith(symbol)]
    close = nearest_names(symbol, [unit.symbol for unit in units])
    chosen = words or exact or same or [dimension.units[name] for name in close]
    named = [f"{unit.symbol} ({unit.words})" for unit in islice(chosen, 3)]
    return f"; did you mean {' or '.join(named)}?" if named else ""


def _split(value: object, dimension: Dimension) -> tuple[Fraction, str]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _refuse(value, dimension, "a number with its unit is needed")
    text = str(value).strip()
    if not text or len(text) > _LONGEST:
        raise _refuse(value, dimension, "the text is empty" if not text else "the text is too long")
    number = _NUMBER.match(text)
    if number is None:
        raise _refuse(value, dimension, "it does not start with a finite number in digits")
    sign, digits, exponent = number.groups(default="0")
    if abs(int(exponent)) > _LARGEST_EXPONENT:
        raise _refuse(value, dimension, "the number is out of range")
    magnitude = Fraction(digits) * Fraction(10) ** int(exponent)
    if sign == "-" and magnitude:
        raise _refuse(value, dimension, "it is negative")
    return magnitude, text[number.end() :].strip()


def read(value: object, dimension: Dimension, *, allow_zero: bool = False) -> Fraction:
    """Return ``value`` ("400 Gbps") in the SI unit of ``dimension``, exactly.

    Raises:
        UnitError: no unit, an unknown unit, a negative or unreadable number, or zero without ``allow_zero``.
    """
    magnitude, symbol = _split(value, dimension)
    if not symbol and not dimension.bare:
        raise _refuse(value, dimension, "a bare number has no unit")
    unit = dimension.units.get(symbol)
    if unit is None:
        raise _refuse(value, dimension, f"unknown unit {quoted(symbol)}{_suggestion(symbol, dimension)}")
    if not magnitude and not allow_zero:
        raise _refuse(value, dimension, "it must be more than zero")
    return magnitude * unit.scale


def parse_bytes(value: object, *, allow_zero: bool = False) -> float:
    """Return a size such as "80 GiB" in bytes; raises UnitError."""
    return float(read(value, BYTES, allow_zero=allow_zero))


def parse_bandwidth(value: object, *, allow_zero: bool = False) -> float:
    """Return a bandwidth such as "400 Gbps" or "25 GB/s" in bytes/s; raises UnitError."""
    return float(read(value, BANDWIDTH, allow_zero=allow_zero))


def parse_time(value: object, *, allow_zero: bool = False) -> float:
    """Return a time such as "25 us" in seconds; raises UnitError."""
    return float(read(value, TIME, allow_zero=allow_zero))


def parse_flops(value: object, *, allow_zero: bool = False) -> float:
    """Return a rate such as "989 TFLOPS" in FLOP/s; raises UnitError."""
    return float(read(value, FLOPS, allow_zero=allow_zero))


def parse_count(value: object, *, allow_zero: bool = False) -> int:
    """Return a whole number such as 1024, "300 B" (billion) or "2 T"; raises UnitError."""
    return read_whole(value, COUNT, allow_zero=allow_zero)


def read_whole(value: object, dimension: Dimension, *, allow_zero: bool = False) -> int:
    """Return ``value`` in a dimension that is counted; raises UnitError."""
    count = read(value, dimension, allow_zero=allow_zero)
    if count.denominator != 1:
        raise _refuse(value, dimension, "it is not a whole number")
    return int(count)


def parse_power(value: object, *, allow_zero: bool = False) -> float:
    """Return a power such as "700 W" in watts; raises UnitError."""
    return float(read(value, POWER, allow_zero=allow_zero))


def parse_percent(value: object, *, allow_zero: bool = False) -> float:
    """Return a percentage such as "1 %" as a fraction, 0.01; raises UnitError."""
    return float(read(value, PERCENT, allow_zero=allow_zero))


def parse_frequency(value: object, *, allow_zero: bool = False) -> float:
    """Return a frequency such as "1.98 GHz" in hertz; raises UnitError."""
    return float(read(value, FREQUENCY, allow_zero=allow_zero))


def _largest(value: float, symbols: tuple[str, ...], dimension: Dimension) -> str:
    """Format in the first of ``symbols`` (descending) that ``value`` fills, or in the last."""
    if not value:
        return f"0 {dimension.symbol}".rstrip()
    units = [dimension.units[symbol] for symbol in symbols]
    unit = next((unit for unit in units if abs(value) >= unit.scale), units[-1])
    return f"{value / float(unit.scale):.4g} {unit.symbol}".rstrip()


def format_bytes(size_bytes: float) -> str:
    """Return bytes as "80 GiB"."""
    return _largest(size_bytes, ("PiB", "TiB", "GiB", "MiB", "KiB", "B"), BYTES)


def format_bandwidth(bandwidth_bytes_per_s: float, *, network: bool = False) -> str:
    """Return bytes/s as "25 GB/s", or as "200 Gbps" for a ``network`` link."""
    kind = "bps" if network else "B/s"
    symbols = tuple(prefix + kind for prefix in ("T", "G", "M", "k", ""))
    return _largest(bandwidth_bytes_per_s, symbols, BANDWIDTH)


def format_time(time_s: float) -> str:
    """Return seconds as "25 us", "1.234 s", "2.5 h"."""
    for symbol in ("d", "h", "min"):
        scale = float(TIME.units[symbol].scale)
        if abs(time_s) >= 2 * scale:
            return f"{time_s / scale:.4g} {symbol}"
    return _largest(time_s, ("s", "ms", "us", "ns", "ps"), TIME)


def format_flops(flop_per_s: float) -> str:
    """Return FLOP/s as "989 TFLOP/s"."""
    symbols = tuple(prefix + "FLOP/s" for prefix in ("E", "P", "T", "G", "M", "k", ""))
    return _largest(flop_per_s, symbols, FLOPS)


def format_count(count: float) -> str:
    """Return a count as "1.5 T", "300 B", "25.56 M"; below 10,000 in full."""
    if abs(count) < 10_000:
        return f"{count:.6g}"
    return _largest(count, ("T", "B", "M", "K"), COUNT)


def format_power(power_w: float) -> str:
    """Return watts as "700 W" or "1.2 MW"."""
    return _largest(power_w, ("MW", "kW", "W"), POWER)


def format_money(amount_usd: float) -> str:
    """Return money as "1.5 M USD" or "0.0123 USD"."""
    return _largest(amount_usd, ("M USD", "k USD", "USD"), MONEY)


def format_percent(fraction: float) -> str:
    """Return a fraction as "62.5 %"."""
    return f"{100 * fraction:.4g} %"
