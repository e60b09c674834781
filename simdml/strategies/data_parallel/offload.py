"""Optimizer state in the memory of the node: gradients go down, the processors update, weights come back.

Ren et al., "ZeRO-Offload" (arXiv 2101.06840), section 4; deepspeed/runtime/zero/stage_1_and_2.py and stage3.py
(offload_optimizer), deepspeed/ops/adam/cpu_adam.py; CPUOffloadPolicy of torch/distributed/fsdp/_fully_shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from simdml.program.instructions import HostCopy, Instruction, Record, Wait
from simdml.program.program import Stream

Offload = Literal["none", "cpu"]


@dataclass(slots=True)
class ToHost:
    """Copies of gradients to the host on a stream of their own, each as soon as it is reduced."""

    instructions: list[Instruction] = field(default_factory=list)
    _last: str | None = None
    _copies: int = 0

    def copy(self, payload_bytes: float, after: str) -> None:
        """Issue a copy after the event ``after``."""
        self._copies += 1
        self._last = f"on host {self._copies}"
        copied = HostCopy("gradients to host", payload_bytes, to_host=True)
        self.instructions += [Wait(after), copied, Record(self._last)]

    def wait(self) -> Iterator[Instruction]:
        """Yield the compute stream's wait for the last copy."""
        if self._last is not None:
            yield Wait(self._last)
            self._last = None

    def streams(self) -> Iterable[Stream]:
        """Return the stream, none if nothing was copied."""
        return (Stream("to host", tuple(self.instructions)),) if self.instructions else ()
