"""Points to outcomes on an executor."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from functools import partial
from typing import Final

from simdml.documents.document import Document
from simdml.errors import InfeasibleError
from simdml.studies.sweep.grid import Point
from simdml.studies.sweep.outcome import DIED, Outcome, evaluate
from simdml.studies.sweep.workers import Start, Workers, finished, local_processes, starting_processes

Finished = tuple[Point, Outcome]

MOST_UNCOLLECTED: Final = 200_000
"""Objects that points may leave behind, some 20 MB, before a worker looks for cycles among them."""


def run_points(base: Document, name: str, points: Iterable[Point], start: Start) -> Generator[Finished, None, None]:
    """Yield points as they finish on the workers that ``start`` gives.

    A worker that dies (out of memory) takes others with it: the points it may have been at are simulated again one
    by one, and one that kills its process again is an outcome of its own.

    Raises:
        InfeasibleError: the workers broke before they did anything.
    """
    waiting = deque(points)
    while waiting:
        pending: dict[Future[Outcome], Point] = {}
        try:
            with start() as workers:
                yield from _drain(base, name, waiting, workers, pending)
        except BrokenExecutor as error:
            suspects = sorted(pending.values(), key=lambda point: point.number)
            if not suspects:
                raise InfeasibleError(f"the workers broke: {error}") from error
            for point in suspects:
                yield point, _alone(base, name, point)


def _drain(
    base: Document, name: str, waiting: deque[Point], workers: Workers, pending: dict[Future[Outcome], Point]
) -> Iterator[Finished]:
    call = partial(_evaluate_and_collect if workers.collect else evaluate, base, name)
    for point, future in finished(workers, waiting, call, pending):
        yield point, _outcome(future)


def _evaluate_and_collect(base: Document, name: str, point: Point) -> Outcome:
    outcome = evaluate(base, name, point)
    if gc.get_count()[0] > MOST_UNCOLLECTED:
        gc.collect()
    return outcome


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenExecutor:
        raise
    except Exception as error:
        return Outcome(DIED, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _alone(base: Document, name: str, point: Point) -> Outcome:
    try:
        with local_processes(1) as workers, starting_processes():
            return workers.executor.submit(evaluate, base, name, point).result()
    except BrokenExecutor:
        return Outcome(DIED, "the process that simulated it ended, probably for lack of memory")
