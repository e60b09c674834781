"""The tick clock: every duration is a whole number of 2^-40 s, so that sums of times are exact.

Doubles hold multiples of 2^-40 s exactly up to 8,192 s; within that, addition is associative and runs that should
agree (folded and unfolded, coarsened and not) agree with ``==``.
"""

from __future__ import annotations

from typing import Final

TICKS_PER_SECOND: Final = 2.0**40


def quantize(seconds: float) -> float:
    """Return ``seconds`` rounded to the nearest tick."""
    return round(seconds * TICKS_PER_SECOND) / TICKS_PER_SECOND


def ticks(time_s: float) -> int:
    """Return the whole ticks in a time on the tick."""
    return int(time_s * TICKS_PER_SECOND)


def seconds(count: int) -> float:
    """Return the time of ``count`` ticks."""
    return count / TICKS_PER_SECOND
