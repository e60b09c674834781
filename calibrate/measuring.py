"""Timing, provenance and files for the measurement programs; copy this file along with any of them.

A program is a list of cases (plain dictionaries) and a function that measures one. This module decides how often
a case is repeated, says when the machine was too noisy, records what the machine is, and keeps one JSON file that
is complete at every moment and from which an interrupted run goes on. It needs PyTorch alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import machine
import torch
from clocks import Clock

# PyTorch leaves some of its functions untyped.
cuda: Any = torch.cuda
FORMAT = "simdml-readings-1"
VERSION = "1.0"
SAVE_EVERY_CASES = 5
SAVE_NO_OFTENER_S = 1.0
READ_CLOCKS_EVERY_S = 10.0
LEAST_SAMPLES_OF_INTERVAL = 6
OVERTIME = 4
LONGEST_GATE_S = 0.02
HALF_WIDTH = 0.02
STEADY_DRIFTS = 3.0

Case = dict[str, Any]
Entry = Mapping[str, Any]
Work = Callable[[], object]
Sampler = Callable[[int], list[float]]
Timer = Callable[[Work], Sampler]


class Missing(Exception):
    """Something that this machine or this PyTorch lacks; the message names it."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a case has been repeated enough: a narrow interval of the median, or a cap."""

    half_width: float = HALF_WIDTH
    least: int = 10
    most: int = 400
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What repeats gave: the median in seconds and, relative to it, how sure that is.

    ``spread`` is 1.4826 x the median absolute deviation (one standard deviation of normal noise);
    ``half_width`` that of the median's 95 % interval; ``drift`` the difference between the medians of the first
    and the second half. ``noisy`` says that the interval stayed wider than asked, or that the median drifted, or that
    the case was so slow that there are fewer than six samples.
    """

    seconds: float
    spread: float
    half_width: float
    drift: float
    minimum_s: float
    repeats: int
    noisy: bool


def half_width(samples: Sequence[float]) -> float:
    """Return half the width of the 95 % interval of the median, relative to the median.

    The wider of two: normal theory from the median absolute deviation (the median's standard error is 1.2533
    standard deviations over sqrt(n)), and the distribution-free interval between order statistics, which two-humped
    samples do not fool (Conover, Practical Nonparametric Statistics, section 3.2). Below six samples: the range.
    """
    ordered, count = sorted(samples), len(samples)
    middle = statistics.median(ordered)
    if count < LEAST_SAMPLES_OF_INTERVAL:
        return (ordered[-1] - ordered[0]) / 2 / middle if count > 1 else math.inf
    reach = 1.96 * math.sqrt(count) / 2
    low = max(math.floor(count / 2 - reach), 1)
    high = min(math.ceil(count / 2 + reach) + 1, count)
    between = (ordered[high - 1] - ordered[low - 1]) / 2
    normal = 1.96 * 1.2533 * _spread(ordered, middle) / math.sqrt(count)
    return max(between, normal) / middle


def summary(samples: Sequence[float], limit: float = HALF_WIDTH) -> Reading:
    """Return the reading that ``samples`` (seconds, in the order taken) give."""
    middle, half = statistics.median(samples), len(samples) // 2
    drift = statistics.median(samples[half:]) / statistics.median(samples[:half]) - 1 if half else 0.0
    width = half_width(samples)
    return Reading(
        seconds=middle,
        spread=_spread(samples, middle) / middle,
        half_width=width if math.isfinite(width) else 1.0,
        drift=drift,
        minimum_s=min(samples),
        repeats=len(samples),
        noisy=len(samples) < LEAST_SAMPLES_OF_INTERVAL or width > limit or abs(drift) > STEADY_DRIFTS * limit,
    )


def measure(sample: Sampler, stopping: Stopping, *, shared_calls: float | None = None) -> Reading:
    """Take samples until the median is known well enough or a cap is reached, and return the reading.

    ``shared_calls`` (how many seconds it costs to take a sample of one second) counts the samples themselves
    against the cap instead of this process's clock, so that processes that see the same samples stop at the same one.
    """
    begin = time.perf_counter()
    samples = sample(1)
    cost = samples[0] * (shared_calls or 1.0)
    batch = max(1, min(10, int(stopping.seconds / 10 / max(cost, 1e-9))))
    while True:
        spent = sum(samples) * shared_calls if shared_calls else time.perf_counter() - begin
        enough = len(samples) >= stopping.least and half_width(samples) <= stopping.half_width
        patience = stopping.seconds * (1 if len(samples) >= LEAST_SAMPLES_OF_INTERVAL else OVERTIME)
        if enough or len(samples) >= stopping.most or spent >= patience:
            return summary(samples, stopping.half_width)
        samples += sample(batch)


def _spread(samples: Sequence[float], middle: float) -> float:
    return 1.4826 * statistics.median(abs(sample - middle) for sample in samples)


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class HostTimer:
    """Times work with a clock of the host, the device idle before and after; ``cold`` empties its caches before."""

    def __init__(self, device: torch.device, *, cold: bool = False, clock: Clock = time.perf_counter) -> None:
        self.device, self.clock = device, clock
        self.flush = machine.cache_flush(device) if cold else None

    def __call__(self, work: Work) -> Sampler:
        """Return a sampler of ``work`` (seconds a call)."""
        return lambda count: [self._once(work) for _ in range(count)]

    def _once(self, work: Work) -> float:
        if self.flush:
            self.flush()
        synchronize(self.device)
        begin = self.clock()
        work()
        synchronize(self.device)
        return self.clock() - begin


class EventTimer:
    """Times work on a CUDA device with events, the launches queued behind a sleeping kernel.

    The queue hides the host, so a sample is device time from the first kernel's start to the last one's end,
    gaps included; the cost of an event pair (about a microsecond) is in it and is not subtracted.
    """

    def __init__(self, device: torch.device, *, cold: bool = True) -> None:
        self.device = device
        self.flush = machine.cache_flush(device) if cold else None
        self.cycles_per_s = machine.device_cycles_per_s(device)

    def __call__(self, work: Work) -> Sampler:
        """Return a sampler of ``work`` (seconds a call)."""
        synchronize(self.device)
        begin = time.perf_counter()
        work()
        host_s = time.perf_counter() - begin + 3e-5
        return lambda count: self._batch(work, count, min(1.3 * count * host_s, LONGEST_GATE_S))

    def _batch(self, work: Work, count: int, gate_s: float) -> list[float]:
        marks = [(cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)) for _ in range(count)]
        cuda._sleep(int(gate_s * self.cycles_per_s))
        for begin, end in marks:
            if self.flush:
                self.flush()
            begin.record()
            work()
            end.record()
        synchronize(self.device)
        return [begin.elapsed_time(end) / 1e3 for begin, end in marks]


def timer_for(device: torch.device, *, cold: bool, clock: Clock = time.perf_counter) -> Timer:
    """Return the timer of kernels on ``device``: events on a GPU, the host's ``clock`` otherwise."""
    return EventTimer(device, cold=cold) if device.type == "cuda" else HostTimer(device, cold=cold, clock=clock)


