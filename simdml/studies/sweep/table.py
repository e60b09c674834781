"""The rows of a sweep for people and programs: text, CSV, JSON, pandas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simdml.reporting.headline import share
from simdml.results.plain import plain
from simdml.results.record import record
from simdml.studies.sweep.objective import Objective
from simdml.studies.sweep.outcome import NUMBERS, Outcome
from simdml.studies.sweep.sweep import Row, Sweep
from simdml.units import format_bytes, format_count, format_time

if TYPE_CHECKING:
    import pandas as pd

ROWS_SHOWN, BEST_SHOWN = 60, 20
COLUMNS_SHOWN, WIDTH_SHOWN, REASONS_SHOWN, POINTS_SHOWN = 4, 60, 8, 8
_LONGEST_CELL = 30


def columns(sweep: Sweep) -> list[str]:
    """Return the columns of CSV and pandas: what varies, what became of it, numbers, seconds by account."""
    accounts = sorted({name for row in sweep.rows for name in row.outcome.account_s})
    return ["point", *sweep.paths, "status", "reason", *NUMBERS, "busiest_link", *map(_account_column, accounts)]


def records(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield a mapping from columns to values for every row; mappings and lists are written as text."""
    for row in sweep.rows:
        outcome = row.outcome
        yield {
            "point": row.point.number,
            **{path: _scalar(value) for path, value in row.point.values().items()},
            "status": outcome.status,
            "reason": outcome.reason,
            **outcome.numbers,
            "busiest_link": outcome.busiest_link,
            **{_account_column(name): seconds for name, seconds in outcome.account_s.items()},
        }


def csv_text(sweep: Sweep) -> str:
    """Return the rows as CSV (RFC 4180, lines end with LF); a cell without a value is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns(sweep), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(sweep))
    return buffer.getvalue()


def sweep_to_dict(sweep: Sweep, objective: Objective) -> dict[str, Any]:
    """Return the sweep as plain data."""
    best = objective.best(sweep.rows)
    data = {
        "name": sweep.name,
        "scenario": plain(sweep.base.data),
        "varied": list(sweep.paths),
        "num_points": len(sweep.rows),
        "num_ok": sweep.num_ok,
        "best_by": objective.name,
        "best_point": None if best is None else best.point.number,
        "points": [
            {"point": row.point.number, "settings": row.point.values(), **row.outcome.plain()} for row in sweep.rows
        ],
    }
    return record("sweep", data, version=sweep.version)


def sweep_frame(sweep: Sweep) -> pd.DataFrame:
    """Return one row a point, with the columns of the CSV; the index is the point's number."""
    import pandas as pd

    return pd.DataFrame(records(sweep), columns=columns(sweep)).set_index("point")


def shown_rows(sweep: Sweep, objective: Objective) -> list[Row]:
    """Return the rows a screen has room for: all of a small sweep in the grid's order, the best ones of a large one."""
    if len(sweep.rows) <= ROWS_SHOWN:
        return list(sweep.rows)
    return objective.ranked(sweep.rows)[:BEST_SHOWN]


def text_columns(sweep: Sweep) -> list[str]:
    """Return the heads of the table for people."""
    varied = ["settings"] if _joined(sweep) else short_names(sweep.paths)
    return ["point", *varied, "GPUs", "step time", "throughput", "MFU", "memory", "note"]


def text_cells(sweep: Sweep, row: Row, best: Row | None) -> list[str]:
    """Return the cells of a row of the table for people."""
    varied = [settings_text(sweep, row)] if _joined(sweep) else _varied(sweep, row)
    note = "best" if row is best else "" if row.outcome.ok else row.outcome.status
    return [str(row.point.number), *varied, *_numbers(row.outcome), note]


def settings_text(sweep: Sweep, row: Row, longest: int = _LONGEST_CELL, names: Sequence[str] | None = None) -> str:
    """Return the settings of a row in one text: "nodes 4, bandwidth 25 Gbps", each cut to ``longest``."""
    named = zip(names or short_names(sweep.paths), _varied(sweep, row, longest), strict=True)
    return ", ".join(f"{name} {cell}" for name, cell in named if cell)


def _varied(sweep: Sweep, row: Row, longest: int = _LONGEST_CELL) -> list[str]:
    values = row.point.values()
    return [_cell(values[path], longest) if path in values else "" for path in sweep.paths]


def _joined(sweep: Sweep) -> bool:
    """Whether so much varies that a column for each would be too narrow to read."""
    widest = dict.fromkeys(sweep.paths, 0)
    for row in sweep.rows[:ROWS_SHOWN]:
        for path, value in row.point.values().items():
            widest[path] = max(widest[path], len(_cell(value)))
    return len(sweep.paths) > COLUMNS_SHOWN or sum(widest.values()) > WIDTH_SHOWN


def failures(sweep: Sweep) -> list[str]:
    """Return a line for every reason why points cannot run, with the points."""
    points: dict[tuple[str, str], list[int]] = {}
    for row in sweep.rows:
        if not row.outcome.ok:
            points.setdefault((row.outcome.status, row.outcome.reason), []).append(row.point.number)
    lines = [f"{status}: {reason} ({_counted(numbers)})" for (status, reason), numbers in points.items()]
    more = [f"and {len(lines) - REASONS_SHOWN} more reasons"] if len(lines) > REASONS_SHOWN else []
    return lines[:REASONS_SHOWN] + more


def _counted(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"point {numbers[0]}"
    some = ", ".join(map(str, numbers[:POINTS_SHOWN]))
    return f"points {some}" + (f" and {len(numbers) - POINTS_SHOWN:,} more" if len(numbers) > POINTS_SHOWN else "")


def short_names(paths: Sequence[str]) -> list[str]:
    """Return as much of the end of every path as tells it from the others; ``cluster.name`` is a cluster."""
    named = [path.removesuffix(".name") for path in paths]
    return [_shortest(path, [other for other in named if other != path]) for path in named]


def _shortest(path: str, others: Iterable[str]) -> str:
    steps = path.split(".")
    for length in range(1, len(steps)):
        ending = ".".join(steps[-length:])
        if not any(f".{other}".endswith(f".{ending}") for other in others):
            return ending
    return path


def _cell(value: Any, longest: int = _LONGEST_CELL) -> str:
    """Return a value cut to a cell; of a mapping with a name, the name is what tells it from others."""
    text = "none" if value == [] else shown_value(value)
    if isinstance(value, Mapping) and isinstance(name := value.get("name"), str):
        text = f"{value['nodes']} x {name}" if "nodes" in value else name
        text += ", changed" if value.keys() - {"name", "nodes"} else ""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def shown_value(value: Any) -> str:
    """Return a value as a file would have it, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _numbers(outcome: Outcome) -> list[str]:
    if not outcome.ok:
        return [""] * 5
    numbers = outcome.numbers
    tokens, memory = numbers["tokens_per_s"], numbers["peak_memory_bytes"]
    samples = f"{format_count(numbers['samples_per_s'] or 0.0)} samples/s"
    return [
        f"{numbers['num_gpus']:,}",
        format_time(numbers["step_time_s"] or 0.0),
        samples if tokens is None else f"{format_count(tokens)} tokens/s",
        share(numbers["mfu"] or 0.0),
        "" if memory is None else format_bytes(memory),
    ]


def _account_column(account: str) -> str:
    return f"{account.replace(' ', '_')}_s"


def _scalar(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
