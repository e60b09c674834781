"""How long a pipeline's micro-batches take to pass, each stage and message by itself: its actions as a timed graph.

Devices run their actions in order, each when its input is there, so ends are the longest paths of a graph: not later
than in any run in which stages and messages take as long or longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
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
    """The actions of all devices in an order in which every one comes after what it needs."""

    depth: int
    nodes: tuple[Node, ...]

    def first_end_s(self, stages: Seconds, hop_s: float, receive_s: float, *, waits: bool) -> float:
        """Return when the first device has run all of its actions, from the beginning of its step.

        A message takes ``hop_s`` and is taken in in ``receive_s``; a device ``waits`` until what it sent is there.
        """
        parts = [part.tolist() for part in (stages.forward, stages.backward, stages.inputs, stages.weights)]
        ends, there = [0.0] * self.depth, [0.0] * len(self.nodes)
        waited_s = hop_s if waits else 0.0
        for index, (device, phase, stage, needed, elsewhere, leaves) in enumerate(self.nodes):
            begin = ends[device]
            if needed >= 0:
                arrived = there[needed] + hop_s if elsewhere else there[needed]
                begin = max(arrived, begin)
                if elsewhere:
                    begin += receive_s
            end = there[index] = begin + parts[phase][stage]
            ends[device] = end + waited_s if leaves else end
        return ends[0]


@lru_cache(maxsize=GRAPHS_KEPT)
def graph_of(schedule: str, depth: int, num_microbatches: int, chunks: int) -> Graph:
    """Return the graph of a schedule that can be had with these numbers; stops where it would wait for ever."""
    found, placement = find_schedule(schedule), placement_of(schedule, depth, chunks)
    actions = [found.order(device, depth, num_microbatches, chunks) for device in range(depth)]
    return Graph(depth, tuple(_nodes(actions, placement)))


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
