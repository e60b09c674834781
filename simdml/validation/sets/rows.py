"""What is kept of a replayed row, and the file of all of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from simdml.errors import DocumentError, Place

HOW_TO_MAKE: Final = "make it again with: python reports/regenerate.py accuracy --sets DIR"


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A row of a published table: where it stands, its measured figure, and what was predicted.

    ``sets`` are the keys of the sets that it is in. ``inside`` is the narrowest interval, in percent, that the
    measured step lies in, 0 for none. ``layouts``, ``repeats``, ``alike`` and ``line`` name groups of rows of the
    table: those that differ in layout alone, those that say the same, those of one scenario, those on one line in the
    number of layers. ``apart`` is how much longer the slower of two measurements is that one row has, minus 1. ``ran``
    says whether it ran, None for one that failed otherwise than by lack of memory; ``fits`` whether simdml says that it
    does, ``filled`` what part of the device's memory it takes. ``unstated`` is what its source does not print,
    ``reason`` why it has no prediction.
    """

    table: str
    row: str
    sets: tuple[str, ...]
    group: str
    measured_s: float | None
    predicted_s: float | None
    inside: int | None
    layouts: str
    repeats: str
    alike: str
    line: str
    apart: float | None
    ran: bool | None
    fits: bool | None
    filled: float | None
    memory_error: float | None
    unstated: tuple[str, ...]
    reason: str

    @property
    def error(self) -> float | None:
        """Predicted over measured step time, minus 1; None where one is missing."""
        if self.measured_s is None or self.predicted_s is None:
            return None
        return self.predicted_s / self.measured_s - 1


COLUMNS: Final = tuple(field.name for field in fields(KeptRow))


def rows_text(rows: Iterable[KeptRow]) -> str:
    """Return the CSV file of ``rows``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)
    return text.getvalue()


def read_rows(path: Path) -> tuple[KeptRow, ...]:
    """Return the rows of the file at ``path``; raises DocumentError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise DocumentError(
                    "other columns than those of kept rows", place=Place(str(path), 1), hint=HOW_TO_MAKE
                )
            return tuple(_kept(cells, path, reader.line_num) for cells in reader)
    except OSError as error:
        raise DocumentError(f"cannot read {path}: {error.strerror}", hint=HOW_TO_MAKE) from None


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, tuple):
        return " ".join(value)
    return "" if value is None else str(value)


def _kept(cells: dict[str, str], path: Path, line: int) -> KeptRow:
    try:
        return KeptRow(
            cells["table"],
            cells["row"],
            tuple(cells["sets"].split()),
            cells["group"],
            _number(cells["measured_s"]),
            _number(cells["predicted_s"]),
            int(cells["inside"]) if cells["inside"] else None,
            cells["layouts"],
            cells["repeats"],
            cells["alike"],
            cells["line"],
            _number(cells["apart"]),
            cells["ran"] == "yes" if cells["ran"] else None,
            cells["fits"] == "yes" if cells["fits"] else None,
            _number(cells["filled"]),
            _number(cells["memory_error"]),
            tuple(cells["unstated"].split()),
            cells["reason"],
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise DocumentError(f"no kept row: {error}", place=Place(str(path), line), hint=HOW_TO_MAKE) from None


def _number(text: str) -> float | None:
    return float(text) if text else None
