"""A validation on tables of runs as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from simdml.units import format_bytes, format_time
from simdml.validation.runs.memory_readings import measured_memory_bytes
from simdml.validation.runs.replay import Replay, Replayed
from simdml.validation.runs.scores import Score, left_out, memory_error
from simdml.validation.runs.study import RunsValidation

ROW_COLUMNS: Final = ("row", "run", "measured", "predicted", "error", "90 % interval", "inside")
SCORE_COLUMNS: Final = ("rows", "mean", "median", "bias", "90th", "worst row")
CSV_COLUMNS: Final = (
    *("source", "line", "id", "gpu", "num_gpus", "model", "measured_s", "predicted_s", "error", "out_of_memory"),
    *("interval_50_low_s", "interval_50_high_s", "interval_90_low_s", "interval_90_high_s", "inside_50", "inside_90"),
    *("measured_memory_bytes", "predicted_memory_bytes", "memory_error", "memory_capacity_bytes", "reason"),
)
REASONS_SHOWN: Final = 8


def row_cells(each: Replayed) -> tuple[str, ...]:
    """Return a row's cells, one for each of ``ROW_COLUMNS``."""
    row, predicted = each.row, each.replay.predicted_s
    layout = " ".join(f"{axis}{row.text(axis)}" for axis in ("tp", "pp", "cp", "ep") if (row.number(axis) or 1) > 1)
    said = (row.text("model"), f"{row.text('num_gpus')} {row.text('gpu')}", row.text("strategy") or layout)
    return (
        row.name,
        ", ".join(filter(None, said)),
        "-" if row.measured_s is None else format_time(row.measured_s),
        "-" if predicted is None else format_time(predicted),
        "-" if each.error is None else percent(each.error),
        "-" if each.uncertainty is None else " to ".join(map(format_time, each.uncertainty.interval_90_s)),
        _inside(each),
    )


def _inside(each: Replayed) -> str:
    """Return the narrowest interval that a measured step lies in."""
    if each.inside(90) is None:
        return "-"
    return next((f"{level} %" for level in (50, 90) if each.inside(level)), "no")


def score_cells(score: Score) -> tuple[str, ...]:
    """Return a group's cells: its name, then one for each of ``SCORE_COLUMNS``."""
    sizes = (score.mean, score.median)
    return (
        score.name,
        str(score.rows),
        *(f"{100 * size:.1f} %" for size in sizes),
        percent(score.bias),
        f"{100 * score.tail:.1f} %",
        f"{percent(score.worst_error)} {score.worst.row.name}",
    )


def percent(fraction: float) -> str:
    """Return a signed percentage."""
    return f"{100 * fraction:+.1f} %"


def summary(validation: RunsValidation) -> Iterator[str]:
    """Yield what there is to say in sentences."""
    compared = 0 if validation.total is None else validation.total.rows
    yield f"{compared:,} of {len(validation.rows):,} rows compared, in step time"
    if validation.covered is not None:
        inside = validation.covered
        yield (
            f"{100 * inside.inside_50:.1f} % of the measured steps lie in their 50 % intervals, "
            f"{100 * inside.inside_90:.1f} % in their 90 % intervals"
        )
    if validation.mean_regret is not None:
        yield (
            f"{len(validation.layouts)} groups of runs that differ in layout alone: the layout simdml would choose is "
            f"{100 * validation.mean_regret:.1f} % slower than the best measured one on average, "
            f"{100 * validation.layouts[0].regret:.1f} % in the worst group ({validation.layouts[0].name}); mean rank "
            f"correlation {validation.mean_rank_correlation:.2f}"
        )
    yield from _collectives(validation)
    memory = validation.memory
    if memory.out_of_memory_found is not None and memory.right is not None:
        yield (
            f"memory: {memory.failed_and_refused} of {memory.failed_and_refused + memory.failed_but_fits} runs out of "
            f"memory are predicted not to fit, {memory.ran_and_fits} of {memory.ran_and_fits + memory.ran_but_refused} "
            f"that ran to fit: {100 * memory.right:.1f} % on the right side"
        )
    if validation.memory_total is not None:
        total = validation.memory_total
        yield (
            f"peak memory: {100 * total.median:.1f} % off in the median of {total.rows} rows that state it, "
            f"{percent(total.bias)} in the median of signed errors"
        )
    reasons = left_out(validation.rows)
    for reason, rows in reasons[:REASONS_SHOWN]:
        yield f"left out: {len(rows)} {'row' if len(rows) == 1 else 'rows'}, {rows[0].row.name} first: {reason}"
    if len(reasons) > REASONS_SHOWN:
        rest = sum(len(rows) for _, rows in reasons[REASONS_SHOWN:])
        yield f"left out: {rest} more for {len(reasons) - REASONS_SHOWN} other reasons, all in the CSV and JSON"
    for each in validation.tables:
        if each.unknown_columns:
            yield f"ignored: columns of {each.file} that are not known: {', '.join(each.unknown_columns)}"


