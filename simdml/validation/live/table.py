"""A live validation as the columns and lines that people read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simdml.units import format_time
from simdml.validation.live.study import LiveRow, LiveValidation

COLUMNS: Final = (
    "strategy",
    "hosts",
    "links",
    "job",
    "compute",
    "measured",
    "noise",
    "predicted",
    "90 % (ms)",
    "error",
)


def cells(row: LiveRow) -> tuple[str, ...]:
    """Return the row's cells, one for each of ``COLUMNS``."""
    job, predicted = row.job, row.predicted
    return (
        job.strategy,
        str(job.hosts),
        f"{job.rate_bits_per_s / 1e6:.0f} Mb/s" if row.shaped else "unshaped",
        job.title,
        "real" if job.real else "emulated",
        format_time(row.measured.step_s),
        f"{100 * row.measured.noise:.1f} %",
        format_time(predicted.step_s),
        f"{1e3 * predicted.low_s:.0f} - {1e3 * predicted.high_s:.0f}" + ("" if row.inside else " *"),
        f"{100 * row.error:+.1f} %",
    )


def summary(validation: LiveValidation) -> Iterator[str]:
    """Yield the lines below the table."""
    yield f"{validation.setting}; {validation.seconds:.0f} s in all"
    yield (
        f"median absolute error {100 * validation.median_error:.1f} %, worst {100 * validation.worst_error:.1f} %; "
        f"{100 * validation.share_inside:.0f} % of the runs are inside their 90 % interval (* is outside)"
    )
    yield from (f"note: {note}" for note in validation.notes)
