"""A forward and a backward run together, the all-to-alls of each beside the kernels of the other (DualPipe).

The two are cut at their all-to-alls and take turns: attention of one while tokens of the other are dispatched, experts
of one while those of the other are combined (DeepSeek-AI, arXiv 2412.19437, section 3.2.1 and figure 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from simdml.program.instructions import Beside, Collective, Compute, Instruction, Routine
from simdml.strategies.expert_parallel import GROUP
from simdml.strategies.pieces import Made

Segment = tuple[list[Made], Collective | None]
"""What runs between two all-to-alls, and the second of them."""


def together(forward: Iterable[Instruction], backward: Iterable[Instruction]) -> tuple[Instruction, ...]:
    """Return both, overlapped if each is one routine; a backward that reduces gradients in between comes after."""
    first, second = tuple(forward), tuple(backward)
    if len(first) == len(second) == 1 and isinstance(first[0], Routine) and isinstance(second[0], Routine):
        return (Routine("forward and backward", tuple(interleaved(first[0].instructions, second[0].instructions))),)
    return (*first, *second)


def interleaved(first: Sequence[Made], second: Sequence[Made]) -> Iterator[Made]:
    """Yield the instructions of both in turns."""
    owed: tuple[int, Collective] | None = None
    turns = zip_longest(_segments(first), _segments(second))
    for owner, segment in ((owner, segment) for pair in turns for owner, segment in enumerate(pair)):
        if segment is None:
            continue
        run, exchange = segment
        if owed is not None and (owed[0] == owner or not any(isinstance(made, Compute) for made in run)):
            yield owed[1]
            owed = None
        yield from run if owed is None else _beside(run, owed[1])
        owed = None if exchange is None else (owner, exchange)
    if owed is not None:
        yield owed[1]


def _segments(instructions: Sequence[Made]) -> list[Segment]:
    segments: list[Segment] = []
    run: list[Made] = []
    for made in instructions:
        if isinstance(made, Collective) and made.group == GROUP:
            segments.append((run, made))
            run = []
        else:
            run.append(made)
    return [*segments, (run, None)] if run else segments


def _beside(run: list[Made], exchange: Collective) -> Iterator[Made]:
    """Yield ``run`` with ``exchange`` beside all of it, or beside its longest row of kernels if it has collectives."""
    if all(isinstance(made, Compute) for made in run):
        yield Beside(tuple(made for made in run if isinstance(made, Compute)), exchange)
        return
    longest = max((made for made in run if isinstance(made, Compute)), key=lambda made: len(made.operators))
    for made in run:
        yield Beside((longest,), exchange) if made is longest else made
