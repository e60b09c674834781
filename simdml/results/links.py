"""How much each link carries in a step, counted from the program."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from simdml.engine.execution import Execution
from simdml.engine.flows import COMMUNICATION, Communication


@dataclass(frozen=True, slots=True)
class LinkLoad:
    """A class of equal links: one of them by name, its kind, bytes a step, and the share of its capacity in use."""

    name: str
    kind: str
    bytes_per_step: float
    capacity_bytes_per_s: float
    utilisation: float


def link_loads(execution: Execution, step_time_s: float) -> list[LinkLoad]:
    """Return the load of every link class that is used, busiest first."""
    links = execution.cluster.links
    loads = []
    for index, nbytes in link_bytes(execution).items():
        link = execution.partition.link_representatives[index]
        capacity = float(links.capacity_bytes_per_s[link])
        loads.append(LinkLoad(links.name(link), links.kind(link), nbytes, capacity, nbytes / capacity / step_time_s))
    return sorted(loads, key=lambda load: (-load.utilisation, load.name))


def link_bytes(execution: Execution) -> dict[int, float]:
    """Return the bytes a step puts on every link class that is used."""
    partition, program = execution.partition, execution.program
    carried: dict[int, float] = defaultdict(float)
    counted: set[tuple[int, object]] = set()
    for rank in partition.representatives:
        rank_program = program.classes[program.class_of_rank[rank]]
        for stream in rank_program.streams:
            issued: Counter[Communication] = Counter()
            for instruction, times in stream.counts:
                if isinstance(instruction, COMMUNICATION):
                    issued[instruction] += times
            for communication, times in issued.items():
                flow = int(partition.flow_class[execution.table.find(communication, rank)])
                if (flow, communication) in counted:
                    continue
                counted.add((flow, communication))
                for link, weight in partition.weights[flow].items():
                    carried[link] += times * weight * communication.payload_bytes / getattr(communication, "every", 1)
    return carried
