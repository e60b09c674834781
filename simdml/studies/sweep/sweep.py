"""``run_sweep``: a scenario that varies into rows, one a point."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simdml import __version__
from simdml.cluster.merging import merged, without
from simdml.documents.document import Document, from_mapping
from simdml.errors import DocumentError, InternalError, SimdmlError, UnknownNameError, UsageError
from simdml.scenario.building import build
from simdml.scenario.loading import changed, load_scenario_document
from simdml.studies.sweep.axes import VARY, Axis, read_axes
from simdml.studies.sweep.grid import Point, by_similarity, points
from simdml.studies.sweep.identity import sweep_digest
from simdml.studies.sweep.journal import Journal
from simdml.studies.sweep.outcome import DEFECT, DIED, Outcome, scenario_of
from simdml.studies.sweep.running import run_points
from simdml.studies.sweep.workers import Start, local_processes, num_cores, this_process

_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Row:
    """A point and what became of it."""

    point: Point
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Sweep:
    """Every point of a sweep in the grid's order, however they were simulated; ``base`` is what varies."""

    name: str
    version: str
    paths: tuple[str, ...]
    rows: tuple[Row, ...]
    base: Document

    @property
    def num_ok(self) -> int:
        """Points that have numbers."""
        return sum(row.outcome.ok for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 if a point ran and none met a defect; else the code of a defect, or of the first point."""
        if any(row.outcome.status == DEFECT for row in self.rows):
            return InternalError.exit_code
        return 0 if self.num_ok else self.rows[0].outcome.exit_code


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is: ``last`` is the point that finished just now."""

    done: int
    total: int
    resumed: int
    last: Row | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep will do: the scenario that varies, and its points."""

    name: str
    base: Document
    paths: tuple[str, ...]
    points: tuple[Point, ...]


def plan_sweep(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    vary: Mapping[str, Any] | None = None,
    options: Iterable[str] = (),
    assignments: Iterable[str] = (),
) -> Plan:
    """Return the points of the sweep of a scenario: a file, a bundled name or a mapping.

    ``vary`` is a mapping like the scenario's section, over which it is merged; ``options`` are ``path=a,b,c`` as the
    command line's ``--vary``, ``assignments`` are ``path=value``.

    Raises:
        DocumentError: a key, value or range that cannot be accepted, or too many points.
        UnknownNameError: a name that does not exist.
        UsageError: nothing varies.
    """
    name, document = load_scenario_document(source)
    document = changed(document, assignments)
    if vary is not None:
        document = merged(document, from_mapping({VARY: _lists(vary)}, "<vary>"))
    axes = read_axes(document, options)
    plan = Plan(
        name=name,
        base=without(document, VARY),
        paths=tuple(path for axis in axes for path in axis.paths),
        points=tuple(points(axes)),
    )
    _refuse_misspelt(plan, axes)
    return plan


def run_sweep(
    plan: Plan,
    *,
    start: Start | None = None,
    jobs: int | None = None,
    out: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Sweep:
    """Return the rows of ``plan``.

    Points are simulated on the workers that ``start`` gives, by default ``jobs`` processes of this machine, as many
    as it has cores; one means this process. With ``out``, finished points are kept in a journal there, and those it
    has are not simulated again.

    Raises:
        OutputError: ``out`` cannot be used, or has the journal of another sweep.
        UsageError, InfeasibleError: the workers cannot be had.
    """
    journal = None if out is None else Journal(out, sweep_digest(plan.name, plan.base, plan.points))
    with journal or nullcontext():
        outcomes = {} if journal is None else dict(journal.finished)
        waiting = [point for point in plan.points if point.number not in outcomes]
        resumed = len(outcomes)
        report = progress or (lambda _: None)
        report(Progress(resumed, len(plan.points), resumed))
        begin = start or _local(jobs, len(waiting))
        with closing(run_points(plan.base, plan.name, by_similarity(waiting), begin)) as finished:
            for point, outcome in finished:
                outcomes[point.number] = outcome
                if journal is not None and outcome.status != DIED:
                    journal.add(point.number, outcome)
                report(Progress(len(outcomes), len(plan.points), resumed, Row(point, outcome)))
    rows = tuple(Row(point, outcomes[point.number]) for point in plan.points)
    return Sweep(plan.name, __version__, plan.paths, rows, plan.base)


def _local(jobs: int | None, waiting: int) -> Start:
    processes = min(jobs or num_cores(), max(waiting, 1))

    def begin() -> AbstractContextManager[Any]:
        return this_process() if processes == 1 else local_processes(processes)

    return begin


def _refuse_misspelt(plan: Plan, axes: Sequence[Axis]) -> None:
    """Raise what is wrong with a key, unit or name of any axis before anything is simulated.

    Looks at every value of an axis (the first hundred) beside the first values of the others.
    """
    for looked_at in range(len(axes)):
        short = [
            Axis(axis.paths, axis.entries[: _LOOKED_AT if index == looked_at else 1]) for index, axis in enumerate(axes)
        ]
        for point in points(short):
            _check(plan, point)


def _check(plan: Plan, point: Point) -> None:
    try:
        build(scenario_of(plan.base, plan.name, point))
    except (DocumentError, UnknownNameError, UsageError):
        raise
    except SimdmlError:
        # Impossible or too large: a row of its own.
        return


def _lists(vary: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``vary`` with ranges and arrays as lists."""
    return {key: _listed(value) for key, value in vary.items()}


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _lists(value)
    if isinstance(value, range):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else value
