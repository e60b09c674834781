"""Ranges of values: ``10 Gbps .. 100 Gbps step 10 Gbps``, ``16 .. 256 step 16``, ``1..8``.

Both ends belong to a range, the last as far as a step falls on it. Values are exact: a range is added up in fractions
and written back in the unit of its first value, or in the finest of its units where that does not come out even.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from fractions import Fraction

from simdml import units
from simdml.errors import DocumentError, quoted

_DIMENSIONS = (
    units.BANDWIDTH,
    units.BYTES,
    units.TIME,
    units.COUNT,
    units.FLOPS,
    units.POWER,
    units.PERCENT,
    units.FREQUENCY,
)
_QUANTITY = re.compile(r"\+?([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?)\s*([^\s0-9.][^\s0-9]*)?", re.ASCII)
_DIGITS = 40
_DOTS, _STEP = "..", " step "
_HINT = 'for example "10 Gbps .. 100 Gbps step 10 Gbps" or "1 .. 8"'


@dataclass(frozen=True, slots=True)
class Range:
    """``count`` values from ``first``, ``step`` apart, in ``unit`` (none for plain numbers)."""

    first: Fraction
    step: Fraction
    count: int
    unit: str = ""

    def values(self) -> list[str | int | float]:
        """Return the values as a file would have them."""
        numbers = [self.first + index * self.step for index in range(self.count)]
        if self.unit:
            return [f"{_decimal(number)} {self.unit}" for number in numbers]
        return [int(number) if number.denominator == 1 else float(number) for number in numbers]


def read_range(text: str) -> Range | None:
    """Return the range that ``text`` is; None for text that is none, such as ``../cluster.yaml``.

    Raises:
        DocumentError: a range without a step that needs one, of different kinds of unit, or that goes nowhere.
    """
    before, dots, after = text.partition(_DOTS)
    if not dots or (first := _quantity(before)) is None:
        return None
    end, says_step, step_text = after.partition(_STEP)
    last, step = _needed(end, text), _needed(step_text, text) if says_step else None
    if step is None:
        if first[1] or last[1] or first[0].denominator != 1:
            raise DocumentError(f"the range {quoted(text)} has no step", hint=_HINT)
        step = (Fraction(1), "")
    return _range(text, first, last, step)


def _quantity(text: str) -> tuple[Fraction, str] | None:
    match = _QUANTITY.fullmatch(text.strip())
    return None if match is None else (Fraction(match[1]), match[2] or "")


def _needed(text: str, whole: str) -> tuple[Fraction, str]:
    found = _quantity(text)
    if found is None:
        raise DocumentError(f"{quoted(text.strip())} in the range {quoted(whole)} is not a quantity", hint=_HINT)
    return found


def _range(text: str, first: tuple[Fraction, str], last: tuple[Fraction, str], step: tuple[Fraction, str]) -> Range:
    scales = _scales(text, (first[1], last[1], step[1]))
    begin, end, by = (number * scale for (number, _), scale in zip((first, last, step), scales, strict=True))
    if by <= 0:
        raise DocumentError(f"the range {quoted(text)} has a step of nothing", hint=_HINT)
    if end < begin:
        raise DocumentError(f"the range {quoted(text)} ends before it begins", hint="write the smaller value first")
    count = int((end - begin) / by) + 1
    finest = min(zip(scales, (first[1], last[1], step[1]), strict=True))
    for scale, unit in ((scales[0], first[1]), finest):
        if unit == "" or (_decimal(begin / scale) and _decimal(by / scale)):
            return Range(begin / scale, by / scale, count, unit)
    raise DocumentError(f"the values of the range {quoted(text)} do not come out even", hint="use one unit throughout")


def _scales(text: str, symbols: tuple[str, ...]) -> tuple[Fraction, ...]:
    """Return the size of each unit, in any unit of the same dimension; equal units need not be known."""
    if len(set(symbols)) == 1:
        return (Fraction(1),) * len(symbols)
    for dimension in _DIMENSIONS:
        if "" not in symbols and all(symbol in dimension.units for symbol in symbols):
            return tuple(dimension.units[symbol].scale for symbol in symbols)
    raise DocumentError(f"the units of the range {quoted(text)} do not go together", hint=_HINT)


def _decimal(number: Fraction) -> str:
    """Return ``number`` in decimals, nothing where it has too many."""
    exact = Context(prec=_DIGITS, traps=[Inexact])
    try:
        return f"{exact.divide(Decimal(number.numerator), Decimal(number.denominator)):f}"
    except Inexact:
        return ""
