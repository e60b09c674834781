"""How long a pipeline's micro-batches take to pass, each stage and message by itself: its actions as a timed graph.

Devices run their actions in order, each when its input is there, so ends are the longest paths of a graph: not later
than in any run in which stages and messages take as long or longer. A device begins no step before it has ended the
one before. So steps follow each other at no less than the mean of any cycle of such paths: from where a device begins
to where it ends, or, with two copies of the model, to where the other's first device ends and from there back (the
maximum cycle mean of a max-plus matrix; Baccelli et al., Synchronization and Linearity, 1992, theorem 3.23).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Final

from simdml.strategies.schedules import Action, find_schedule
from simdml.strategies.schedules.placement import Placement
from simdml.studies.plan.blocks import Seconds
from simdml.studies.plan.schedules import placement_of

GRAPHS_KEPT: Final = 512
FORWARD, BACKWARD, INPUTS, WEIGHTS = range(4)
_PHASES: Final = {"F": FORWARD, "B": BACKWARD, "I": INPUTS, "W": WEIGHTS}

Node = tuple[int, int, int, int, bool, bool]
"""Device, phase, stage, the node whose output is needed (-1: none), whether it is elsewhere, whether output leaves."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """The actions of all devices in an order in which every one comes after what it needs.

    ``entries`` are the devices with the first stages of the one or two paths.
    """

    depth: int
    nodes: tuple[Node, ...]
    entries: tuple[int, ...]

    def period_s(self, stages: Seconds, hop_s: float, receive_s: float, *, waits: bool) -> float:
        """Return the least seconds from one step to the next.

        A message takes ``hop_s`` and is taken in in ``receive_s``; a device ``waits`` until what it sent is there.
        """
        parts = [part.tolist() for part in (stages.forward, stages.backward, stages.inputs, stages.weights)]
        spans = [self._ends_s(entry, parts, hop_s, receive_s, hop_s if waits else 0.0) for entry in self.entries]
        alone = max(span[entry] for entry, span in zip(self.entries, spans, strict=True))
        if len(spans) == 1:
            return alone
        (one, other), (from_one, from_other) = self.entries, spans
        return max(alone, (from_one[other] + from_other[one]) / 2)

    def _ends_s(
        self, entry: int, parts: list[list[float]], hop_s: float, receive_s: float, waited_s: float
    ) -> list[float]:
        """Return how long after ``entry`` began its step each device ends its own, as far as one makes it late."""
        ends, there = [-inf] * self.depth, [-inf] * len(self.nodes)
        ends[entry] = 0.0
        for index, (device, phase, stage, needed, elsewhere, leaves) in enumerate(self.nodes):
            begin = ends[device]
            if needed >= 0:
                arrived = there[needed] + hop_s if elsewhere else there[needed]
                begin = max(arrived, begin)
                if elsewhere:
                    begin += receive_s
            end = there[index] = begin + parts[phase][stage]
            ends[device] = end + waited_s if leaves else end
        return ends


@lru_cache(maxsize=GRAPHS_KEPT)
def graph_of(schedule: str, depth: int, num_microbatches: int, chunks: int) -> Graph:
    """Return the graph of a schedule that can be had with these numbers; stops where it would wait for ever."""
    found, placement = find_schedule(schedule), placement_of(schedule, depth, chunks)
    actions = [found.order(device, depth, num_microbatches, chunks) for device in range(depth)]
    return Graph(depth, tuple(_nodes(actions, placement)), tuple(path[0][0] for path in placement.paths))


def _nodes(actions: list[list[Action]], placement: Placement) -> Iterator[Node]:
    produced: dict[tuple[bool, int, int, int], int] = {}
    position = [0] * len(actions)
    ready, number = list(range(len(actions))), 0
    while ready:
        device = ready.pop()
        while position[device] < len(actions[device]):
            action = actions[device][position[device]]
            copy, stage = placement.stages[device, action.chunk]
            path, forward = placement.paths[copy], action.phase == "F"
            needed, elsewhere = -1, False
            source, onward = (stage - 1, stage + 1) if forward else (stage + 1, stage - 1)
            if action.phase != "W" and 0 <= source < len(path):
                output = produced.get((forward, copy, source, action.microbatch))
                if output is None:
                    break
                needed, elsewhere = output, path[source][0] != device
            leaves = action.phase != "W" and 0 <= onward < len(path) and path[onward][0] != device
            if action.phase != "W":
                produced[forward, copy, stage, action.microbatch] = number
            yield device, _PHASES[action.phase], stage, needed, elsewhere, leaves
            number, position[device] = number + 1, position[device] + 1
            if leaves:
                ready.append(path[onward][0])
