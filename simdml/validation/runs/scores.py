"""How wrong predictions are: errors of step time and of peak memory by group, and out-of-memory verdicts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from simdml.validation.runs.hardware import machine_of
from simdml.validation.runs.memory_readings import measured_memory_bytes, memory_reading_of
from simdml.validation.runs.reading import Row, Unusable
from simdml.validation.runs.replay import Replayed

COLLECTIVE_SIZES: Final = ("from 1 MiB on", "below 1 MiB")


def collective_size(row: Row) -> str:
    """Return which of ``COLLECTIVE_SIZES`` a collective is of: below it latency counts, from it on bandwidth."""
    return COLLECTIVE_SIZES[(row.number("size_bytes") or 0) < 2**20]


Error = Callable[[Replayed], float | None]


def step_error(each: Replayed) -> float | None:
    """Return the error of step time."""
    return each.error


def memory_error(each: Replayed) -> float | None:
    """Return the error of peak memory; None where the row states none or none was predicted.

    Compared is what the row's source counted: tensors alone, or all that the process holds on its device.
    """
    measured, predicted = measured_memory_bytes(each.row), read_memory_bytes(each)
    return None if measured is None or predicted is None else predicted / measured - 1


def read_memory_bytes(each: Replayed) -> float | None:
    """Return the prediction of what the row's source counted."""
    return each.replay.tensor_bytes if memory_reading_of(each.row).tensors_alone else each.replay.held_bytes


@dataclass(frozen=True, slots=True)
class Score:
    """Errors (predicted over measured, minus 1) of a group of rows, of step time or of peak memory; fractions.

    ``bias`` is the median of signed errors, ``tail`` the 90th percentile of absolute ones.
    """

    name: str
    rows: int
    mean: float
    median: float
    bias: float
    tail: float
    worst: Replayed
    worst_error: float


@dataclass(frozen=True, slots=True)
class MemoryVerdicts:
    """Rows by whether they ran and whether simdml says that they fit."""

    ran_and_fits: int
    ran_but_refused: int
    failed_and_refused: int
    failed_but_fits: int

    @property
    def out_of_memory_found(self) -> float | None:
        """Share of runs that ran out of memory of which simdml says so; None if there are none."""
        failed = self.failed_and_refused + self.failed_but_fits
        return self.failed_and_refused / failed if failed else None

    @property
    def right(self) -> float | None:
        """Share of all rows on the right side; None if there are none."""
        total = self.ran_and_fits + self.ran_but_refused + self.failed_and_refused + self.failed_but_fits
        return (self.ran_and_fits + self.failed_and_refused) / total if total else None


def score(name: str, replayed: Iterable[Replayed], error: Error = step_error) -> Score | None:
    """Return the score of a group; None if no row has both a measured and a predicted value."""
    found = [(value, each) for each in replayed if (value := error(each)) is not None]
    if not found:
        return None
    errors = [value for value, _ in found]
    worst_error, worst = max(found, key=lambda pair: abs(pair[0]))
    sizes = sorted(map(abs, errors))
    return Score(
        name,
        len(errors),
        fmean(sizes),
        median(sizes),
        median(errors),
        sizes[min(len(sizes) - 1, int(0.9 * len(sizes)))],
        worst,
        worst_error,
    )


def scores_by(grouping: str, replayed: Iterable[Replayed], error: Error = step_error) -> list[Score]:
    """Return the score of every group of ``grouping``, the worst mean first."""
    groups: dict[str, list[Replayed]] = defaultdict(list)
    for each in replayed:
        groups[GROUPINGS[grouping](each.row)].append(each)
    found = (score(name, members, error) for name, members in groups.items())
    return sorted((each for each in found if each is not None), key=lambda each: (-each.mean, each.name))


def memory_verdicts(replayed: Iterable[Replayed]) -> MemoryVerdicts:
    """Return the confusion table of memory, over rows of which it was predicted."""
    known = [(each.row.out_of_memory, each.replay.fits) for each in replayed if each.replay.fits is not None]
    counts = Counter(known)
    return MemoryVerdicts(counts[False, True], counts[False, False], counts[True, False], counts[True, True])


def left_out(replayed: Iterable[Replayed]) -> list[tuple[str, Sequence[Replayed]]]:
    """Return rows without a prediction by the reason, the most frequent first."""
    reasons: dict[str, list[Replayed]] = defaultdict(list)
    for each in replayed:
        if each.replay.reason:
            reasons[each.replay.reason].append(each)
    return sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))


def _strategy(row: Row) -> str:
    if row.family == "collective":
        return f"{row.text('collective')} {collective_size(row)}"
    if row.family == "classic":
        layout = re.fullmatch(r"dp(\d+) tp(\d+) pp(\d+)", row.text("strategy"))
        if layout:
            names = (name for name, size in zip(("ddp", "tp", "pp"), layout.groups(), strict=True) if size != "1")
            return " x ".join(names) or "one GPU"
        return row.text("strategy") or "not stated"
    axes = [axis for axis in ("tp", "pp", "cp", "ep") if (row.number(axis) or 1) > 1]
    sharding = row.text("sharding").partition(" ")[0].partition("(")[0].lower()
    data = "" if (row.number("dp") or 1) == 1 and axes else ("ddp" if sharding in {"", "none"} else sharding)
    return " x ".join([*axes, *([data] if data else [])]) or "one GPU"


def _gpu(row: Row) -> str:
    if row.family != "collective":
        return row.text("gpu") or "not stated"
    try:
        return machine_of(row).device
    except Unusable:
        return "not known"


def _size(gpus: int) -> str:
    bounds = (1, 8, 64, 512)
    names = ("1", "2 to 8", "9 to 64", "65 to 512", "more than 512")
    return next((name for bound, name in zip(bounds, names, strict=False) if gpus <= bound), names[-1])


GROUPINGS: Final[Mapping[str, Callable[[Row], str]]] = {
    "source": lambda row: row.source,
    "GPU": _gpu,
    "strategy": _strategy,
    "GPUs": lambda row: _size(int(row.number("num_gpus") or 0)),
}
"""By what errors are summed up: a name, and what a row is in."""
