"""Constants of this machine, from micro-benchmarks run on the testbed: never from the jobs that are predicted.

Shaped links are physics: a frame of 1,514 bytes carries 1,448 of payload (Ethernet 14, IPv4 20, TCP 32 with
timestamps; tbf counts 1,514), and a link that was idle passes its bucket unshaped. What is fitted is what software
adds: a latency a message, a call and a layer, and seconds a byte of work on host memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from math import exp, inf, log, sqrt
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simdml.calibration.communication import GlooFit, Provenance
from simdml.validation.live.hosts import burst_bytes
from simdml.validation.live.jobs import PIPELINES, SERVERS
from simdml.validation.live.launcher import Launcher

PAYLOAD_SHARE: Final = 1448 / 1514
RATES: Final = (150e6, 350e6)
"""Rates of the micro-benchmarks; jobs run at others."""
GROUPS: Final = (2, 3, 5)
SIZES: Final = ((2**19, 5), (2**20, 4), (3 * 2**20, 3))
MESSAGES: Final = ((2**18, 6), (2**20, 5), (3 * 2**20, 4))
LAYER_SLEEP_S: Final = 4e-3
NINETY: Final = 1.645
"""Standard deviations on either side of a normal median that hold 90 %."""
SMALLEST_SPREAD: Final = 0.025
"""What ranks that share cores do to each other, as a judgement: no interval is narrower."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AllReduceReading:
    """Median seconds of an all-reduce of ``payload_bytes`` over ``ranks`` hosts; rate 0 is unshaped."""

    ranks: int
    payload_bytes: int
    rate_bits_per_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class MessageReading:
    """Median seconds of one message of ``payload_bytes``, one way; rate 0 is unshaped."""

    payload_bytes: int
    rate_bits_per_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class MachineFit:
    """What predictions of live jobs rest on.

    ``send_s`` and ``call_s`` are the latency of a message by send and receive and of one way of a remote call;
    ``served_s`` what a server spends on a call besides summing; ``layer_s`` what a layer's forward or backward takes
    longer than its emulated compute; ``product_s`` and ``product_flops_per_s`` price real products on one core. The
    ``_s_per_byte`` are for one rank a core. ``spread`` is the standard deviation of ln(measured / fitted) of the
    micro-benchmarks a strategy rests on, by ``"all_reduce"``, ``"send"`` and ``"call"``.
    """

    cores: int
    gloo: GlooFit
    send_s: float
    call_s: float
    served_s: float
    layer_s: float
    gradient_s_per_byte: float
    copy_s_per_byte: float
    optimizer_s: float
    optimizer_s_per_byte: float
    sum_s_per_byte: float
    product_s: float
    product_flops_per_s: float
    unshaped_bytes_per_s: float
    spread: Mapping[str, float]
    versions: Mapping[str, Any] = field(default_factory=dict)
    payload_share: float = PAYLOAD_SHARE

    def interval(self, strategy: str) -> tuple[float, float]:
        """Return the factors on either side of a prediction between which 90 % of runs should lie."""
        source = "send" if strategy in PIPELINES else "call" if strategy in SERVERS else "all_reduce"
        spread = sqrt(self.spread[source] ** 2 + SMALLEST_SPREAD**2)
        return exp(-NINETY * spread), exp(NINETY * spread)


def link_s(payload_bytes: float, rate_bits_per_s: float) -> float:
    """Return how long a quiet shaped link takes for a payload: what its bucket does not pass at once, at its rate."""
    free = burst_bytes(rate_bits_per_s) * PAYLOAD_SHARE
    return max(0.0, payload_bytes - free) * 8 / (rate_bits_per_s * PAYLOAD_SHARE)


