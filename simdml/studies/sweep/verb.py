"""``simdml.sweep``: a sweep in one call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simdml.studies.sweep.sweep import plan_sweep, run_sweep
from simdml.studies.sweep.table import sweep_frame
from simdml.studies.sweep.workers import Workers, num_cores

if TYPE_CHECKING:
    import pandas as pd

_IN_FLIGHT_A_WORKER = 4


def sweep(
    source: str | os.PathLike[str] | Mapping[str, Any],
    vary: Mapping[str, Any] | None = None,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    out: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Return one row for every variant of a scenario: a file, a bundled name or a mapping.

    ``vary`` is a mapping as the section of that name: ``{"cluster.nodes": [1, 2, 4]}``. Points are simulated on
    ``executor``, any of :mod:`concurrent.futures`, or on ``jobs`` processes of this machine (all cores by default, 1
    for none). With ``out``, a folder, finished points are kept there and a sweep that was killed goes on where it was.
    Columns carry their units; a point that cannot run has a ``status`` and a ``reason``.

    Raises:
        SimdmlError: anything wrong with the scenario; its text is what the command line prints.
    """
    plan = plan_sweep(source, vary=vary)

    @contextmanager
    def given() -> Iterator[Workers]:
        assert executor is not None
        workers = getattr(executor, "_max_workers", None) or num_cores()
        yield Workers(executor, _IN_FLIGHT_A_WORKER * workers)

    start = None if executor is None else given
    return sweep_frame(run_sweep(plan, start=start, jobs=jobs, out=None if out is None else Path(out)))
