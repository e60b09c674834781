"""Crews: ranks that meet in joint stretches throughout, run by one stream with a time for each of them.

Members of a group that run one program wait for each other in every joint stretch. What one of them waits for on its
own, a message or a record, is waited for by all at the next joint stretch. If a joint stretch lies between everything
they wait for and everything that others wait for, nobody can tell whether they go on one by one or together, as soon as
the last of them can: every time is known to be the same. So they go together, an operation at a time for all members,
and what each has recorded is worked out when somebody wants to read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Final, Protocol, cast

from simdml.engine import operations as ops
from simdml.engine.environment import SimEnvironment
from simdml.engine.stream import STEPS_KEPT, Agenda, Host, Operation, Stream
from simdml.engine.track import Blame, Entry, Track

Times = Sequence[float]
"""A time for every member, in seconds on the tick."""
Message = tuple[float, float, Blame | None]
"""When something that was waited for began and ended, and what it was due to."""
PASSED: Final[Message] = (-inf, -inf, None)
"""In place of something that happened before it was waited for."""
Cell = tuple[int, Times, object]
"""What a crew has done: the number of its operation, when members were ready for it, and what else there is to know."""


@dataclass(slots=True)
class Messages:
    """Messages to all members: when each began and ended, and how many entries after ``positions`` of its source."""

    starts: Times
    ends: Times
    sources: Sequence[Track]
    positions: Sequence[int]
    after: int

    def to(self, member: int) -> tuple[float, float, Blame]:
        """Return the message to one member."""
        blame = Blame(self.sources[member], self.positions[member] + self.after)
        return self.starts[member], self.ends[member], blame

    def ordered(self, order: Sequence[int]) -> Messages:
        """Return those of senders in that order."""
        return Messages(
            [self.starts[number] for number in order],
            [self.ends[number] for number in order],
            [self.sources[number] for number in order],
            [self.positions[number] for number in order],
            self.after,
        )


class Delivery:
    """Where messages to all members of ``crew`` arrive together; ``channels`` are where one by one do.

    ``order`` has the number of its sender by receiving member, if these are others. The crew may be ``awaiting`` all
    of the next ones. While it is ``parted``, senders deliver one by one.
    """

    __slots__ = ("_mixed", "awaiting", "channels", "crew", "messages", "order", "parted")

    def __init__(self, crew: Crew, channels: Sequence[ops.Channel]) -> None:
        self.crew = crew
        self.channels = channels
        self.order: Sequence[int] | None = None
        self.messages: deque[Messages] = deque()
        self.awaiting = False
        self.parted = False
        self._mixed = False

    def deliver(self, messages: Messages) -> None:
        """Messages that senders sent have arrived."""
        if self.order is not None:
            messages = messages.ordered(self.order)
        if self.awaiting:
            self.awaiting = False
            self.crew.take(messages)
            self.crew.go_on()
        elif self._mixed and any(channel.messages or channel.receiver for channel in self.channels):
            for member, channel in enumerate(self.channels):
                channel.deliver(*messages.to(member))
        else:
            self._mixed = False
            self.messages.append(messages)

    def expect(self, crew: Crew) -> bool | None:
        """Let ``crew`` take the next messages, and return whether they have come; None if they come one by one."""
        if self.messages:
            crew.take(self.messages.popleft())
            return True
        if self._mixed and (self.parted or any(channel.messages for channel in self.channels)):
            return None
        self.awaiting = True
        return False

    def part(self) -> None:
        """Let messages be taken one by one from now on."""
        self.parted = self._mixed = True
        for messages in self.messages:
            for member, channel in enumerate(self.channels):
                channel.messages.append(messages.to(member))
        self.messages.clear()
        if self.awaiting:
            self.awaiting = False
            crew = self.crew
            crew.wait([channel.claim(member) for channel, member in zip(self.channels, crew.members, strict=True)])


class CrewOperation(Protocol):
    """Something all members of a crew do, each at its own time."""

    def begin(self, crew: Crew) -> bool:
        """Start; return whether the crew goes on at once."""

    def of_member(self, member: int) -> Sequence[Operation]:
        """Return the operations it stands for on one member's stream, as many for each."""


class Lasting(CrewOperation, Protocol):
    """Something that takes time, and leaves cells behind."""

    def entries(self, cell: Cell, crew: Crew, member: int) -> Iterable[Entry]:
        """Return what a member recorded, as many entries as each; its log has all that came before."""


