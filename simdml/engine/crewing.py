"""Which ranks make a crew: those of a joint stretch that nobody can tell from going on one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from simdml.engine import operations as ops
from simdml.engine import unison
from simdml.engine.crew import CrewOperation
from simdml.engine.execution import Execution, Meaning
from simdml.engine.joining import JointStretch, KernelRun, Lowered, Writer
from simdml.engine.outline import Outline, Outlines, Piece, begin_of, end_of
from simdml.engine.undisturbed import Undisturbed
from simdml.program.instructions import Record, Recv, StepEnd, Synchronise, Wait

FEWEST_MEMBERS: Final = 3
"""Two are simulated one by one as fast as together."""


def crews_of(
    execution: Execution, outlines: Outlines, undisturbed: Undisturbed, paced: Sequence[frozenset[str]]
) -> Iterator[tuple[int, ...]]:
    """Yield the representatives of rank classes that make a crew, in the order of the members of their group."""
    program, representatives = execution.program, execution.partition.representatives
    found: dict[tuple[int, ...], tuple[Outline, ...] | None] = {}
    for rank in representatives:
        stream = program.classes[program.class_of_rank[rank]].streams[0]
        drawn = outlines.of(stream, rank)
        groups = {classes for outline in drawn for _, classes in _joint(outline, undisturbed, rank)}
        for classes in groups:
            alone = len(groups) == 1 and found.get(classes, drawn) is drawn
            found[classes] = drawn if alone and stream.name not in paced[program.class_of_rank[rank]] else None
    meeting: dict[int, bool] = {}
    for classes, together in found.items():
        if together is None or len(classes) < FEWEST_MEMBERS:
            continue
        if id(together) not in meeting:
            meeting[id(together)] = _meets_in_time(*together)
        if meeting[id(together)]:
            yield tuple(representatives[each] for each in classes)


def _joint(outline: Outline, undisturbed: Undisturbed, rank: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield who does the joint stretches of an outline together."""
    for piece in outline.pieces:
        if piece.joint:
            _, _, part = undisturbed.taken(piece.joint[0], rank)
            assert part is not None
            yield part[0]


def _meets_in_time(outline: Outline, beside: Outline | None = None) -> bool:
    """Whether a joint stretch lies between all that is waited for and all that others wait for, from step to step.

    It may be one that the ranks do ``beside`` themselves, as nobody else waits for its begin. Nothing else is done but
    what crews can do.
    """
    if beside is not None and not all(_meets(piece) for piece in beside.pieces):
        return False
    met = False
    for number in (*outline.once, *outline.step, *outline.step):
        piece = outline.pieces[number]
        match piece.instruction:
            case None:
                met = met or bool(piece.joint)
            case Record(event=event) if event == begin_of(outline.name):
                met = True
            case Wait(event=event) if event == end_of(outline.name):
                pass
            case Recv() | Wait() | StepEnd():
                met = False
            case Record() if met:
                pass
            case Synchronise():
                pass
            case _:
                return False
    return True


def _meets(piece: Piece) -> bool:
    """Whether a piece is joint, or what begins and ends one."""
    return bool(piece.joint) or isinstance(piece.instruction, Record | Wait)


@dataclass(frozen=True, slots=True)
class Roster:
    """What a crew does, from which operation on it repeats, and what operations of each member's stream stand for."""

    operations: list[CrewOperation]
    repeats_from: int
    meanings: list[list[Meaning]]


def roster(outline: Outline, writers: Sequence[Sequence[Writer]]) -> Roster | None:
    """Return what a crew does; ``writers`` are its members', by piece of their ``outline``.

    None if the members' hosts take unequal times to launch something.
    """
    written = [[unison.written(writer, 0.0) for writer in mine] for mine in writers]
    pieces = list(zip(*written, strict=True))
    if any(len({each.clock for each in alike}) > 1 for alike in pieces):
        return None
    makers = [_maker(alike, by) for alike, by in zip(zip(*writers, strict=True), pieces, strict=True)]
    operations: list[CrewOperation] = []
    repeats_from = 0
    for order in (outline.once, outline.step):
        clock, repeats_from = 0.0, len(operations)
        for number in order:
            operations.append(makers[number](clock))
            clock += pieces[number][0].clock
    everything = (*outline.once, *outline.step)
    meanings = [[meaning for number in everything for meaning in mine[number].meanings] for mine in written]
    return Roster(operations, repeats_from, meanings)


def _maker(writers: Sequence[Writer], written: Sequence[Lowered]) -> Callable[[float], CrewOperation]:
    """Return what makes the operation of a piece from the clock at which it is launched; ``written`` is it at 0."""
    if isinstance(writers[0], JointStretch):
        return partial(unison.Unison, unison.Parts(writers, [each.operations for each in written]))
    if isinstance(writers[0], KernelRun):
        return partial(unison.Kernels, cast(Sequence[KernelRun], writers))
    [each] = zip(*(one.operations for one in written), strict=True)
    match each[0]:
        case ops.Synchronise():
            return lambda clock: unison.OneByOne([ops.Synchronise(clock) for _ in writers])
        case ops.StepEnd():
            same: CrewOperation = unison.OneByOne(cast(Sequence[ops.StepEnd], each))
        case ops.Record():
            same = unison.Records(cast(Sequence[ops.Record], each))
        case _:
            same = unison.Receipts(cast(Sequence[ops.Receive | ops.Wait], each))
    return lambda clock: same  # noqa: ARG005 - the same at any clock