def time_work(work: Work, timer: Timer, stopping: Stopping, warmups: int = 3) -> Reading:
    """Call ``work`` unmeasured ``warmups`` times (fewer if it is slow), then measure it."""
    begin = time.perf_counter()
    for _ in range(warmups):
        work()
        if time.perf_counter() - begin > stopping.seconds / 2:
            break
    return measure(timer(work), stopping)


class Journal:
    """The readings of one program on one machine, and the file they are kept in.

    Raises SystemExit where the file cannot be continued: unreadable, of another program, or of another machine.
    """

    def __init__(self, path: Path, program: str, environment: Entry, *, fresh: bool = False) -> None:
        self.path, self.program, self.environment = path, program, dict(environment)
        self.runs: list[dict[str, Any]] = []
        self.entries: dict[str, dict[str, Any]] = {}
        self.skipped: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.complete = False
        self._unsaved, self._saved_at, self._clocks_at = 0, time.monotonic(), time.monotonic()
        if path.exists() and not fresh:
            self._load()
        self.runs.append(
            {
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "command_line": [Path(sys.argv[0]).name, *sys.argv[1:]],
                "clocks_before": machine.clocks(),
                "clocks_after": None,
            }
        )

    def done(self, case: Case) -> bool:
        """Say whether ``case`` has a reading."""
        return _key(case) in self.entries

    def add(self, case: Case, reading: Entry) -> None:
        """Keep the reading of ``case``; every few cases the file is written."""
        self.entries[_key(case)] = {"case": case, **reading, "run": len(self.runs) - 1}
        self.skipped.pop(_key(case), None)
        self._unsaved += 1
        waited = time.monotonic() - self._saved_at
        if waited > SAVE_NO_OFTENER_S * (1 if self._unsaved >= SAVE_EVERY_CASES else SAVE_EVERY_CASES):
            self.save()

    def skip(self, case: Case, reason: str) -> None:
        """Name a case that cannot be measured here, and why; it is tried again by the next run."""
        self.skipped[_key(case)] = {"case": case, "reason": reason}

    def miss(self, what: str, why: str) -> None:
        """Name a thing that is missing here."""
        self.missing[what] = why

    def save(self) -> None:
        """Write the file: to a temporary one beside it, then by renaming, so that it is always whole."""
        if time.monotonic() - self._clocks_at > READ_CLOCKS_EVERY_S:
            self.runs[-1]["clocks_after"], self._clocks_at = machine.clocks(), time.monotonic()
        document = {
            "format": FORMAT,
            "program": self.program,
            "program_version": VERSION,
            "environment": self.environment,
            "runs": self.runs,
            "complete": self.complete,
            "missing": [{"what": what, "why": why} for what, why in self.missing.items()],
            "skipped": list(self.skipped.values()),
            "cases": list(self.entries.values()),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
        self._unsaved, self._saved_at = 0, time.monotonic()

    def finish(self) -> None:
        """Write the file a last time, with the clocks as they are now."""
        self._clocks_at = -READ_CLOCKS_EVERY_S
        self.save()

    def _load(self) -> None:
        advice = "give another --out, or --fresh to start it again"
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SystemExit(f"{self.path} cannot be read ({error}); {advice}") from None
        is_ours = isinstance(document, dict) and document.get("format") == FORMAT
        if not is_ours or (document["program"], document["program_version"]) != (self.program, VERSION):
            raise SystemExit(f"{self.path} is no file of {self.program}.py {VERSION}; {advice}")
        for name in machine.IDENTITY:
            old, new = document["environment"].get(name), self.environment.get(name)
            if old != new:
                raise SystemExit(f"{self.path} was measured with {name} {old!r}, this is {new!r}; {advice}")
        self.runs = document["runs"]
        self.entries = {_key(entry["case"]): entry for entry in document["cases"]}
        self.missing = {entry["what"]: entry["why"] for entry in document["missing"]}


def _key(case: Case) -> str:
    return json.dumps(case, sort_keys=True)


def label(case: Case) -> str:
    """Return the words by which ``--only`` finds a case and progress names it."""
    parts = (case.get(name) for name in ("model", "variant", "family", "op", "kernel", "phase", "dtype", "layout"))
    sizes = case.get("shape") or [
        case[name] for name in ("rows", "columns", "bytes", "batch", "sequence") if name in case
    ]
    return " ".join([*(str(part) for part in parts if part), "x".join(str(size) for size in sizes)])


def run_cases(
    journal: Journal,
    cases: Iterable[Case],
    measure_case: Callable[[Case], Entry],
    arguments: argparse.Namespace,
) -> None:
    """Measure every case that has no reading yet, within ``--minutes``; always leaves the file written.

    A case that the machine cannot run is named in the file with the reason, and the next one is tried.
    """
    todo = [case for case in cases if not journal.done(case)]
    progress = Progress(journal.program, len(todo), arguments.minutes)
    if journal.entries:
        progress.say(f"{len(journal.entries)} cases already in {journal.path}")
    try:
        for case in todo:
            if progress.out_of_time():
                progress.say(f"stopped after {arguments.minutes:g} minutes; run again to go on")
                break
            _attempt(journal, case, measure_case, progress)
        else:
            journal.complete = True
    finally:
        journal.finish()
        progress.say(f"{len(journal.entries)} readings, {len(journal.skipped)} skipped: {journal.path}")


def _attempt(journal: Journal, case: Case, measure_case: Callable[[Case], Entry], progress: Progress) -> None:
    try:
        entry = measure_case(case)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        journal.skip(case, reason)
        progress.step(case, f"skipped: {reason[:120]}")
        if journal.environment["device_type"] == "cuda":
            _release_or_give_up()
        return
    journal.add(case, entry)
    progress.step(case, f"{entry['seconds']:.4g} s{' NOISY' if entry['noisy'] else ''}")


def _release_or_give_up() -> None:
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError as error:
        raise SystemExit(f"the device no longer answers ({error}); run again to go on from here") from error


class Progress:
    """Lines on standard error, with the time left."""

    def __init__(self, program: str, total: int, minutes: float | None) -> None:
        self.program, self.total, self.count = program, total, 0
        self.begin = time.monotonic()
        self.limit_s = math.inf if minutes is None else 60 * minutes

    def out_of_time(self) -> bool:
        """Say whether the next case would probably end after the limit."""
        spent = time.monotonic() - self.begin
        return spent + spent / max(self.count, 1) > self.limit_s

    def step(self, case: Case, outcome: str) -> None:
        """Report one case."""
        self.count += 1
        spent = time.monotonic() - self.begin
        left = min(spent / self.count * (self.total - self.count), self.limit_s - spent)
        self.say(f"{self.count}/{self.total} {label(case)}: {outcome} (about {max(left, 0):.0f} s left)")

    def say(self, text: str) -> None:
        """Write a line."""
        print(f"{self.program}: {text}", file=sys.stderr, flush=True)


def argument_parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """Return the arguments that all programs share."""
    parser = argparse.ArgumentParser(
        prog=f"{program}.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, help=f"the JSON file to write or continue, or its folder (then DEVICE_{program}.json)"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one")
    parser.add_argument("--quick", action="store_true", help="a small set, under a minute on two CPU cores")
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="cases with all of these words")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N cases")
    parser.add_argument("--minutes", type=float, help="start no case that would end later; run again to go on")
    parser.add_argument("--seconds-per-case", type=float, metavar="S", help="cap on repeating one case")
    parser.add_argument(
        "--half-width", type=float, default=HALF_WIDTH, metavar="W", help="of a steady median's interval"
    )
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU")
    parser.add_argument("--fresh", action="store_true", help="begin the file again instead of continuing it")
    parser.add_argument("--list", action="store_true", help="print the cases and measure nothing")
    return parser


