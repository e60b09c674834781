"""What a layer is on one rank, before it becomes instructions: kernels and the collectives between and beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from simdml.program.instructions import Activity, Beside, Collective, Compute
from simdml.workload.operators import Operator


@dataclass(frozen=True, slots=True)
class Together:
    """Kernels and a collective that run at the same time."""

    operators: tuple[Operator, ...]
    collective: Collective


Piece = Operator | Collective | Together
Made = Compute | Collective | Beside
"""What pieces become."""


def joined(label: str, activity: Activity, pieces: Iterable[Piece]) -> Iterator[Made]:
    """Yield instructions: kernels in a row are one compute instruction."""
    run: list[Operator] = []
    for piece in pieces:
        if isinstance(piece, Operator):
            run.append(piece)
            continue
        if run:
            yield Compute(label, activity, tuple(run))
            run = []
        if isinstance(piece, Together):
            yield Beside((Compute(label, activity, piece.operators),), piece.collective)
        else:
            yield piece
    if run:
        yield Compute(label, activity, tuple(run))
