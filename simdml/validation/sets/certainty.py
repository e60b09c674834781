"""What kept rows say of their own certainty, in sentences: each with the numbers that it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean, median
from typing import Final

from simdml.validation.sets.rows import KeptRow
from simdml.validation.sets.verdicts import ScoredSet, errors_of, floor, grouped

NEAR: Final = 0.05
"""So near the whole of a device's memory, as a part of it, a verdict is a matter of what allocators round up to."""

UNSTATED_SHOWN, REASONS_SHOWN = 6, 3


def evidence(rows: Sequence[KeptRow]) -> Iterator[str]:
    """Yield the sentences on the rows of a set."""
    yield from _shared(rows)
    yield from _repeated(rows)
    yield from _lines(rows)
    yield from _twice(rows)
    yield from _wrong_side(rows)
    yield from _unstated(rows)
    reasons = Counter(row.reason for row in rows if row.reason and row.measured_s)
    for reason, count in reasons.most_common(REASONS_SHOWN):
        yield f"{_rows(count, 'measured')} without a prediction: {reason}."


def fitted_sentences(each: ScoredSet) -> Iterator[str]:
    """Yield what was fitted to rows of a set, and its mean error without the groups that have such rows."""
    for fitted in each.published.fitted:
        rest = errors_of(row for row in each.rows if not fitted.holds_for(row.group))
        if each.errors is not None and rest is not None:
            yield (
                f"{each.published.name}: {fitted.what}. Without the {_rows(each.errors.rows - rest.rows)} of these "
                f"groups the mean error is {100 * rest.mean:.1f} % instead of {100 * each.errors.mean:.1f} %."
            )


def _shared(rows: Sequence[KeptRow]) -> Iterator[str]:
    bound = floor(rows)
    if bound is not None:
        count, least = bound
        scenarios = {(row.table, row.alike) for row in rows if row.alike and row.measured_s}
        yield (
            f"{_rows(count, 'measured')} of {len(scenarios)} {'scenario' if len(scenarios) == 1 else 'scenarios'} that "
            f"others share, as far as their columns say: no prediction can be less than {100 * least:.1f} % off on "
            "average there."
        )


def _repeated(rows: Sequence[KeptRow]) -> Iterator[str]:
    same = grouped(((row.table, row.repeats), row) for row in rows if row.repeats and row.measured_s)
    apart = [max(_times(members)) / min(_times(members)) - 1 for members in same.values() if len(members) > 1]
    if apart:
        yield (
            f"{_rows(sum(map(len, same.values())))} in {len(apart)} {'group' if len(apart) == 1 else 'groups'} say the "
            f"same in every column: their times differ by {100 * median(apart):.1f} % in the median group and by "
            f"{100 * max(apart):.1f} % at most."
        )


def _times(rows: Sequence[KeptRow]) -> list[float]:
    return [row.measured_s for row in rows if row.measured_s]


def _lines(rows: Sequence[KeptRow]) -> Iterator[str]:
    straight = [row for row in rows if row.line]
    if straight:
        count = len({(row.table, row.line) for row in straight})
        yield (
            f"{len(straight)} of {len(rows)} rows lie on {count} straight lines in the number of layers, to a hundred "
            "thousandth of their time. No measured times do: two depths of such a line were measured at most, and the "
            "others computed from them."
        )


def _twice(rows: Sequence[KeptRow]) -> Iterator[str]:
    found = [row.apart for row in rows if row.apart is not None]
    if found:
        far = sum(each > 0.1 for each in found)
        yield (
            f"{_rows(len(found))} have two measurements of the same transfer, out of place and in place: they differ "
            f"by {100 * fmean(found):.1f} % on average, and by more than 10 % in {far}. Predictions are compared with "
            "the faster one."
        )


def _wrong_side(rows: Sequence[KeptRow]) -> Iterator[str]:
    wrong = [row for row in rows if row.ran is not None and row.fits is not None and row.ran != row.fits]
    if wrong:
        near = sum(row.filled is not None and abs(row.filled - 1) <= NEAR for row in wrong)
        yield (
            f"Memory: of {_rows(len(wrong))} on the wrong side, {sum(bool(row.ran) for row in wrong)} ran and should "
            f"not have fitted, {sum(not row.ran for row in wrong)} did not and should; in {near} what is predicted is "
            f"within {100 * NEAR:.0f} % of the whole memory."
        )


def _unstated(rows: Sequence[KeptRow]) -> Iterator[str]:
    counts = Counter(column for row in rows for column in row.unstated)
    if counts:
        told = ", ".join(f"{column} ({count})" for column, count in counts.most_common(UNSTATED_SHOWN))
        yield (
            f"Not printed beside the numbers, or assumed or recalled where the table says so, in how many of the "
            f"{len(rows)} rows: {told}."
        )


def _rows(count: int, kind: str = "") -> str:
    return f"{count} {f'{kind} ' if kind else ''}{'row' if count == 1 else 'rows'}"