def fit_all_reduce(readings: Sequence[AllReduceReading]) -> tuple[GlooFit, float, list[float]]:
    """Return gloo's constants, the unshaped rate (bytes/s, infinite if shaped) and ln(measured / fitted).

    The ring takes ``overhead + 2 (n - 1) step + 2 (n - 1) / n S / rate + (n - 1) / n S / reduce`` (gloo/allreduce.cc);
    coefficients are not below 0 and errors are relative.
    """
    shaped = all(reading.rate_bits_per_s for reading in readings)
    rows, targets = [], []
    for reading in readings:
        others, part = reading.ranks - 1, (reading.ranks - 1) / reading.ranks
        wire = 2 * part * reading.payload_bytes
        known = link_s(wire, reading.rate_bits_per_s) if shaped else 0.0
        rows.append([1.0, 2.0 * others, wire / 2 if shaped else wire])
        targets.append((reading.seconds - known, reading.seconds))
    matrix = np.array(rows)
    overhead, step, per_byte = nonnegative(matrix, np.array(targets))
    fitted = matrix @ np.array([overhead, step, per_byte])
    logs = [log(seconds / (seconds - left + value)) for (left, seconds), value in zip(targets, fitted, strict=True)]
    sizes = [reading.payload_bytes for reading in readings]
    provenance = Provenance(
        ("micro-benchmarks on the testbed",), len(readings), _deviation(logs), _deviation(logs),
        min(sizes), max(sizes), max(reading.ranks for reading in readings),
    )  # fmt: skip
    reduce = 1.0 / per_byte if shaped and per_byte else inf
    gloo = GlooFit("this machine", overhead, step, inf, reduce, inf, provenance)
    return gloo, (1.0 / per_byte if not shaped and per_byte else inf), logs