class Member(Stream):
    """The stream of one member as others see it: as if it ran by itself."""

    def __init__(self, env: SimEnvironment, agenda: Agenda, name: str, rank: int, host: Host) -> None:
        self._ended = False
        self.crew: Crew
        self.number = 0
        super().__init__(env, agenda, name, rank, host)

    @property
    def operations(self) -> Sequence[Operation]:
        """What the member does, made anew for whoever asks."""
        if self._ended:
            return ()
        return [each for operation in self.crew.own for each in operation.of_member(self.number)]

    @operations.setter
    def operations(self, _: Sequence[Operation]) -> None:
        pass

    @property
    def index(self) -> int:
        """The operation in hand, or the first of several that the crew does together."""
        return self.crew.firsts[self.crew.index]

    @index.setter
    def index(self, _: int) -> None:
        pass

    @property
    def step(self) -> int:
        """The step in hand."""
        return self.crew.step

    @step.setter
    def step(self, _: int) -> None:
        pass

    @property
    def ready(self) -> float:
        """When the member has done all before the operation in hand."""
        return self.crew.readies[self.number]

    @ready.setter
    def ready(self, _: float) -> None:
        pass

    @property
    def entries(self) -> list[Entry]:
        """The latest entries in order."""
        self.crew.write_down()
        return self.log

    def launch(self) -> None:
        """Begin the first operation of the first step when all members do."""
        self.crew.launch_one()

    def finish_at(self, start: float, end: float, blame: Blame | None = None) -> None:
        """What the member waited for happens at ``end``."""
        self.crew.told(self.number, (start, end, blame))

    def go_on(self) -> None:
        """What the member waited for happened before."""
        self.crew.told(self.number, PASSED)

    def end(self) -> None:
        """Let go of everything; nothing more is to happen."""
        self._ended = True
        self.log.clear()


class Crew(Stream):
    """The stream of all ``members``; ``readies`` are their clocks.

    Operation ``index`` begins with operation ``firsts[index]`` of each member. ``done`` counts the entries of each.
    ``bases`` are when hosts began to launch the step, later by what they waited; ``latest`` is the last of them. Of
    what members wait for, ``messages`` are those that came, ``missing`` how many did not.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        first = members[0]
        self.members = members
        super().__init__(first.env, first.agenda, first.name, first.rank, first.host)
        self.readies: Times = [0.0] * len(members)
        self.bases: Times = self.readies
        self.latest = 0.0
        self.cells: list[Cell] = []
        self.firsts: list[int] = []
        self.done = 0
        self.messages: list[Message | None] = []
        self.missing = 0
        self._launched = 0
        self._size = 0
        for number, member in enumerate(members):
            member.crew, member.number = self, number

    def take_on(self, operations: Sequence[CrewOperation], repeats_from: int) -> None:
        """Make ``operations`` what the crew does, those from ``repeats_from`` on in every step."""
        self.assign(cast(Sequence[Operation], operations), repeats_from)
        *self.firsts, self._size = 0, *accumulate(len(operation.of_member(0)) for operation in operations)

    @property
    def own(self) -> Sequence[CrewOperation]:
        """What the crew does."""
        return cast(Sequence[CrewOperation], self.operations)

    def launch_one(self) -> None:
        """Begin if all members are launched."""
        self._launched += 1
        if self._launched == len(self.members):
            self.readies = [self.env.now] * len(self.members)
            self.look_at_hosts()
            self.launch()

    def look_at_hosts(self) -> None:
        """Take account of when hosts began to launch."""
        self.bases = [member.host.base + member.late for member in self.members]
        self.latest = max(self.bases)

    def note(self, what: object, size: int) -> None:
        """Record what was done from ``readies`` on, which leaves ``size`` entries of every member."""
        self.cells.append((self.index, self.readies, what))
        self.done += size

    def wait(self, messages: list[Message | None]) -> bool:
        """Go on, at once or as soon as members are told what is missing."""
        self.missing = messages.count(None)
        if self.missing:
            self.messages = messages
            return False
        self.take(cast(list[Message], messages))
        return True

    def told(self, number: int, message: Message) -> None:
        """What a member waited for happens; when it is the last one, all go on."""
        self.messages[number] = message
        self.missing -= 1
        if not self.missing:
            messages, self.messages = self.messages, []
            self.take(cast(list[Message], messages))
            self.go_on()

    def take(self, messages: Messages | Sequence[Message]) -> None:
        """Let every member be ready when it has its message."""
        readies = self.readies
        ends = messages.ends if isinstance(messages, Messages) else [message[1] for message in messages]
        after = list(map(max, readies, ends))
        if after != readies:
            self.note(messages, 1)
            self.readies = after

    def write_down(self) -> None:
        """Write into the members' logs what was done since somebody last read them."""
        cells, self.cells = self.cells, []
        operations = cast(Sequence[Lasting], self.operations)
        for number, member in enumerate(self.members):
            for cell in cells:
                member.log += operations[cell[0]].entries(cell, self, number)

    def forget(self, keep: int) -> None:
        """Drop the members' entries of all but the last steps."""
        if len(self.cells) > keep:
            self.write_down()
            for member in self.members:
                member.forget(STEPS_KEPT * self._size)

    def end(self) -> None:
        """Let go of everything; nothing more is to happen."""
        super().end()
        self.cells.clear()
        self.messages, self.members = [], ()
