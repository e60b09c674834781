"""What PyTorch over gloo does with a program that the program alone does not say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from simdml.program.instructions import Collective
from simdml.program.mesh import Group
from simdml.program.program import Program, RankProgram, Stream
from simdml.strategies.data_parallel.ddp import GROUP, STREAM

SECOND: Final = "dp, second thread"
_REDUCTION: Final = 3
"""Instructions of one bucket's reduction: wait for it, reduce, record that it is done."""


def two_at_a_time(program: Program) -> Program:
    """Return ``program`` with gradient reductions on two streams in turn.

    A gloo process group has two worker threads, so two collectives progress at once
    (torch/csrc/distributed/c10d/ProcessGroupGloo.cpp, default of ``threads``).
    """
    reduced = next((group for group in program.groups if group.name == GROUP), None)
    if reduced is None:
        return program
    classes = tuple(replace(each, streams=tuple(_split(each))) for each in program.classes)
    return replace(program, classes=classes, groups=(*program.groups, Group(SECOND, reduced.axes, reduced.only)))


def _split(rank_program: RankProgram) -> Iterator[Stream]:
    for stream in rank_program.streams:
        if stream.name != STREAM:
            yield stream
            continue
        starts = range(0, len(stream.instructions), _REDUCTION)
        buckets = [stream.instructions[first : first + _REDUCTION] for first in starts]
        for thread, name in ((0, GROUP), (1, SECOND)):
            mine = [instruction for bucket in buckets[thread::2] for instruction in bucket]
            if mine:
                renamed = (replace(i, group=name) if isinstance(i, Collective) else i for i in mine)
                yield Stream(f"gradients, thread {thread}", tuple(renamed))
