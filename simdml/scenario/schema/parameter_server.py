"""The ``strategy.parameter_server`` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simdml.documents.quantities import Bandwidth, Count, CountOrZero, DocumentModel, SecondsOrZero
from simdml.scenario.presets import PRESETS
from simdml.scenario.schema.names import offering

PresetName = Annotated[str, Field(json_schema_extra=offering(PRESETS))]


class ParameterServerSpec(DocumentModel):
    """Parameters sharded over servers, which sum gradients and update."""

    preset: PresetName | None = None
    """A named system, whose settings the other keys change."""
    servers: Count | None = None
    """Shards, one a machine; by default every server node, or every worker node if colocated."""
    location: Literal["dedicated", "colocated"] | None = None
    """On the cluster's server nodes, or beside workers from node 0 on; dedicated where there are server nodes."""
    consistency: Literal["bsp", "asynchronous", "ssp", "bounded_delay", "backup"] = "bsp"
    """What a step waits for: everybody, nobody, the slowest within staleness, its own past, the first gradients."""
    staleness: CountOrZero | None = None
    """Steps that ssp lets a worker be ahead of the slowest; 0 is bsp."""
    delay: CountOrZero | None = None
    """Steps that bounded_delay lets a worker begin before what it asked for is there; 0 is bsp."""
    backup_workers: CountOrZero | None = None
    """Workers more than the gradients a step takes (backup); those of the slowest are dropped."""
    placement: Literal["round_robin", "greedy_by_bytes", "sharded"] = "round_robin"
    """Whole tensors in turn (TensorFlow's replica_device_setter), to the least loaded, or every tensor cut."""
    local_aggregation: bool = False
    """Whether the GPUs of a node sum their gradients first and act as one worker (MXNet's dist_device_sync)."""
    overlap: bool = True
    """Whether gradients leave while backward goes on; yes in MXNet, no in TensorFlow 1 on GPUs."""
    per_message: SecondsOrZero = 0.0
    """Fixed cost of one push or pull."""
    connection: Bandwidth | None = None
    """The most one worker's connection to one server carries; the links' own rate by default."""
    server_rate: Bandwidth = 10e9
    """Bytes a thread of a server reads and writes each second when it sums and updates; an assumption."""
    server_per_message: SecondsOrZero = 0.0
    """Fixed cost of a message on the server."""
    server_threads: Count = 1
    """Threads of a server that work side by side; one in MXNet, four in BytePS."""
    key_lock: bool = True
    """Whether no two threads work on one tensor at once; no in TensorFlow with use_locking=False, its default."""
