"""A job's pipeline: what every device runs, and where each stage's output goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final, Literal

from simdml.errors import InfeasibleError
from simdml.program.mesh import Group
from simdml.strategies.job import Job
from simdml.strategies.schedules import Action, Placement, Schedule, find_schedule
from simdml.strategies.schedules.placement import Slot
from simdml.workload.model import Model

EMBEDDING = "embedding"
"""The group of the first and the last stage, which both hold a tied embedding (Megatron-LM)."""

ORDERS_KEPT: Final = 16
Way = Literal["forward", "backward"]


@dataclass(frozen=True, slots=True)
class Hop:
    """A message along a path, to the device ``offset`` further: what stage ``boundary`` hands on, or its gradient.

    ``into`` is the stage that gets it.
    """

    way: Way
    offset: int
    boundary: int
    into: int
    channel: str


@dataclass(frozen=True)
class Pipeline:
    """``actions[device]`` of every device in a step, ``beforehand`` in the first alone, and where the stages live."""

    schedule: Schedule
    depth: int
    placement: Placement
    actions: tuple[Sequence[Action], ...]
    beforehand: tuple[Sequence[Action], ...]

    @property
    def update_each(self) -> bool:
        """Whether weights are updated after every micro-batch."""
        return self.schedule.update_each

    def weight_versions(self, device: int) -> int:
        """Return how many versions of its weights a device keeps."""
        return self.schedule.weight_versions(device, self.depth)

    @classmethod
    def of(cls, job: Job, model: Model) -> Pipeline:
        """Return the pipeline of ``job``, which trains ``model``.

        Raises:
            InfeasibleError: if the schedule cannot be had with these numbers, or not for this model.
        """
        depth, chunks = job.mesh.size("pp"), job.pipeline.chunks
        schedule, microbatches = find_schedule(job.pipeline.schedule), job.training.num_microbatches
        pipeline = cls(
            schedule,
            depth,
            schedule.placement(depth, chunks),
            *_orders(schedule, depth, microbatches, chunks),
        )
        if schedule.update_each and model.tied and pipeline.tied_devices:
            raise InfeasibleError(
                f"{schedule.name} updates every stage by itself, and {model.name} shares its embedding between the "
                "first and the last stage, which would wait for each other after every micro-batch",
                hint="pipedream_2bw, 1f1b, or a model without a tied embedding",
            )
        return pipeline

    def stages_on(self, device: int) -> list[int]:
        """Return the stages of a device's chunks."""
        return self._stages[device]

    @cached_property
    def _stages(self) -> list[list[int]]:
        stages: list[list[int]] = [[] for _ in range(self.depth)]
        for (device, _), (_, stage) in sorted(self.placement.stages.items()):
            stages[device].append(stage)
        return stages

    def hop_before(self, device: int, action: Action) -> Hop | None:
        """Return the message that ``action`` waits for, None if its input is made on the device."""
        if action.phase == "W":
            return None
        arrivals, _ = self._hops[device, action.chunk, _way(action)]
        return self._of_microbatch(arrivals, action)

    def hop_after(self, device: int, action: Action) -> Hop | None:
        """Return the message that ``action`` gives rise to, None if nothing leaves the device."""
        if action.phase == "W":
            return None
        _, departures = self._hops[device, action.chunk, _way(action)]
        return self._of_microbatch(departures, action)

    def _of_microbatch(self, hop: Hop | None, action: Action) -> Hop | None:
        """Return the hop, on a channel of its own where the receiver has another order of micro-batches."""
        if hop is None or hop.channel not in self._out_of_order:
            return hop
        return replace(hop, channel=f"{hop.channel}, micro-batch {action.microbatch}")

    @cached_property
    def _hops(self) -> dict[tuple[int, int, Way], tuple[Hop | None, Hop | None]]:
        """The message before and the one after each slot, each way."""
        hops: dict[tuple[int, int, Way], tuple[Hop | None, Hop | None]] = {}
        for slot in self.placement.stages:
            device, chunk = slot
            before, after = self.placement.before(slot), self.placement.after(slot)
            hops[device, chunk, "forward"] = (
                self._hop("forward", slot, before, into=slot),
                self._hop("forward", slot, after, into=after),
            )
            hops[device, chunk, "backward"] = (
                self._hop("backward", slot, after, into=slot),
                self._hop("backward", slot, before, into=before),
            )
        return hops

    def _hop(self, way: Way, here: Slot, there: Slot | None, *, into: Slot | None) -> Hop | None:
        if there is None or into is None or there[0] == here[0]:
            return None
        copy, stage = self.placement.stages[into]
        boundary = stage - 1 if way == "forward" else stage
        return Hop(way, self._shorter(there[0] - here[0]), boundary, stage, _channel(way, stage, copy))

    def _shorter(self, offset: int) -> int:
        """Return the shorter way round the ring of devices; forward of two equal ones."""
        onward = offset % self.depth
        return onward if 2 * onward <= self.depth else onward - self.depth

    @cached_property
    def _out_of_order(self) -> set[str]:
        """The channels whose receiver takes micro-batches in another order than its sender has them."""
        orders: dict[tuple[Way, int, int], list[int]] = {}
        for device, actions in enumerate(self.actions):
            for action in actions:
                if action.phase != "W":
                    copy, stage = self.placement.stages[device, action.chunk]
                    orders.setdefault((_way(action), copy, stage), []).append(action.microbatch)
        return {
            _channel(way, stage, copy)
            for (way, copy, stage), order in orders.items()
            if order != orders.get((way, copy, stage - 1 if way == "forward" else stage + 1), order)
        }

    def stream(self, hop: Hop) -> str:
        """Return the name of the stream a message leaves by: one a direction, and one a peer on bent paths."""
        if len(self._offsets[hop.way]) == 1:
            return f"send {hop.way}"
        return f"send {hop.way} {hop.offset:+d}"

    @cached_property
    def _offsets(self) -> dict[Way, set[int]]:
        offsets: dict[Way, set[int]] = {"forward": set(), "backward": set()}
        for _, departure in self._hops.values():
            if departure is not None:
                offsets[departure.way].add(departure.offset)
        return offsets

    @cached_property
    def tied_devices(self) -> tuple[int, ...]:
        """The devices of the first and the last stage, if those are two devices with nothing else in common."""
        ends = tuple(sorted({self.placement.paths[0][0][0], self.placement.paths[0][-1][0]}))
        return ends if len(ends) > 1 and len(self.placement.paths) == 1 else ()

    def copies_group(self, device: int) -> str | None:
        """Return the group of the devices that hold the same stages of other copies; None if there is one copy."""
        peers = self._holders(device)
        return None if len(peers) == 1 else f"copies on {' and '.join(map(str, peers))}"

    def _holders(self, device: int) -> tuple[int, ...]:
        if len(self.placement.paths) == 1:
            return (device,)
        mine = sorted(self.stages_on(device))
        return tuple(other for other in range(self.depth) if sorted(self.stages_on(other)) == mine)

    def groups(self) -> list[Group]:
        """Return the groups whose members are stages of one pipeline."""
        groups = [Group(EMBEDDING, ("pp",), only=("pp", self.tied_devices))] if self.tied_devices else []
        for device in range(self.depth):
            name, members = self.copies_group(device), self._holders(device)
            if name is not None and members[0] == device:
                groups.append(Group(name, ("pp",), only=("pp", members)))
        return groups


_Orders = tuple[Sequence[Action], ...]


@lru_cache(maxsize=ORDERS_KEPT)
def _orders(schedule: Schedule, depth: int, microbatches: int, chunks: int) -> tuple[_Orders, _Orders]:
    """Return what every device does in a step, and what it does once before."""
    devices = range(depth)
    return (
        tuple(schedule.actions(device, depth, microbatches, chunks) for device in devices),
        tuple(schedule.actions_before(device, depth, microbatches, chunks) for device in devices),
    )


def _way(action: Action) -> Way:
    return "forward" if action.phase == "F" else "backward"


def _channel(way: Way, stage: int, copy: int) -> str:
    return f"{way} into stage {stage}" + (f" of copy {copy}" if copy else "")
