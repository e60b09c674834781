"""A folder of published tables, replayed into the rows that are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from simdml.errors import DocumentError, did_you_mean
from simdml.validation.runs.ranking import layout_key
from simdml.validation.runs.replay import Progress, Replayed
from simdml.validation.runs.scores import memory_error
from simdml.validation.runs.study import validate_runs
from simdml.validation.sets import evidence
from simdml.validation.sets.definitions import Definitions, group_name
from simdml.validation.sets.rows import KeptRow


def find_tables(folder: Path, definitions: Definitions) -> dict[str, Path]:
    """Return the file of every table, anywhere below ``folder``; raises DocumentError naming those that lack."""
    there = {path.stem: path for path in sorted(folder.rglob("*.csv"), reverse=True)}
    missing = [name for name in definitions.tables if name not in there]
    if missing:
        raise DocumentError(
            f"{folder} lacks {', '.join(f'{name}.csv' for name in missing)}{did_you_mean(missing[0], list(there))}",
            hint="name the folder that has the published tables, in any folders of its own",
        )
    return {name: there[name] for name in definitions.tables}


def replay_tables(
    tables: Mapping[str, Path],
    definitions: Definitions,
    *,
    processes: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[KeptRow]:
    """Return what is kept of every row of ``tables``, in order; ``folder`` keeps finished rows, as for any replay."""
    validation = validate_runs(list(tables.values()), processes=processes, folder=folder, progress=progress)
    names = {str(path): name for name, path in tables.items()}
    members: dict[str, list[Replayed]] = {name: [] for name in tables}
    for each in validation.rows:
        members[names[each.row.file]].append(each)
    return [kept for name, rows in members.items() for kept in _kept(name, rows, definitions)]


def _kept(table: str, replayed: Sequence[Replayed], definitions: Definitions) -> Iterator[KeptRow]:
    rows = [each.row for each in replayed]
    layouts = evidence.numbered(
        layout_key(each.row) if each.row.family == "llm" and each.error is not None else None for each in replayed
    )
    found = zip(layouts, evidence.repeats(rows), evidence.alike(rows), evidence.lines(rows), strict=True)
    for each, groups in zip(replayed, found, strict=True):
        row, replay = each.row, each.replay
        yield KeptRow(
            table,
            row.name,
            tuple(every.key for every in definitions.sets if every.has(table, row)),
            group_name(row, definitions.tables[table].groups),
            row.measured_s,
            replay.predicted_s,
            _inside(each),
            *groups,
            evidence.apart(row),
            None if row.text("metric_status") == "error" else not row.out_of_memory,
            replay.fits,
            _filled(each),
            memory_error(each),
            tuple(evidence.unstated(row)),
            replay.reason,
        )


def _filled(each: Replayed) -> float | None:
    memory_bytes, capacity_bytes = each.replay.memory_bytes, each.replay.capacity_bytes
    return memory_bytes / capacity_bytes if memory_bytes and capacity_bytes else None


def _inside(each: Replayed) -> int | None:
    if each.inside(90) is None:
        return None
    return next((level for level in (50, 90) if each.inside(level)), 0)
