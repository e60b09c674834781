"""One row simulated; all rows on this machine's cores, each finished one kept so that a replay goes on where it was."""

from __future__ import annotations

import gc
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from simdml.calibration.spreads import load_spreads
from simdml.errors import SimdmlError
from simdml.results.uncertainty import Basis, Uncertainty, uncertainty
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import simulate_built
from simdml.studies.sweep.identity import code_digest
from simdml.studies.sweep.lines import Lines
from simdml.studies.sweep.workers import finished, local_processes, num_cores, this_process
from simdml.validation.runs.classic import classic_scenario
from simdml.validation.runs.collectives import collective_basis, collective_plan
from simdml.validation.runs.llm import llm_scenario
from simdml.validation.runs.reading import Row, Unusable

JOURNAL: Final = "replay.jsonl"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of a row: its prediction, or why there is none.

    ``predicted_s`` are seconds of a step and ``account_s`` those by account. ``memory_bytes`` is the peak of the
    fullest rank, ``tensor_bytes`` what of it lies in tensors, ``held_bytes`` what its process holds with freed blocks,
    ``capacity_bytes`` what its device has. ``basis`` is what the uncertainty of the prediction comes from. ``reason``
    says why a row has no prediction.
    """

    predicted_s: float | None = None
    memory_bytes: float | None = None
    capacity_bytes: float | None = None
    tensor_bytes: float | None = None
    held_bytes: float | None = None
    account_s: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    basis: Basis | None = None

    @property
    def fits(self) -> bool | None:
        """Whether the job fits in memory; None if that was not found out."""
        if self.memory_bytes is None or self.capacity_bytes is None:
            return None
        return self.memory_bytes <= self.capacity_bytes


@dataclass(frozen=True)
class Replayed:
    """A row and what became of it."""

    row: Row
    replay: Replay

    @property
    def error(self) -> float | None:
        """Predicted over measured step time, minus 1; None where one of them is missing."""
        if self.replay.predicted_s is None or self.row.measured_s is None:
            return None
        return self.replay.predicted_s / self.row.measured_s - 1

    @cached_property
    def uncertainty(self) -> Uncertainty | None:
        """How sure the prediction is; None without one."""
        if self.replay.predicted_s is None or self.replay.basis is None:
            return None
        spreads = load_spreads()
        if self.row.family == "collective":
            spreads = spreads.alone()
        return uncertainty(self.replay.predicted_s, self.replay.basis, spreads)

    def inside(self, percent: int) -> bool | None:
        """Return whether the measured step time lies in the interval of so many percent, 50 or 90; None without one."""
        if self.uncertainty is None or self.row.measured_s is None:
            return None
        low_s, high_s = self.uncertainty.interval_s(percent)
        return low_s <= self.row.measured_s <= high_s


def scenario_of(row: Row) -> dict[str, Any]:
    """Return the scenario of a row; raises Unusable."""
    if row.family == "collective":
        raise Unusable("a collective by itself is no scenario")
    return llm_scenario(row) if row.family == "llm" else classic_scenario(row)


def replay_row(row: Row) -> Replay:
    """Return what becomes of a row; never raises what a table can cause.

    A run that did not fit, and one of which only memory is known, is not simulated.
    """
    try:
        if row.family == "collective":
            return _replay_collective(row)
        built = build(load_scenario(scenario_of(row)))
        fullest = max(built.memory(), key=lambda estimate: estimate.total / estimate.capacity)
        memory = Replay(
            memory_bytes=fullest.total,
            capacity_bytes=fullest.capacity,
            tensor_bytes=fullest.total - fullest.overhead,
            held_bytes=fullest.held,
        )
        if row.out_of_memory or row.measured_s is None:
            return memory
        result = simulate_built(built, must_fit=False)
    except Unusable as reason:
        return Replay(reason=str(reason))
    except SimdmlError as error:
        return Replay(reason=" ".join(error.message.split())[:400])
    except Exception as error:
        return Replay(reason=" ".join(f"internal error: {type(error).__name__}: {error}".split())[:400])
    breakdown = dict(result.breakdown)
    step_s = result.step_time_s
    if row.has("notes", "no optimizer step"):
        step_s -= breakdown.pop("optimizer", 0.0)
    return replace(memory, predicted_s=step_s, account_s=breakdown, basis=result.basis)


def _replay_collective(row: Row) -> Replay:
    plan, size = collective_plan(row), row.number("size_bytes") or 0.0
    accounts = {"latency": plan.latency_s, f"{plan.algorithm}, {plan.protocol}": plan.time_s(size) - plan.latency_s}
    return Replay(plan.time_s(size), account_s=accounts, basis=collective_basis(row))


def replay_rows(
    rows: Iterable[Row], *, processes: int | None = None, folder: Path | None = None, progress: Progress | None = None
) -> list[Replayed]:
    """Return every row with what became of it, in order.

    ``folder`` keeps finished rows: a replay that was stopped repeats none of them. Raises OutputError if it cannot.
    """
    rows = list(rows)
    with _Journal(folder) if folder else nullcontext() as journal:
        found = _replays(rows, journal, processes or num_cores(), progress)
    return [Replayed(row, found[index]) for index, row in enumerate(rows)]


def _replays(
    rows: Sequence[Row], journal: _Journal | None, processes: int, progress: Progress | None
) -> dict[int, Replay]:
    """Return what became of each row by its place: out of the journal where it has it."""
    known = {} if journal is None else {index: journal.find(row) for index, row in enumerate(rows)}
    found = {index: replay for index, replay in known.items() if replay is not None}
    for index, replay in _run([each for each in enumerate(rows) if each[0] not in found], processes):
        found[index] = replay
        if journal is not None:
            journal.add(rows[index], replay)
        if progress:
            progress(len(found), len(rows))
    return found


def _run(waiting: list[tuple[int, Row]], processes: int) -> Iterator[tuple[int, Replay]]:
    """Yield rows as they finish, the largest jobs first."""
    largest_first = deque(sorted(waiting, key=lambda each: each[1].number("num_gpus") or 0)[::-1])
    alone = processes == 1 or len(waiting) < 4
    with this_process() if alone else local_processes(processes) as workers:
        call = _replay_and_collect if workers.collect else _replay_placed
        for (index, _), future in finished(workers, largest_first, call, {}):
            yield index, future.result()


def _replay_placed(placed: tuple[int, Row]) -> Replay:
    return replay_row(placed[1])


def _replay_and_collect(placed: tuple[int, Row]) -> Replay:
    replay = _replay_placed(placed)
    # What the row left; what lives on is remembered and not looked at again (a third of the time of small rows).
    gc.collect(0)
    return replay


class _Journal(Lines):
    """Finished rows on disk, a line each, by a digest of the row and of simdml's own files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / JOURNAL)
        self._code = code_digest()
        # Those of another simdml are kept too, under digests of their own.
        self._known = {str(entry.get("row")): entry.get("replay") for entry in self.entries}

    def find(self, row: Row) -> Replay | None:
        """Return what became of ``row`` before."""
        kept = self._known.get(self._digest(row))
        if kept is None:
            return None
        basis = kept["basis"]
        return Replay(**kept | {"basis": basis and Basis.from_plain(basis)})

    def add(self, row: Row, replay: Replay) -> None:
        """Append a finished row; raises OutputError."""
        self.append({"row": self._digest(row), "replay": asdict(replay)})

    def _digest(self, row: Row) -> str:
        return sha256(json.dumps([self._code, sorted(row.cells.items())]).encode()).hexdigest()[:24]