def nonnegative(matrix: NDArray[np.float64], targets: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the coefficients, none below 0, of least squares in relative error.

    ``targets`` has what the columns are to add up to, and the measured value the error is relative to.
    """
    weights = 1.0 / targets[:, 1]
    weighted, wanted = matrix * weights[:, None], targets[:, 0] * weights
    columns = range(matrix.shape[1])
    best, least = np.zeros(matrix.shape[1]), float(wanted @ wanted)
    for kept in chain.from_iterable(combinations(columns, size) for size in range(1, matrix.shape[1] + 1)):
        found, *_ = np.linalg.lstsq(weighted[:, kept], wanted, rcond=None)
        error = float(np.sum((weighted[:, kept] @ found - wanted) ** 2))
        if (found >= 0).all() and error < least:
            best, least = np.zeros(matrix.shape[1]), error
            best[list(kept)] = found
    return tuple(float(value) for value in best)


def fit_messages(readings: Sequence[MessageReading], unshaped_bytes_per_s: float) -> tuple[float, list[float]]:
    """Return the latency of a message and ln(measured / fitted) of the readings."""
    known = [
        link_s(reading.payload_bytes, reading.rate_bits_per_s)
        if reading.rate_bits_per_s
        else reading.payload_bytes / unshaped_bytes_per_s
        for reading in readings
    ]
    latency = max(0.0, median(reading.seconds - link for reading, link in zip(readings, known, strict=True)))
    return latency, [log(r.seconds / (latency + link)) for r, link in zip(readings, known, strict=True)]


def _deviation(logs: Sequence[float]) -> float:
    return sqrt(sum(value**2 for value in logs) / len(logs)) if logs else 0.0


def calibrate(launcher: Launcher, progress: Progress = lambda _: None, *, quick: bool = False) -> MachineFit:
    """Run the micro-benchmarks on the launcher's testbed and return the fit; ``quick`` at one rate on few hosts.

    Raises:
        InfeasibleError: a benchmark failed.
    """
    benches = _Benchmarks(launcher, progress, RATES[1:] if quick else RATES, GROUPS[:2] if quick else GROUPS)
    versions = launcher.run("benchmarks.machine", 1, None)[0]
    gloo, unshaped, reduced = fit_all_reduce(benches.all_reduces())
    send_s, sent = fit_messages(benches.sends(), unshaped)
    calls = benches.calls() if launcher.backend == "gloo" else [MessageReading(1, 0.0, 1e-3)]
    call_s, called = fit_messages(calls, unshaped)
    return MachineFit(
        cores=versions["cores"],
        gloo=gloo,
        send_s=send_s,
        call_s=call_s,
        served_s=0.0,
        unshaped_bytes_per_s=unshaped,
        spread={"all_reduce": _deviation(reduced), "send": _deviation(sent), "call": _deviation(called)},
        versions=versions,
        **benches.layers(),
        **benches.memory(),
        **benches.products(),
    )


@dataclass(frozen=True, slots=True)
class _Benchmarks:
    launcher: Launcher
    progress: Progress
    rates: tuple[float, ...]
    groups: tuple[int, ...]

    @property
    def _rates(self) -> tuple[float, ...]:
        return self.rates if self.launcher.testbed.shaped else (0.0,)

    @property
    def _hosts(self) -> int:
        return len(self.launcher.testbed.hosts)

    def all_reduces(self) -> list[AllReduceReading]:
        """Return readings over several numbers of hosts, sizes and rates."""
        readings = []
        for rate in self._rates:
            self._shape(rate)
            for ranks in (n for n in self.groups if n <= self._hosts):
                self.progress(f"all-reduce over {ranks} hosts{_at(rate)}")
                runs = self.launcher.run("benchmarks.all_reduce", ranks, SIZES)
                for (nbytes, _), *repetitions in zip(SIZES, *runs, strict=True):
                    spans = zip(*repetitions, strict=True)
                    seconds = median(max(end for _, end in s) - max(begin for begin, _ in s) for s in spans)
                    readings.append(AllReduceReading(ranks, nbytes, rate, seconds))
        return readings

    def sends(self) -> list[MessageReading]:
        """Return readings of messages by send and receive."""
        readings = []
        for rate in self._rates:
            self._shape(rate)
            self.progress(f"send and receive{_at(rate)}")
            left, arrived = self.launcher.run("benchmarks.send", 2, MESSAGES)
            for (nbytes, _), begins, ends in zip(MESSAGES, left, arrived, strict=True):
                seconds = median(end - begin for begin, end in zip(begins, ends, strict=True))
                readings.append(MessageReading(nbytes, rate, seconds))
        return readings

    def calls(self) -> list[MessageReading]:
        """Return readings of one way of remote calls: half of there and back."""
        readings = []
        for rate in self._rates:
            self._shape(rate)
            self.progress(f"remote calls{_at(rate)}")
            times = self.launcher.run("benchmarks.remote_calls", 2, MESSAGES)[0]
            for (nbytes, _), spans in zip(MESSAGES, times, strict=True):
                seconds = median((there + back) / 2 for there, _, back in spans)
                readings.append(MessageReading(nbytes, rate, seconds))
        return readings

    def layers(self) -> dict[str, float]:
        """Return what emulated layers take besides sleeping, and the optimizer, with one rank a core."""
        self.progress("emulated layers and the optimizer")
        ranks = self._one_a_core()
        many, small, few, large = 8, 40_000, 4, 2_000_000
        thin = _medians(self.launcher.run("benchmarks.layers", ranks, (many, small, LAYER_SLEEP_S)))
        thick = _medians(self.launcher.run("benchmarks.layers", ranks, (few, large, LAYER_SLEEP_S)))
        layer_s = max(0.0, (thin[0] + thin[1]) / (2 * many) - LAYER_SLEEP_S)
        made_s = max(0.0, thick[1] - few * (LAYER_SLEEP_S + layer_s))
        per_byte = max(0.0, thick[2] - thin[2]) / (few * large - many * small)
        return {
            "layer_s": layer_s,
            "gradient_s_per_byte": made_s / (few * large),
            "optimizer_s": max(0.0, thin[2] - per_byte * many * small),
            "optimizer_s_per_byte": per_byte,
        }

    def memory(self) -> dict[str, float]:
        """Return seconds a byte of copies and sums, with one rank a core."""
        found = self.launcher.run("benchmarks.memory", self._one_a_core(), 4_000_000)
        return {f"{name}_s_per_byte": median(each[name] for each in found) for name in ("copy", "sum")}

    def products(self) -> dict[str, float]:
        """Return what real products cost: a constant a kernel, and a rate on one core."""
        self.progress("products on one core")
        sizes = ((384, 96), (640, 128), (896, 192), (1280, 256))
        runs = self.launcher.run("benchmarks.products", self._one_a_core(), sizes)
        rows, targets = [], []
        for (width, batch), *repetitions in zip(sizes, *runs, strict=True):
            seconds = median(forward + backward for forward, backward in chain.from_iterable(repetitions))
            rows.append([3.0, 6.0 * width * width * batch])
            targets.append((seconds, seconds))
        constant, per_flop = nonnegative(np.array(rows), np.array(targets))
        return {"product_s": constant, "product_flops_per_s": 1.0 / per_flop if per_flop else inf}

    def _shape(self, rate: float) -> None:
        if rate:
            self.launcher.testbed.set_rate(rate)

    def _one_a_core(self) -> int:
        return max(1, min(os.cpu_count() or 1, self._hosts))


def _at(rate: float) -> str:
    return f" at {rate / 1e6:.0f} Mb/s" if rate else ""


def _medians(runs: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """Return the median of each column over all ranks' rows."""
    return [median(column) for column in zip(*chain.from_iterable(runs), strict=True)]
