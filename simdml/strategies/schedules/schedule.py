"""A pipeline schedule: the order of work on every device, and where the stages live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.placement import Paths, Placement, looped

Order = Callable[[int, int, int, int], list[Action]]
"""``order(device, depth, num_microbatches, chunks)`` gives what one device does in a step.

Raises InfeasibleError where the combination is impossible.
"""


def one_version(device: int, depth: int) -> int:
    """Return the versions of its weights a device keeps under a schedule that flushes the pipeline."""
    del device, depth
    return 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule called ``name``; ``meaning`` says it in one line, ``system`` whose it is.

    A device holds ``chunks`` pieces of the model, or another number if ``any_chunks``. ``waits_for_sends`` is what the
    system it comes from does by default. A schedule without flush gives in ``warm_up`` what each device does once,
    before its first step; micro-batches then are in flight across steps, and ``weight_versions(device, depth)`` are
    kept. ``update_each`` updates the weights after every micro-batch.
    """

    name: str
    meaning: str
    order: Order
    paths: Paths = looped
    chunks: int = 1
    any_chunks: bool = False
    waits_for_sends: bool = False
    warm_up: Order | None = None
    weight_versions: Callable[[int, int], int] = one_version
    update_each: bool = False
    system: str = ""

    def actions(self, device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
        """Return what ``device`` does in a step.

        Raises:
            InfeasibleError: numbers that do not go with the schedule, or an order that leaves something out.
        """
        self.check_chunks(chunks)
        actions = self.order(device, depth, num_microbatches, chunks)
        self._check_complete(device, actions, num_microbatches // len(self.paths(depth, chunks)))
        return actions

    def actions_before(self, device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
        """Return what ``device`` does once, before its first step."""
        return [] if self.warm_up is None else self.warm_up(device, depth, num_microbatches, chunks)

    def placement(self, depth: int, chunks: int) -> Placement:
        """Return where the stages live; raises InfeasibleError where they cannot."""
        self.check_chunks(chunks)
        return Placement(self.paths(depth, chunks))

    def check_chunks(self, chunks: int) -> None:
        """Refuse a number of chunks that the schedule does not have.

        Raises:
            InfeasibleError: with the number it has.
        """
        if chunks != self.chunks and not self.any_chunks:
            has = "one chunk" if self.chunks == 1 else f"{self.chunks} chunks"
            raise InfeasibleError(
                f"{self.name} has {has} on each device, not {chunks}",
                hint=f"chunks: {self.chunks}, or a schedule with any number of chunks, such as interleaved_1f1b",
            )

    def _check_complete(self, device: int, actions: Sequence[Action], microbatches: int) -> None:
        """Refuse an order in which some micro-batch does not pass every chunk forward and backward exactly once."""
        counts: dict[str, Counter[tuple[int, int]]] = {phase: Counter() for phase in "FBIW"}
        for action in actions:
            counts[action.phase][action.chunk, action.microbatch] += 1
        backwards = counts["B"] + counts["I"]
        complete = (
            counts["F"] == backwards == counts["B"] + counts["W"]
            and set(counts["F"].values()) <= {1}
            and all(count == microbatches for count in Counter(chunk for chunk, _ in counts["F"]).values())
        )
        if self.warm_up is None and not complete:
            raise InfeasibleError(
                f"{self.name}: device {device} does not run every one of {microbatches} micro-batches once forward and "
                "once backward through each of its chunks",
                hint="F and B of every micro-batch and chunk, or F, I and W",
            )
