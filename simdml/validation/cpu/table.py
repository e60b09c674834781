"""A CPU validation as the columns and lines that people read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simdml.units import format_time
from simdml.validation.cpu.study import CpuRow, CpuValidation

COLUMNS: Final = ("one training step", "measured", "spread", "predicted", "error")


def cells(row: CpuRow) -> tuple[str, ...]:
    """Return the row's cells, one for each of ``COLUMNS``."""
    return (
        row.network.title,
        format_time(row.measured_s),
        f"{100 * row.spread:.1f} %",
        format_time(row.predicted_s),
        f"{100 * row.error:+.1f} %",
    )


def summary(validation: CpuValidation) -> Iterator[str]:
    """Yield the lines below the table."""
    environment = validation.environment
    threads = f"{validation.threads} thread{'s' if validation.threads > 1 else ''}"
    yield f"{environment.get('cpu')}, {threads}, PyTorch {environment.get('torch')}"
    yield (
        f"median absolute error {100 * validation.median_error:.1f} %, worst {100 * validation.worst_error:.1f} %, "
        f"with a profile of {validation.kernels - validation.noisy_kernels} kernels"
    )
    yield from (f"note: {note}" for note in validation.notes)
