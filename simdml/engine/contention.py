"""Which links can ever be contended: known before anything runs, since a stream moves one transfer at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import fsum, inf

from simdml.engine.bundles import SLACK
from simdml.engine.flows import COMMUNICATION, Communication, FlowTable, signature
from simdml.engine.folding import Partition
from simdml.program.instructions import Collective
from simdml.program.program import Program, Stream


def classes_of(instruction: Communication, rank: int, table: FlowTable, partition: Partition) -> tuple[int, ...]:
    """Return the rank classes that take part in the transfer ``rank`` issues with ``instruction``, rising."""
    members = table.members(instruction, rank)
    return tuple(sorted(set(partition.rank_class[members].tolist())))


def solo_rate(loads: Mapping[int, float], cap: float, capacities: Sequence[float]) -> float:
    """Return the payload rate (bytes/s) of a transfer that has all its links to itself."""
    return min(cap, min((capacities[link] / weight for link, weight in loads.items()), default=inf))


def contended_links(
    program: Program, partition: Partition, table: FlowTable, capacities: Sequence[float]
) -> frozenset[int]:
    """Return the link classes that would be over capacity if everyone who uses them did at once and at full rate.

    A stream, or the streams of one name of the members of a collective together, have one transfer under way at a time,
    or as many as a stream has lanes. The other links never limit anything below the rate it would have alone.
    """
    demand: dict[int, dict[object, float]] = defaultdict(dict)
    transfers = [[_distinct(stream) for stream in each.streams] for each in program.classes]
    for position, rank in enumerate(partition.representatives):
        program_class = program.class_of_rank[rank]
        for number, stream in enumerate(program.classes[program_class].streams):
            for instruction in transfers[program_class][number]:
                user: object = (position, number)
                if isinstance(instruction, Collective):
                    together = classes_of(instruction, rank, table, partition)
                    if len(together) > 1:
                        user = (stream.name, instruction.group, together)
                _, cap = table.price(instruction, rank)
                loads = partition.weights[int(partition.flow_class[table.find(instruction, rank)])]
                rate = solo_rate(loads, cap, capacities) * max(stream.lanes, 1)
                for link, weight in loads.items():
                    demand[link][user] = max(demand[link].get(user, 0.0), weight * rate)
    return frozenset(link for link, users in demand.items() if fsum(users.values()) > capacities[link] * (1 + SLACK))


def _distinct(stream: Stream) -> list[Communication]:
    """Return the transfers of a stream, of those that are priced alike the first."""
    moved = [instruction for instruction, _ in stream.counts if isinstance(instruction, COMMUNICATION)]
    return list({signature(instruction): instruction for instruction in reversed(moved)}.values())
