"""Where points are simulated: in this process, in processes of this machine, or on the caller's own executor."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Workers:
    """An ``executor``, and how many points to hand it at a time, so that it is never idle and little is in flight.

    ``collect`` says that its processes collect no garbage by themselves.
    """

    executor: Executor
    in_flight: int
    collect: bool = False


Start = Callable[[], AbstractContextManager[Workers]]
"""Gives workers for as long as they are needed."""


class ThisProcess(Executor):
    """Runs a call when it is submitted."""

    def submit(
        self, fn: Callable[Arguments, Answer], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Answer]:
        """Return the finished call; an interrupt is raised here and now."""
        future: Future[Answer] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def finished(
    workers: Workers,
    waiting: deque[Item],
    call: Callable[[Item], Answer],
    pending: dict[Future[Answer], Item],
) -> Iterator[tuple[Item, Future[Answer]]]:
    """Yield each of ``waiting`` with its finished call, in the order of submission where several are finished.

    ``pending`` has what the workers are at, and what was yielded last.
    """
    while waiting or pending:
        with starting_processes():
            while waiting and len(pending) < workers.in_flight:
                pending[workers.executor.submit(call, waiting[0])] = waiting[0]
                waiting.popleft()
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in [each for each in pending if each in done]:
            yield pending[future], future
            del pending[future]


@contextmanager
def this_process() -> Iterator[Workers]:
    """Give this process."""
    yield Workers(ThisProcess(), 1)


@contextmanager
def local_processes(processes: int) -> Iterator[Workers]:
    """Give ``processes`` processes of this machine; if the block raises they are killed at once."""
    executor = ProcessPoolExecutor(processes, mp_context=_context(), initializer=_begin)
    try:
        yield Workers(executor, 2 * processes + 2, collect=True)
    except BaseException:
        _kill(executor)
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def starting_processes() -> Iterator[None]:
    """Silence Python 3.12's warning about forking beside threads: those of numpy hold no lock that simdml takes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield


def num_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context() -> BaseContext:
    """Return the quickest way to start processes: on Linux a fork, which has imported everything already."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)


def _begin() -> None:
    """Leave interrupts to the parent, which ends this process, and end with it however it ends.

    Cycles are looked for between points alone, when they left much: everything before is there to stay.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _kill(executor: ProcessPoolExecutor) -> None:
    # Public from Python 3.14 on, as kill_workers.
    processes: dict[int, Any] | None = getattr(executor, "_processes", None)
    for process in list((processes or {}).values()):
        process.kill()
