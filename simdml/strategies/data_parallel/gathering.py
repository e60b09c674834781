"""Which units' parameters are whole on a rank, and the all-gathers that make them so."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Final

from simdml.program.instructions import (
    Activity,
    Collective,
    CollectiveKind,
    Compute,
    HostCopy,
    Instruction,
    Record,
    Wait,
)
from simdml.strategies.data_parallel.replica import CommunicationStream
from simdml.strategies.data_parallel.units import Unit
from simdml.strategies.job import Job
from simdml.workload.operators import Family, Phase, memory_bound

REPLICATE: Final = "dp_replicate"
ORIGINAL_BYTES: Final = 4
"""Bytes of a sharded parameter and of its sharded gradient: the type the model was made with, fp32."""
STEP_BEGINS: Final = "step begins"
IN_FLIGHT: Final = 2
"""FSDP1's all-gathers under way before the host waits (_flat_param.py, _max_num_inflight_all_gathers)."""


def copy(label: str, read_bytes: float, written_bytes: float) -> Compute:
    """Return a kernel that moves or converts a tensor."""
    operator = memory_bound(
        label, Family.COPY, read_bytes=read_bytes, written_bytes=written_bytes, element_bytes=4, phase=Phase.UPDATE
    )
    return Compute(label, Activity.CAST, (operator,))


@dataclass(slots=True)
class Gathering:
    """All-gathers of units over the ranks that shard them, issued on ``stream`` when a unit is used or prefetched.

    The base class lets an all-gather begin as soon as the stream comes to it.
    """

    job: Job
    stream: CommunicationStream
    in_backward: bool = False
    from_host: bool = False
    """Whether shards are copied from the host first."""
    _pending: dict[str, str] = field(default_factory=dict)
    _whole: set[str] = field(default_factory=set)
    _issued: int = 0

    copies_in: ClassVar[bool] = False
    """Whether shards are copied into one buffer even where nothing is converted."""

    def use(self, units: Iterable[Unit]) -> Iterator[Instruction]:
        """Yield what the compute stream does to have ``units`` whole."""
        for unit in units:
            if unit.name not in self._whole:
                self.prefetch((unit,))
                yield Wait(self._pending.pop(unit.name))
                yield from self._arrived(unit)
                self._whole.add(unit.name)

    def prefetch(self, units: Iterable[Unit]) -> None:
        """Issue the all-gathers of those ``units`` that are neither whole nor on their way."""
        for unit in units:
            if unit.name not in self._whole and unit.name not in self._pending:
                self._gather(unit)

    def _gather(self, unit: Unit) -> None:
        weight, shard = self.job.training.weight_bytes, unit.shard
        waits = self._waits() if self._issued else [STEP_BEGINS]
        self._issued += 1
        event = self._pending[unit.name] = f"gathered {unit.name}, {self._issued}"
        self.stream.instructions += [Wait(wait) for wait in waits]
        if self.from_host:
            self.stream.instructions.append(HostCopy("shard to gather", float(ORIGINAL_BYTES * shard), to_host=False))
        if weight != ORIGINAL_BYTES or self.copies_in:
            self.stream.instructions.append(copy("shard to gather", ORIGINAL_BYTES * shard, weight * shard))
        payload = float(weight * shard * unit.ranks)
        message = Collective(unit.name, CollectiveKind.ALL_GATHER, unit.group, payload) if unit.ranks > 1 else None
        self.stream.run(message, done=event)

    def free(self, units: Iterable[Unit]) -> Iterator[Instruction]:
        """Yield what the compute stream does when it needs ``units`` no longer."""
        for unit in units:
            self._whole.discard(unit.name)
            yield from self._freed()

    def forward_ends(self) -> Iterator[Instruction]:
        """Yield what comes at the end of forward."""
        yield from ()

    def _waits(self) -> list[str]:
        return []

    def _arrived(self, unit: Unit) -> Iterator[Instruction]:
        del unit
        yield from ()

    def _freed(self) -> Iterator[Instruction]:
        yield from ()


@dataclass(slots=True)
class RateLimited(Gathering):
    """FSDP1: units are used where they arrive; with ``limited`` the host waits before a third all-gather.

    An all-gather takes the oldest of two recorded frees and waits for it (limit_all_gathers; _limiter_utils.py,
    _runtime_utils.py _unshard). The host's own delay while it waits is not modelled.
    """

    limited: bool = True
    _frees: deque[str] = field(default_factory=deque)
    _count: int = 0

    def _waits(self) -> list[str]:
        return [self._frees.popleft()] if self.limited and len(self._frees) >= IN_FLIGHT else []

    def _freed(self) -> Iterator[Instruction]:
        self._count += 1
        event = f"freed {self._count}"
        self._frees.append(event)
        yield Record(event)


@dataclass(slots=True)
class CopiedOut(Gathering):
    """FSDP2: a gathered buffer is copied out into parameters on the compute stream.

    In forward an all-gather waits for the copy-out before the last one, so that it overlaps with the latest; in
    backward it waits for the last copy-out (_fsdp_param_group.py, wait_for_unshard).
    """

    copies_in: ClassVar[bool] = True
    _latest: str | None = None
    _awaited: list[str] = field(default_factory=list)

    def forward_ends(self) -> Iterator[Instruction]:
        """Let later all-gathers wait for the last copy-out."""
        self._let_go()
        yield from ()

    def _waits(self) -> list[str]:
        waits, self._awaited = self._awaited, []
        return waits

    def _arrived(self, unit: Unit) -> Iterator[Instruction]:
        self._let_go()
        size = float(self.job.training.weight_bytes * unit.elements)
        event = f"copied out {unit.name}, {self._issued}"
        yield copy("gathered parameters", size, size)
        yield Record(event)
        self._latest = event
        if self.in_backward:
            self._let_go()

    def _let_go(self) -> None:
        if self._latest is not None:
            self._awaited.append(self._latest)
        self._latest = None
