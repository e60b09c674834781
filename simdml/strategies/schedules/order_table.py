"""A schedule from a table of actions, a row a device, as torch.distributed.pipelining dumps it to CSV.

An action is stage, phase and micro-batch (``0F3``, ``4I1``, ``4W1``, ``0B2``), or a pair ``(0F4;7B3)OVERLAP_F_B``;
empty cells are idle slots. Messages, parameter gathers and gradient reductions (``0SEND_F1``, ``3UNSHARD``,
``0REDUCE_GRAD``) are left out: simdml sends as soon as a stage is done, and reduces as its data-parallel plan says
(torch/distributed/pipelining/schedules.py, ``_Action`` and ``_dump_csv``).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from typing import cast

from simdml.errors import DocumentError, InfeasibleError, Place, quoted
from simdml.strategies.schedules.actions import Action, Phase
from simdml.strategies.schedules.placement import Path
from simdml.strategies.schedules.schedule import Schedule

_WORK = re.compile(r"(\d+)([FBIW])(\d+)")
_PAIR = re.compile(r"\((\d+F\d+);(\d+B\d+)\)OVERLAP_F_B")
_LEFT_OUT = re.compile(r"\d+(SEND_F|RECV_F|SEND_B|RECV_B|UNSHARD|RESHARD|REDUCE_GRAD)\d*")


@dataclass(frozen=True, slots=True)
class _Cell:
    stage: int
    phase: Phase
    microbatch: int
    with_next: bool = False


def read_order_table(text: str, name: str) -> Schedule:
    """Return the schedule in ``text``, called ``name``, for exactly its devices, micro-batches and chunks.

    Raises:
        DocumentError: a cell that is no action, with its line; stages that are not each on one device.
    """
    rows = [
        [action for cell in row for action in _cells(cell.strip(), Place(name, line, 1))]
        for line, row in enumerate(csv.reader(StringIO(text)), start=1)
        if any(cell.strip() for cell in row)
    ]
    stages = [sorted({cell.stage for cell in row}) for row in rows]
    path = _path(stages, name)
    microbatches = 1 + max(cell.microbatch for row in rows for cell in row)
    actions = [
        [Action(cell.phase, cell.microbatch, mine.index(cell.stage), cell.with_next) for cell in row]
        for row, mine in zip(rows, stages, strict=True)
    ]

    def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
        del chunks
        if (depth, num_microbatches) != (len(rows), microbatches):
            raise InfeasibleError(
                f"{name} orders {microbatches} micro-batches on {len(rows)} devices, not {num_microbatches} on {depth}",
                hint=f"mesh.pp: {len(rows)}, and a global batch of {microbatches} micro-batches a replica",
            )
        return actions[device]

    def paths(depth: int, chunks: int) -> tuple[Path, ...]:
        del chunks
        if depth != len(rows):
            raise InfeasibleError(f"{name} has {len(rows)} devices, not {depth}", hint=f"mesh.pp: {len(rows)}")
        return (path,)

    meaning = f"the order of actions in {name}"
    return Schedule(name, meaning, order, paths=paths, chunks=max(map(len, stages)))


def _cells(text: str, place: Place) -> Iterator[_Cell]:
    if not text or _LEFT_OUT.fullmatch(text):
        return
    if pair := _PAIR.fullmatch(text):
        yield from (_cell(pair[1], with_next=True), _cell(pair[2]))
    elif _WORK.fullmatch(text):
        yield _cell(text)
    else:
        raise DocumentError(
            f"{quoted(text)} is no action of a pipeline",
            place=place,
            hint="stage, F, B, I or W, and micro-batch, such as 0F3",
        )


def _cell(text: str, *, with_next: bool = False) -> _Cell:
    found = _WORK.fullmatch(text)
    assert found is not None
    return _Cell(int(found[1]), cast(Phase, found[2]), int(found[3]), with_next)


def _path(stages: list[list[int]], name: str) -> Path:
    slots = {stage: (device, chunk) for device, mine in enumerate(stages) for chunk, stage in enumerate(mine)}
    named: Iterable[int] = [stage for mine in stages for stage in mine]
    if not slots or sorted(named) != list(range(len(slots))) or len({len(mine) for mine in stages}) > 1:
        raise DocumentError(
            f"the devices of {name} run stages {stages}",
            place=Place(name),
            hint="stages 0, 1, 2 and so on, each on one device, and equally many on every device",
        )
    return tuple(slots[stage] for stage in range(len(slots)))
