"""The instruction set of a Program.

Instructions are frozen values: one object may stand in a stream many times, and equal instructions cost the same.
``Record``/``Wait`` and ``Send``/``Recv`` are matched in order: the k-th wait for an event is released by its k-th
record, the k-th receive on a channel takes the k-th message. So a step can be repeated without renaming anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from simdml.workload.operators import Operator

INPUT: Final = "input"
"""The account of training data on its way to a device."""

PEER_COPIES: Final = "peer_copies"
"""The transport of collectives made of plain copies between devices."""
ROOT_COPIES: Final = "root_copies"
"""That of a root which copies to or from every other device of its process."""
HIERARCHICAL_COPIES: Final = "hierarchical_copies"
"""That of copies over the links of a cube mesh (HierarchicalCopyAllReduce)."""
HOST_COPIES: Final = "host_copies"
"""That of devices which copy what they have to their host, or get it from there."""
HOST_PARTS: Final = "host_parts"
"""The same, every device a part of it."""
GRPC_RING: Final = "grpc_ring"
"""The ring of a runtime over its own connections."""


class CollectiveKind(StrEnum):
    """Collective operations; payload sizes follow nccl-tests (the larger of a rank's input and output)."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    BROADCAST = "broadcast"
    REDUCE = "reduce"
    ALL_TO_ALL = "all_to_all"
    SCATTER = "scatter"
    GATHER = "gather"
    SEND_RECV = "send_recv"
    SHIFT = "shift"
    """Every member sends to the next one round the group."""


class Activity(StrEnum):
    """What the time of a compute instruction is booked as."""

    FORWARD = "forward"
    BACKWARD = "backward"
    RECOMPUTE = "recompute"
    OPTIMIZER = "optimizer"
    CAST = "gradient copies"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Compute:
    """Run ``operators`` one after another: on the device, or ``on_host``, the rank's share of its node's processors."""

    label: str
    activity: Activity
    operators: tuple[Operator, ...]
    on_host: bool = False


@dataclass(frozen=True, slots=True)
class Collective:
    """Take part in a collective of ``payload_bytes`` over the communicator of ``group``.

    ``transport`` names a cost model other than the job's default (``"peer_copies"`` for sums made of plain copies).
    Members meet in the order of their collectives, or by ``tag`` where that order is not fixed.
    """

    label: str
    kind: CollectiveKind
    group: str
    payload_bytes: float
    transport: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``payload_bytes`` to the rank ``offset`` further along ``axis``; the stream waits until they left."""

    label: str
    axis: str
    offset: int
    payload_bytes: float
    channel: str


@dataclass(frozen=True, slots=True)
class Recv:
    """Wait for the next message on ``channel`` from the rank ``offset`` further along ``axis``."""

    label: str
    axis: str
    offset: int
    channel: str


@dataclass(frozen=True, slots=True)
class HostCopy:
    """Copy between a device and the memory of its node, in every ``every``-th step; ``to_host`` gives the direction.

    ``account`` is what its time is booked as.
    """

    label: str
    payload_bytes: float
    to_host: bool
    every: int = 1
    account: str = "host copy"


@dataclass(frozen=True, slots=True)
class Load:
    """Bring ``payload_bytes`` of training data, as they are stored, one stage nearer: out of storage, or decoded."""

    label: str
    stage: Literal["storage", "decode"]
    payload_bytes: float


@dataclass(frozen=True, slots=True)
class Push:
    """Send a gradient of ``payload_bytes`` for ``key`` to parameter server ``server``, in every ``every``-th step."""

    label: str
    server: int
    key: str
    payload_bytes: float
    every: int = 1


@dataclass(frozen=True, slots=True)
class Pull:
    """Fetch ``key`` from parameter server ``server`` when its consistency rule allows.

    ``behind`` is 1 where a step pulls before it pushes, so that pushes are one fewer than pulls. Of every ``every``
    steps the last pulls, the first if ``behind``.
    """

    label: str
    server: int
    key: str
    payload_bytes: float
    behind: int = 0
    every: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """``kernels`` with a ``collective`` on a stream of its own beside them.

    Both begin when the stream comes to them, and it goes on when both have ended.
    """

    kernels: tuple[Compute, ...]
    collective: Collective


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Routine:
    """Kernels and collectives that always run together, as a micro-batch's forward; the same as writing them out.

    Whatever reads a program works a routine out once, however often streams name it. Routines are compared by
    identity.
    """

    label: str
    instructions: tuple[Compute | Collective | Beside, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Portions:
    """Do portions of work from ``pool``, which all that name it share, until none of the step's ``portions`` is left.

    A portion is ``work``. Every ``send_every`` of them what has added up is pushed beside, as a part of ``pushes``.
    With ``duplicates`` whoever finds no portion left does one again that others have not finished.
    """

    label: str
    pool: str
    portions: int
    work: tuple[Compute, ...]
    pushes: tuple[Push, ...]
    send_every: int = 1
    duplicates: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """Record ``event`` when every earlier instruction of the stream is done."""

    event: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Hold the stream until the matching ``Record`` of ``event`` on the same rank, or one ``lag`` records before it."""

    event: str
    lag: int = 0


@dataclass(frozen=True, slots=True)
class Synchronise:
    """The host waits here until the device has done all that this stream was given (``cudaDeviceSynchronize``)."""


@dataclass(frozen=True, slots=True)
class StepEnd:
    """The end of one training step on this rank; ``synchronise`` makes the host wait for the device here."""

    synchronise: bool = True


Instruction = (
    Compute
    | Collective
    | Beside
    | Routine
    | Send
    | Recv
    | HostCopy
    | Load
    | Push
    | Pull
    | Portions
    | Record
    | Wait
    | Synchronise
    | StepEnd
)
