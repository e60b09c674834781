"""Everything lowering asks for a price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from simdml.costs.collectives.by_name import UNFORCED, Forcing
from simdml.costs.collectives.plan import CollectiveCost
from simdml.costs.compute import ComputeCost
from simdml.costs.dispatch import NOTHING, Dispatch
from simdml.costs.feed import UNLIMITED, FeedCost
from simdml.costs.interference import Interference
from simdml.costs.messages import MessageCost
from simdml.program.instructions import Activity


@dataclass(frozen=True, slots=True)
class ServerCost:
    """A parameter-server process: bytes/s it reads and writes when summing and updating, seconds per message."""

    bytes_per_s: float = 10e9
    per_message_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CostModel:
    """Costs of one job on one cluster.

    ``compute`` by device name; ``collectives`` is the job's communication library and ``transports`` the other ones an
    instruction may name; ``precision`` is that of the matrix units; ``host_launch_s`` is what the driver takes to
    launch one kernel, and ``dispatch`` what the framework does before; ``host`` is a rank's share of the processors of
    its node, None where nothing computes there; ``feed`` is what loading training data costs; ``forced`` are
    algorithms of the library chosen by name; ``interference`` is what devices lose to collectives beside their kernels,
    by name; nothing where it is left out.
    """

    compute: Mapping[str, ComputeCost]
    collectives: CollectiveCost
    messages: MessageCost
    precision: str
    host_launch_s: float = 0.0
    server: ServerCost = ServerCost()
    transports: Mapping[str, CollectiveCost] = field(default_factory=dict)
    host: ComputeCost | None = None
    feed: FeedCost = UNLIMITED
    forced: Forcing = UNFORCED
    interference: Mapping[str, Interference] = field(default_factory=dict)
    dispatch: Dispatch = NOTHING

    def launch_s(self, activity: Activity) -> float:
        """Return what the host thread takes for one kernel of ``activity``, all in all."""
        return self.dispatch.launch_s(self.host_launch_s, activity)

    def slower_host(self, factor: float) -> CostModel:
        """Return the same costs with a host thread that takes ``factor`` times as long."""
        return replace(self, host_launch_s=self.host_launch_s * factor, dispatch=self.dispatch.times(factor))

    def of_collective(self, transport: str, group: str) -> CollectiveCost:
        """Return the cost model called ``transport``, or the library's, with what is forced on ``group``."""
        return self.transports[transport] if transport else self.forced.on(self.collectives, group)