def choose_device(wanted: str | None, threads: int | None = None) -> torch.device:
    """Return the device to measure (of this process's local rank); SystemExit where there is no such device."""
    if threads:
        torch.set_num_threads(threads)
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: torch.cuda.is_available() is false (a CPU build of PyTorch, or no driver)")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
    device = torch.device("cuda", local % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def leave_to_first_rank() -> None:
    """End every process but rank 0, for programs that measure one device and were started with several ranks."""
    rank = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)
    if rank:
        print(f"rank {rank} leaves this measurement to rank 0", file=sys.stderr)
        raise SystemExit(0)


def stopping(arguments: argparse.Namespace, seconds: float, quick_seconds: float = 0.1) -> Stopping:
    """Return the caps on repeats: ``seconds`` a case, fewer with ``--quick``, or as ``--seconds-per-case`` says."""
    chosen = arguments.seconds_per_case or (quick_seconds if arguments.quick else seconds)
    return Stopping(seconds=chosen, half_width=arguments.half_width)


def choose_cases(cases: Iterable[Case], arguments: argparse.Namespace) -> list[Case]:
    """Return the cases that ``--only`` (any of them) and ``--limit`` leave; prints them and ends with ``--list``."""
    wanted = [words.lower().split() for words in arguments.only]
    chosen = [
        case for case in cases if not wanted or any(all(w in label(case).lower() for w in words) for words in wanted)
    ][: arguments.limit]
    if arguments.list:
        for case in chosen:
            print(label(case))
        raise SystemExit(0)
    if not chosen:
        raise SystemExit(f"no case matches --only {' or '.join(arguments.only)}; --list shows all")
    return chosen


def open_journal(program: str, arguments: argparse.Namespace, device: torch.device, **more: object) -> Journal:
    """Return the journal of this run, and see that a polite stop (SIGTERM, Ctrl-C) saves it."""
    stop_politely()
    path = arguments.out or Path()
    if path.suffix != ".json":
        path /= f"{machine.short_name(device)}_{program}.json"
    journal = Journal(path, program, {**machine.environment(device), **more}, fresh=arguments.fresh)
    for what, why in machine.missing(device).items():
        journal.miss(what, why)
        print(f"{program}: missing: {what}: {why}", file=sys.stderr)
    return journal


def stop_politely() -> None:
    """Turn SIGTERM and Ctrl-C into SystemExit, so that what is open is closed and saved."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def reading_entry(reading: Reading) -> dict[str, Any]:
    """Return a reading as it stands in the file."""
    return asdict(reading)


def run_tool(*command: str, timeout_s: float = 20.0) -> str:
    """Return what a command prints; Missing if there is no such command or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"{command[0]}: {error}") from error
    return done.stdout
