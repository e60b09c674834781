"""A step as a trace for ui.perfetto.dev or chrome://tracing.

The file is in the Trace Event Format (Google, "Trace Event Format", 2016): complete events with times in microseconds.
One process is the critical path, one every representative rank, one every server shard; a thread is a stream.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from simdml.engine.execution import Kind
from simdml.errors import OutputError
from simdml.results.result import Result
from simdml.results.timeline import Span, timeline, track_names

Event = dict[str, Any]
CRITICAL_PATH = 1


def write_trace(result: Result, path: str | os.PathLike[str]) -> None:
    """Write the trace of one step to ``path``, compressed if its name ends with ``.gz``; equal results, equal bytes.

    Raises:
        OutputError: if the file cannot be written; a file that was there before stays as it was.
    """
    target = Path(path)
    head = {"simdml_version": result.version, "name": result.name, "step_time_s": result.step_time_s}
    lines = ",\n".join(json.dumps(event, ensure_ascii=False) for event in trace_events(result))
    text = f'{{"displayTimeUnit":"ms","otherData":{json.dumps(head)},"traceEvents":[\n{lines}\n]}}\n'
    content = text.encode()
    if target.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    write_atomically(target, content)


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and move it there.

    Raises:
        OutputError: if that fails.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OutputError(f'cannot write "{path}": {error.strerror}') from error


def trace_events(result: Result) -> Iterator[Event]:
    """Yield names and order of processes and threads, then the events of every track in time order.

    Waits are shown on compute streams alone; elsewhere a gap says the same.
    """
    yield from _named(CRITICAL_PATH, "critical path", ["critical path"])
    begin, _ = result.recording.window
    for segment in result.critical_path:
        where = _process_name(result, segment.rank)
        args = {"account": segment.account, "seconds": segment.seconds, "rank": where, "track": segment.track}
        yield from _complete(
            CRITICAL_PATH, 1, segment.label, segment.account, segment.begin_s - begin, segment.end_s - begin, args
        )
    names = track_names(result.recording)
    numbers: dict[tuple[int, str], tuple[int, int]] = {}
    for process, (rank, tracks) in enumerate(names.items(), start=CRITICAL_PATH + 1):
        yield from _named(process, _process_name(result, rank), tracks)
        numbers.update({(rank, track): (process, thread) for thread, track in enumerate(tracks, start=1)})
    for span in timeline(result):
        process, thread = numbers[span.rank, span.track]
        if span.kind is not Kind.WAIT or thread == 1:
            label = f"wait: {span.label}" if span.kind is Kind.WAIT and span.label != span.account else span.label
            yield from _complete(process, thread, label, span.account, span.start_s, span.end_s, _arguments(span))


def _arguments(span: Span) -> dict[str, Any]:
    args: dict[str, Any] = {"account": span.account, "seconds": span.seconds}
    if span.payload_bytes:
        args["bytes"] = span.payload_bytes
    return args


def _process_name(result: Result, rank: int) -> str:
    execution = result.recording.execution
    if rank < 0:
        server = execution.program.servers[-1 - rank]
        return f"{server.name} (node {', '.join(map(str, server.nodes))})"
    for breakdown in result.breakdowns:
        if breakdown.representative == rank:
            number = f", {breakdown.num_ranks} ranks" if breakdown.num_ranks > 1 else ""
            return f"rank {rank} ({breakdown.rank_class}{number})"
    return f"rank {rank}"


def _named(process: int, name: str, threads: Iterable[str]) -> Iterator[Event]:
    yield {"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}}
    yield {"ph": "M", "pid": process, "name": "process_sort_index", "args": {"sort_index": process}}
    for thread, label in enumerate(threads, start=1):
        yield {"ph": "M", "pid": process, "tid": thread, "name": "thread_name", "args": {"name": label}}
        yield {"ph": "M", "pid": process, "tid": thread, "name": "thread_sort_index", "args": {"sort_index": thread}}


def _complete(
    process: int, thread: int, label: str, category: str, start_s: float, end_s: float, args: dict[str, Any]
) -> Iterator[Event]:
    """Yield a complete event on whole nanoseconds, so that events that touch do not overlap; none if it has none."""
    start, end = round(start_s * 1e9), round(end_s * 1e9)
    if end > start:
        yield {
            "ph": "X",
            "pid": process,
            "tid": thread,
            "name": label,
            "cat": category,
            "ts": start / 1000,
            "dur": (end - start) / 1000,
            "args": args,
        }