def _collectives(validation: RunsValidation) -> Iterator[str]:
    for score in validation.collective_scores:
        yield (
            f"collectives {score.name}: {100 * score.mean:.1f} % off on average and {100 * score.median:.1f} % in the "
            f"median of {score.rows:,} rows"
        )


def explanations(rows: Sequence[Replayed]) -> Iterator[tuple[str, ...]]:
    """Yield what the predictions of ``rows`` are made of beside each other: a name, then a value for each."""
    cells = [row_cells(each) for each in rows]
    for index, name in enumerate(ROW_COLUMNS[2:], start=2):
        if any(each[index] != "-" for each in cells):
            yield name, *(each[index] for each in cells)
    accounts = list(dict.fromkeys(account for each in rows for account in _accounts(each)))
    for account in accounts:
        seconds = [each.replay.account_s.get(account) for each in rows]
        yield account, *("-" if each is None else format_time(each) for each in seconds)
    if any(each.replay.memory_bytes is not None for each in rows):
        yield "memory", *(_memory_cell(each.replay) for each in rows)


def _accounts(each: Replayed) -> list[str]:
    return sorted(each.replay.account_s, key=lambda account: -each.replay.account_s[account])


def _memory_cell(replay: Replay) -> str:
    if replay.memory_bytes is None or replay.capacity_bytes is None:
        return "-"
    return f"{format_bytes(replay.memory_bytes)} of {format_bytes(replay.capacity_bytes)}"


def csv_text(validation: RunsValidation) -> str:
    """Return every row, in order, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_plain_row, validation.rows))
    return text.getvalue()


def to_dict(validation: RunsValidation) -> dict[str, Any]:
    """Return all of it as plain data."""
    memory = validation.memory
    return {
        "total": None if validation.total is None else _plain_score(validation.total),
        "scores": {name: list(map(_plain_score, scores)) for name, scores in validation.scores.items()},
        "coverage": None if validation.covered is None else asdict(validation.covered),
        "coverages": {name: list(map(asdict, found)) for name, found in validation.coverages.items()},
        "layout_groups": [
            {
                "name": group.name,
                "runs": len(group.members),
                "regret": group.regret,
                "rank_correlation": group.rank_correlation,
                "chosen": group.chosen.row.name,
            }
            for group in validation.layouts
        ],
        "mean_regret": validation.mean_regret,
        "mean_rank_correlation": validation.mean_rank_correlation,
        "memory": {name: getattr(memory, name) for name in type(memory).__dataclass_fields__},
        "collectives": list(map(_plain_score, validation.collective_scores)),
        "peak_memory": {
            "total": None if validation.memory_total is None else _plain_score(validation.memory_total),
            "source": list(map(_plain_score, validation.memory_scores)),
        },
        "rows": list(map(_plain_row, validation.rows)),
    }


def _plain_row(each: Replayed) -> dict[str, Any]:
    row, replay = each.row, each.replay
    return {
        "source": row.source,
        "line": row.line,
        "id": row.name,
        "gpu": row.text("gpu"),
        "num_gpus": row.text("num_gpus"),
        "model": row.text("model"),
        "measured_s": row.measured_s,
        "predicted_s": replay.predicted_s,
        "error": each.error,
        "out_of_memory": row.out_of_memory,
        "measured_memory_bytes": measured_memory_bytes(row),
        "predicted_memory_bytes": replay.memory_bytes,
        "memory_error": memory_error(each),
        "memory_capacity_bytes": replay.capacity_bytes,
        **_plain_intervals(each),
        "reason": replay.reason,
    }


def _plain_intervals(each: Replayed) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for level in (50, 90):
        low_s, high_s = (None, None) if each.uncertainty is None else each.uncertainty.interval_s(level)
        found |= {f"interval_{level}_low_s": low_s, f"interval_{level}_high_s": high_s}
    return found | {f"inside_{level}": each.inside(level) for level in (50, 90)}


def _plain_score(score: Score) -> dict[str, Any]:
    return {
        "name": score.name,
        "rows": score.rows,
        "mean_absolute_error": score.mean,
        "median_absolute_error": score.median,
        "bias": score.bias,
        "percentile_90": score.tail,
        "worst_row": score.worst.row.name,
        "worst_error": score.worst_error,
    }
