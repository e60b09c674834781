"""Token buckets: what a link that was idle passes at once.

A link shaped with ``tc tbf`` saves up to the depth of its bucket while it is idle and passes that much unshaped when
traffic comes (tc-tbf(8)). A run without it shows when each link is idle; the transfers that end a pause share what it
saved, and what they got free is taken off their payloads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from simdml.engine.simulator import Recording
from simdml.program.instructions import Collective, Instruction, Pull, Push, Send
from simdml.program.program import Program

ROUNDS: Final = 3
"""Rounds after which pauses and free bytes agree well enough: the second changes step times by per mille."""

Place = tuple[int, int, int]
"""A rank class, one of its streams, and an instruction of it."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer of a recording: its place, when it moved, and its bytes on every shaped link a payload byte."""

    place: Place
    begin: float
    end: float
    weights: Mapping[int, float]


def with_buckets(program: Program, run: Callable[[Program], Recording], depth_bytes: float) -> Recording:
    """Return the run of ``program`` on links with buckets of ``depth_bytes``, all full when a step begins quietly.

    ``run`` simulates without coarsening or folding.
    """
    recording = run(program)
    for _ in range(ROUNDS):
        recording = run(_lightened(program, free_bytes(list(transfers(recording)), recording, depth_bytes)))
    return recording


def transfers(recording: Recording) -> Iterator[Transfer]:
    """Yield the transfers on NICs of the steps that the recording still has, a collective once."""
    execution = recording.execution
    links = execution.cluster.links
    for rank in execution.ranks:
        streams = execution.program.classes[rank.program_class].streams
        for number, (stream, program) in enumerate(zip(rank.streams, streams, strict=True)):
            instructions = tuple(program.written_out())
            for entry in stream.entries:
                instruction = instructions[entry.operation]
                if not isinstance(instruction, Collective | Send | Push | Pull):
                    continue
                table = execution.table
                if isinstance(instruction, Collective) and rank.rank != table.members(instruction, rank.rank)[0]:
                    continue
                used = table.loads(instruction, rank.rank).items()
                shaped = {link: weight for link, weight in used if links.kind(link) == "nic"}
                place = rank.program_class, number, entry.operation
                yield Transfer(place, max(entry.start, entry.ready), entry.end, shaped)


def free_bytes(found: list[Transfer], recording: Recording, depth_bytes: float) -> dict[Place, float]:
    """Return the payload bytes each place of the program gets free, averaged over its transfers.

    A transfer is as fast as its slowest link, so it gains what the stingiest gives.
    """
    capacity = recording.execution.cluster.links.capacity_bytes_per_s
    by_link: dict[int, list[int]] = defaultdict(list)
    for number, transfer in enumerate(found):
        for link in transfer.weights:
            by_link[link].append(number)
    gains: dict[int, list[float]] = defaultdict(list)
    for link, users in by_link.items():
        shares = _shares([(found[user].begin, found[user].end) for user in users], depth_bytes, float(capacity[link]))
        for user, share in zip(users, shares, strict=True):
            gains[user].append(share / found[user].weights[link])
    collected: dict[Place, list[float]] = defaultdict(list)
    for number, each in gains.items():
        collected[found[number].place].append(min(each))
    return {place: sum(values) / len(values) for place, values in collected.items()}


def _shares(spans: list[tuple[float, float]], depth_bytes: float, bytes_per_s: float) -> list[float]:
    """Return the bytes each (begin, end) of one link gets from its bucket.

    Those that begin together after a pause share what it saved equally.
    """
    shares = [0.0] * len(spans)
    order = sorted(range(len(spans)), key=lambda number: spans[number])
    busy_until = None
    position = 0
    while position < len(order):
        begin = spans[order[position]][0]
        together = [number for number in order[position:] if spans[number][0] - begin <= depth_bytes / bytes_per_s]
        if busy_until is None or begin > busy_until:
            pause_s = begin - busy_until if busy_until is not None else depth_bytes / bytes_per_s
            saved = min(depth_bytes, pause_s * bytes_per_s)
            for number in together:
                shares[number] = saved / len(together)
        busy_until = max(busy_until or 0.0, *(spans[number][1] for number in together))
        position += len(together)
    return shares


def _lightened(program: Program, free: Mapping[Place, float]) -> Program:
    def lighter(instruction: Instruction, place: Place) -> Instruction:
        if isinstance(instruction, Collective | Send | Push | Pull) and place in free:
            return replace(instruction, payload_bytes=max(1.0, instruction.payload_bytes - free[place]))
        return instruction

    return replace(
        program,
        classes=tuple(
            replace(
                each,
                streams=tuple(
                    replace(
                        stream,
                        instructions=tuple(
                            lighter(instruction, (index, number, position))
                            for position, instruction in enumerate(stream.written_out())
                        ),
                    )
                    for number, stream in enumerate(each.streams)
                ),
            )
            for index, each in enumerate(program.classes)
        ),
    )
