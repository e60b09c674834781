"""Seconds of compute instructions, worked out once for each instruction, device and slowdown.

Programs are remembered between runs, and so is what their instructions take: a second run of a program on the same
device, or one that differs in its network alone, prices no kernel again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Final
from weakref import WeakKeyDictionary, ref

from simdml.costs.compute import ComputeCost
from simdml.costs.dispatch import NOTHING, Dispatch
from simdml.engine.clock import quantize
from simdml.engine.conditions import Slowing
from simdml.engine.execution import Kind, Segment
from simdml.engine.stretches import Timed, run_of
from simdml.program.instructions import Compute, Instruction
from simdml.workload.operators import Family

DEVICES_KEPT: Final = 64
_PRODUCTS: Final = frozenset({Family.MATMUL, Family.BATCHED_MATMUL})


class Kernels:
    """What compute instructions take by ``cost``, times ``slowdown``; forgotten when an instruction is gone.

    Those with collectives ``beside`` them take longer still. Kernels run one after the other, each once the host has
    launched it, which takes ``host_launch_s`` and what ``dispatch`` says a launch.
    """

    def __init__(
        self,
        cost: ComputeCost,
        precision: str,
        host_launch_s: float,
        slowdown: float,
        beside: tuple[Slowing, ...] = (),
        dispatch: Dispatch = NOTHING,
    ) -> None:
        self._cost = cost
        self._precision = precision
        self._host_launch_s = host_launch_s
        self._dispatch = dispatch
        self._slowdown = slowdown
        self._beside = {each.activity: each for each in beside}
        self._timed: dict[int, Timed] = {}
        self._rows: WeakKeyDictionary[object, Timed] = WeakKeyDictionary()
        self._alive: dict[int, ref[Compute]] = {}

    def __len__(self) -> int:
        """Return how many instructions are remembered."""
        return len(self._timed)

    def timed(self, instruction: Compute) -> Timed:
        """Return what ``instruction`` takes, in seconds on the tick."""
        number = id(instruction)
        found = self._timed.get(number)
        if found is None:
            found = self._timed[number] = self._priced(instruction)
            self._alive[number] = ref(instruction, partial(_forget, ref(self), number))
        return found

    def row(self, instructions: Sequence[Instruction], whose: object) -> Timed | None:
        """Return what ``instructions`` take one after another, None if not all are kernels of a device.

        Remembered for ``whose`` they are, a routine or a piece.
        """
        found = self._rows.get(whose)
        if found is None:
            kernels = [each for each in instructions if isinstance(each, Compute) and not each.on_host]
            if len(kernels) < len(instructions):
                return None
            found = self._rows[whose] = run_of([self.timed(each) for each in kernels])
        return found

    def forget(self, number: int) -> None:
        """Drop what is remembered of the instruction with that identity."""
        del self._timed[number], self._alive[number]

    def _priced(self, instruction: Compute) -> Timed:
        seconds = launched = launching = 0.0
        launch_s = self._dispatch.launch_s(self._host_launch_s, instruction.activity)
        waited_s = self._dispatch.wait_s
        slowing = self._beside.get(instruction.activity)
        products = others = self._slowdown
        if slowing is not None:
            products, others = products * slowing.products, others * slowing.others
        for operator in instruction.operators:
            slower = products if operator.family in _PRODUCTS else others
            kernel = quantize(self._cost.seconds(operator, self._precision) * slower + operator.launches * waited_s)
            launching += quantize(operator.launches * launch_s)
            launched = max(launched, launching) + kernel
            seconds += kernel
        return Timed.of(Segment(instruction.label, Kind.BUSY, instruction.activity, seconds), launched, launching)


def _forget(kernels: ref[Kernels], number: int, _: ref[Compute]) -> None:
    if (alive := kernels()) is not None:
        alive.forget(number)


@lru_cache(maxsize=DEVICES_KEPT)
def kernels(
    cost: ComputeCost,
    precision: str,
    host_launch_s: float,
    slowdown: float,
    beside: tuple[Slowing, ...] = (),
    dispatch: Dispatch = NOTHING,
) -> Kernels:
    """Return :class:`Kernels`, the same for equal arguments."""
    return Kernels(cost, precision, host_launch_s, slowdown, beside, dispatch)
