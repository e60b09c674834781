"""Where the stages of a model live: on which device, and as which of its chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Slot = tuple[int, int]
"""A device (pipeline coordinate) and one of its chunks."""
Path = tuple[Slot, ...]
"""The slots a micro-batch passes forward, stage by stage."""
Paths = Callable[[int, int], tuple[Path, ...]]
"""``paths(depth, chunks)`` gives the path of each copy of the model over ``depth`` devices."""


def looped(depth: int, chunks: int) -> tuple[Path, ...]:
    """Return one path that goes round all devices once a chunk (Narayanan et al., SC21, section 2.2)."""
    return (tuple((stage % depth, stage // depth) for stage in range(depth * chunks)),)


def v_shaped(depth: int, chunks: int) -> tuple[Path, ...]:
    """Return one path down the devices and back up, so that the first holds both ends (ZB-V, arXiv 2405.15362)."""
    ways = [range(depth) if chunk % 2 == 0 else range(depth - 1, -1, -1) for chunk in range(chunks)]
    return (tuple((device, chunk) for chunk, way in enumerate(ways) for device in way),)


def both_ways(depth: int, chunks: int) -> tuple[Path, ...]:
    """Return two paths, one from each end: two copies of the model (DualPipe, arXiv 2412.19437, section 3.2.1).

    Chunk 0 of a device belongs to the path that starts at its own end.
    """
    del chunks
    half = depth // 2
    down = tuple((device, int(device >= half)) for device in range(depth))
    up = tuple((device, int(device < half)) for device in reversed(range(depth)))
    return (down, up)


@dataclass(frozen=True)
class Placement:
    """The paths of a schedule, and who hands to whom along them."""

    paths: tuple[Path, ...]
    stages: dict[Slot, tuple[int, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        where = {slot: (copy, stage) for copy, path in enumerate(self.paths) for stage, slot in enumerate(path)}
        object.__setattr__(self, "stages", where)

    @property
    def num_stages(self) -> int:
        """Pieces that the model is cut into."""
        return len(self.paths[0])

    def stage(self, slot: Slot) -> int:
        """Return the stage in ``slot``."""
        return self.stages[slot][1]

    def after(self, slot: Slot) -> Slot | None:
        """Return the slot of the next stage, None after the last."""
        return self._beside(slot, 1)

    def before(self, slot: Slot) -> Slot | None:
        """Return the slot of the stage before, None before the first."""
        return self._beside(slot, -1)

    def _beside(self, slot: Slot, step: int) -> Slot | None:
        copy, stage = self.stages[slot]
        beside = stage + step
        return self.paths[copy][beside] if 0 <= beside < self.num_stages else None
