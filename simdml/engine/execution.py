"""An execution: streams and shards ready to run, and what each of their operations stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from simdml.cluster.cluster import Cluster
from simdml.engine.consistency import Chief
from simdml.engine.convoy import Convoy
from simdml.engine.crew import Crew
from simdml.engine.environment import SimEnvironment
from simdml.engine.flows import FlowTable
from simdml.engine.folding import Partition
from simdml.engine.network import Network
from simdml.engine.operations import Event
from simdml.engine.server import Shard
from simdml.engine.stream import Stream
from simdml.program.program import Program

PEERS: Final = "waiting for peers"
"""The account of time spent until others have come to a collective."""


class Kind(StrEnum):
    """What an operation's own time (start to end) is; JOINT is BUSY that began when the last of a group came."""

    BUSY = "busy"
    JOINT = "joint"
    COMMUNICATION = "communication"
    WAIT = "wait"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an operation: its label, how its time is booked (an activity, or a group or axis), its seconds."""

    label: str
    kind: Kind
    account: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one operation of a stream stands for.

    ``segments`` divide the time of a BUSY operation in order; others have one segment whose seconds are not known
    beforehand. ``account`` of communication is the group or axis it belongs to.
    """

    label: str
    kind: Kind
    account: str
    segments: tuple[Segment, ...] = ()
    payload_bytes: float = 0.0


@dataclass(slots=True)
class RankExecution:
    """The streams of one representative rank and the meaning of each operation, both by stream, and its events."""

    rank: int
    program_class: int
    streams: list[Stream]
    meanings: list[list[Meaning]]
    events: Mapping[str, Event]

    def add(self, stream: Stream, meanings: list[Meaning]) -> None:
        """Add a stream whose operations have ``meanings``."""
        self.streams.append(stream)
        self.meanings.append(meanings)


@dataclass(slots=True)
class Execution:
    """Everything the simulator needs, built by :func:`simdml.engine.lowering.lower`.

    Streams of ``crews`` run several ranks' first streams, those of ``convoys`` others of theirs. ``chief`` keeps
    the global step of servers with backup workers. Streams blame and await each other, so they are taken apart with the
    execution: nothing of a run that nobody needs any more is left to the cycle collector.
    """

    program: Program
    cluster: Cluster
    env: SimEnvironment
    network: Network
    table: FlowTable
    partition: Partition
    ranks: list[RankExecution]
    shards: list[Shard]
    chief: Chief
    crews: list[Crew] = field(default_factory=list)
    convoys: list[Convoy] = field(default_factory=list)

    def __del__(self) -> None:
        """Take apart what refers to each other: what is to happen, and what streams do and have recorded."""
        self.env.clear()
        self.network.clear()
        for rank in self.ranks:
            for stream in rank.streams:
                stream.end()
            for event in rank.events.values():
                event.waits.clear()
        for together in (*self.convoys, *self.crews):
            together.end()
        for shard in self.shards:
            shard.clear()
