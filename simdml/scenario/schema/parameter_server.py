"""The ``strategy.parameter_server`` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simdml.documents.quantities import Bandwidth, Bytes, Count, CountOrZero, DocumentModel, SecondsOrZero
from simdml.scenario.schema.names import offering
from simdml.strategies.parameter_server.compression import CompressionName
from simdml.strategies.parameter_server.partition import PartitionName
from simdml.strategies.parameter_server.placement import PlacementName
from simdml.strategies.parameter_server.plan import ConsistencyName
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS

PresetName = Annotated[str, Field(json_schema_extra=offering(SYSTEMS))]


class ParameterServerSpec(DocumentModel):
    """Parameters sharded over servers, which sum gradients and update."""

    preset: PresetName | None = None
    """A named system, whose settings the other keys change."""
    servers: Count | None = None
    """Shards, one a machine; by default every server node, or every worker node if colocated, or both if mixed."""
    location: Literal["dedicated", "colocated", "mixed"] | None = None
    """On the cluster's server nodes, beside workers from node 0 on, or both; dedicated where there are server nodes."""
    consistency: ConsistencyName = "bsp"
    """What a step waits for: everybody, nobody, the slowest within staleness, its own past, the first gradients."""
    staleness: CountOrZero | None = None
    """Steps that ssp lets a worker be ahead of the slowest; 0 is bsp."""
    delay: CountOrZero | None = None
    """Steps that bounded_delay lets a worker begin before what it asked for is there; 0 is bsp."""
    backup_workers: CountOrZero | None = None
    """Workers more than the gradients a step takes (backup); those of the slowest are dropped."""
    partition: PartitionName = "whole"
    """How tensors are cut first: not, into a number of pieces, by least or largest size (TensorFlow), or slices."""
    partition_size: Bytes | None = None
    """What min_size, max_size and slices cut by; 256 KiB, 64 MiB (TensorFlow) and 4096000 B (BytePS) by default."""
    partition_pieces: Count | None = None
    """Pieces that fixed makes, and the most that min_size makes; as many as there are servers by default."""
    partition_at: Literal["node", "network"] = "node"
    """Whether pieces are already summed one by one in the node (BytePS), or whole tensors are (P3)."""
    placement: PlacementName = "round_robin"
    """In turn (TensorFlow's replica_device_setter), to the least loaded, every tensor cut, or as MXNet or BytePS do."""
    big_array: Count = 1_000_000
    """Elements from which mxnet_hash cuts an array over all servers (MXNET_KVSTORE_BIGARRAY_BOUND)."""
    messages: Literal["tensors", "model"] = "tensors"
    """Whether a message carries one tensor, or all that a server holds of the model (DistBelief)."""
    model_parallel: Count = 1
    """GPUs one replica of the model is spread over, layer after layer (DistBelief)."""
    local_aggregation: bool | Literal["device", "host", "nccl"] = False
    """Whether the GPUs of a node sum first, as one worker: on the device (true), on the host, or with NCCL."""
    overlap: bool = True
    """Whether gradients leave while backward goes on; yes in MXNet, no in TensorFlow 1 on GPUs."""
    update: Literal["server", "worker"] = "server"
    """Where the optimizer runs: on servers, which then hold weights, or on workers, which pull summed gradients."""
    fetch: Literal["after_push", "at_start"] = "after_push"
    """When a worker asks for parameters: after its push (MXNet), or at the start of a step (TensorFlow 1)."""
    barrier: bool = True
    """Whether a step begins when all parameters are there, or each layer when its own are."""
    priority: Literal["none", "push", "reduce"] = "none"
    """Whether what forward needs first goes first: in pushes (P3, ByteScheduler), or already in the node (BytePS)."""
    credit: Count | None = None
    """Messages under way at once with priority; one on every connection by default."""
    push_every: Count = 1
    """Steps whose gradients a worker adds up before it pushes them (Downpour's n_push)."""
    pull_every: Count = 1
    """Steps that a worker trains on with what it fetched (Downpour's n_fetch)."""
    portions: Literal["own", "shared"] = "own"
    """Whether workers have micro-batches of their own, or a coordinator hands out a step's on demand (Sandblaster)."""
    send_every: Count = 1
    """Portions whose gradients a worker adds up before it sends them, while it goes on with others."""
    duplicate_stragglers: bool = True
    """Whether workers that find no portion left do one again that others are slow with; the first result counts."""
    lbfgs_history: Count | None = None
    """Pairs of vectors of an L-BFGS update on the servers; the job's optimizer by default."""
    compression: CompressionName = "none"
    """How messages shrink: two_bit pushes (MXNet), one_bit both ways (BytePS)."""
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
    host_threads: Count = 4
    """Threads that sum on a worker's CPU (MXNET_KVSTORE_REDUCTION_NTHREADS)."""
