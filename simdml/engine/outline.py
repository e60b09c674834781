"""The outline of a stream: which of its instructions become one operation, whatever they take.

Ranks of one program whose transfers are disturbed alike have the same outline; seconds, events and links are their own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from simdml.engine.undisturbed import Undisturbed
from simdml.program.instructions import Beside, Collective, Instruction, Record, Routine, Wait
from simdml.program.program import Program, Stream


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Piece:
    """What becomes one operation: an ``instruction``, or kernels; or kernels, a joint stretch, and kernels after it.

    ``kernels`` are certain of their time. ``joint`` begins with a part of a joint stretch.
    """

    kernels: tuple[Instruction, ...] = ()
    joint: tuple[Instruction, ...] = ()
    instruction: Instruction | None = None


@dataclass(slots=True)
class Outline:
    """Distinct pieces of a stream, and their numbers in the order of what is done ``once`` and in every ``step``."""

    name: str
    pieces: list[Piece] = field(default_factory=list)
    once: list[int] = field(default_factory=list)
    step: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Drawn:
    """What is remembered of a program: outlines, and the instructions in a stream that may be certain or not."""

    outlines: dict[tuple[int, bool, Hashable], tuple[Outline, ...]] = field(default_factory=dict)
    in_question: dict[int, list[Instruction]] = field(default_factory=dict)


_drawn: WeakKeyDictionary[Program, Drawn] = WeakKeyDictionary()
"""What was drawn for a program serves another run of it in which the same instructions are certain."""


class Outlines:
    """The outlines of streams, drawn once for all ranks, and runs of a program, that have the same.

    ``joined`` are kernels in a row that become one operation; otherwise each is one.
    """

    def __init__(self, undisturbed: Undisturbed, *, joined: bool) -> None:
        self._undisturbed = undisturbed
        self._joined = joined
        self._drawn = _drawn.setdefault(undisturbed.program, Drawn())

    def of(self, stream: Stream, rank: int) -> tuple[Outline, ...]:
        """Return the outline of ``stream`` on ``rank``, and of what it does beside itself if there is any."""
        drawn = self._drawn
        instructions = drawn.in_question.get(id(stream))
        if instructions is None:
            instructions = _in_question((*stream.beforehand, *stream.instructions))
            drawn.in_question[id(stream)] = instructions
        key = id(stream), self._joined, tuple([self._answer(instruction, rank) for instruction in instructions])
        found = drawn.outlines.get(key)
        if found is None:
            found = drawn.outlines[key] = self._draw(stream, rank)
        return found

    def _answer(self, instruction: Instruction, rank: int) -> Hashable:
        """Return how an instruction is carried out, as far as outlines go."""
        _, timed, part = self._undisturbed.taken(instruction, rank)
        return "certain" if timed is not None else None if part is None else part[0][0]

    def _draw(self, stream: Stream, rank: int) -> tuple[Outline, ...]:
        once, beside_once = self._written_out(stream.beforehand, rank, stream.name)
        step, beside = self._written_out(stream.instructions, rank, stream.name)
        outline = _Drawing(self._undisturbed, rank, joined=self._joined).outline(stream.name, once, step)
        if not beside:
            return (outline,)
        drawing = _Drawing(self._undisturbed, rank, joined=self._joined)
        return outline, drawing.outline(_beside(stream.name), beside_once, beside)

    def _written_out(
        self, instructions: Iterable[Instruction], rank: int, stream: str
    ) -> tuple[list[Instruction], list[Instruction]]:
        """Return instructions with all written out that do not become one operation, and those of the stream beside."""
        main: list[Instruction] = []
        beside: list[Instruction] = []
        begin, end = Record(begin_of(stream)), Wait(end_of(stream))
        for instruction in instructions:
            _, timed, part = self._undisturbed.taken(instruction, rank)
            if timed is not None or part is not None or not isinstance(instruction, Routine | Beside):
                main.append(instruction)
            elif isinstance(instruction, Routine):
                inner, inner_beside = self._written_out(instruction.instructions, rank, stream)
                main += inner
                beside += inner_beside
            else:
                main += (begin, *instruction.kernels, end)
                beside += (Wait(begin.event), instruction.collective, Record(end.event))
        return main, beside


_BESIDE: Final = ", beside"


def _beside(stream: str) -> str:
    return f"{stream}{_BESIDE}"


def begin_of(stream: str) -> str:
    """Return the event at which ``stream`` begins something beside itself."""
    return f"{_beside(stream)} begins"


def end_of(stream: str) -> str:
    """Return the event at which what ``stream`` does beside itself is over."""
    return f"{_beside(stream)} ended"


def is_beside(stream: str) -> bool:
    """Whether that is the name of what a stream does beside itself."""
    return stream.endswith(_BESIDE)


def _in_question(instructions: Iterable[Instruction]) -> list[Instruction]:
    """Return what may be certain of its time or not, each object once."""
    return list({id(each): each for each in _transfers(instructions)}.values())


def _transfers(instructions: Iterable[Instruction]) -> Iterator[Instruction]:
    distinct = {id(instruction): instruction for instruction in instructions}
    for instruction in distinct.values():
        if isinstance(instruction, Collective | Routine | Beside):
            yield instruction
        if isinstance(instruction, Routine):
            yield from _transfers(instruction.instructions)
        elif isinstance(instruction, Beside):
            yield instruction.collective


class _Drawing:
    """An outline in the making. Equal instructions make one piece."""

    def __init__(self, undisturbed: Undisturbed, rank: int, *, joined: bool) -> None:
        self.undisturbed = undisturbed
        self.rank = rank
        self.joined = joined
        self.pieces: list[Piece] = []
        self.numbers: dict[Hashable, int] = {}
        self.kernels: list[Instruction] = []
        self.joint: list[Instruction] = []

    def outline(self, name: str, once: Iterable[Instruction], step: Iterable[Instruction]) -> Outline:
        """Return the outline of a stream."""
        drawn = self._draw(once), self._draw(step)
        return Outline(name, self.pieces, *drawn)

    def _draw(self, instructions: Iterable[Instruction]) -> list[int]:
        order: list[int] = []
        together: object = None
        for instruction in instructions:
            number = self.numbers.get(id(instruction))
            if number is not None:
                self._flush(order)
                order.append(number)
                continue
            _, timed, part = self.undisturbed.taken(instruction, self.rank)
            if timed is not None:
                (self.joint or self.kernels).append(instruction)
            elif part is not None:
                if self.joint and together != part[0]:
                    self._flush(order)
                together = part[0]
                self.joint.append(instruction)
            else:
                self._flush(order)
                number = self._number(instruction, Piece(instruction=instruction))
                self.numbers[id(instruction)] = number
                order.append(number)
            if not self.joined:
                self._flush(order)
        self._flush(order)
        return order

    def _flush(self, order: list[int]) -> None:
        if self.kernels or self.joint:
            key = tuple(map(id, self.kernels)), tuple(map(id, self.joint))
            order.append(self._number(key, Piece(tuple(self.kernels), tuple(self.joint))))
            self.kernels, self.joint = [], []

    def _number(self, key: Hashable, piece: Piece) -> int:
        number = self.numbers.setdefault(key, len(self.pieces))
        if number == len(self.pieces):
            self.pieces.append(piece)
        return number
