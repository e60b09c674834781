"""The file format of clusters. Converted once by :mod:`simdml.cluster.loading`; nothing else imports it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simdml.documents.quantities import Bandwidth, Count, DocumentModel, Percent, Seconds, SecondsOrZero

PcieSlot = Annotated[
    str,
    Field(
        pattern=r"^gen[3-6] x(1|2|4|8|16)$",
        description="PCIe generation and lanes, for example gen4 x16.",
        examples=["gen3 x16", "gen5 x8"],
    ),
]
Rate = Annotated[Bandwidth, Field(description="Line rate in one direction, for example 400 Gbps.")]
Generation = Literal[
    "haswell",
    "broadwell",
    "skylake",
    "cascade_lake",
    "ice_lake",
    "sapphire_rapids",
    "emerald_rapids",
    "rome",
    "milan",
    "genoa",
    "grace",
]


class GpusSpec(DocumentModel):
    """GPUs of a node."""

    type: str
    """A GPU by name, for example a100_sxm_80gb."""
    count: Count
    """How many in a node."""
    fabric: Literal["nvswitch", "cube_mesh", "pcie", "none"] = "pcie"
    """How they reach each other; cube_mesh is that of DGX-1."""
    pcie: PcieSlot | None = None
    """PCIe link of each GPU; x16 of the GPU's own generation by default."""
    switches: Annotated[int, Field(ge=0)] = 0
    """PCIe switches that share the GPUs evenly; 0 puts every GPU on a socket."""
    uplink: PcieSlot | None = None
    """PCIe link from each switch to its socket; that of a GPU by default."""
    c2c: bool = False
    """GPUs are connected to their CPU by NVLink-C2C instead of PCIe (Grace)."""


class NicsSpec(DocumentModel):
    """NICs of a node."""

    count: Count = 1
    """Ports in a node."""
    rate: Rate
    pcie: PcieSlot | None = None
    """PCIe link of each; x16 of the GPU's generation by default."""
    attach: Literal["switch", "socket"] | None = None
    """On the GPUs' PCIe switches, or on sockets; switches by default where every switch gets as many."""
    efficiency: Percent | None = None
    """Share of the line rate that is payload; the network's by default."""


class CpuSpec(DocumentModel):
    """Host processors of a node."""

    model: Generation = "skylake"
    """Processor generation."""
    sockets: Count = 2
    """Sockets, or NUMA domains."""
    cores: Count = 48
    """Physical cores of the node."""
    memory_bandwidth: Bandwidth | None = None
    """Of the whole node; the processor's nominal one by default."""


class NodeSpec(DocumentModel):
    """One kind of node."""

    gpus: GpusSpec | None = None
    nics: NicsSpec | None = None
    cpu: CpuSpec = CpuSpec()


class GroupSpec(DocumentModel):
    """Nodes of one kind in a mixed cluster."""

    name: str
    """What they are called."""
    nodes: Count
    """How many."""
    node: NodeSpec


class ServersSpec(DocumentModel):
    """Nodes without GPUs, for parameter servers."""

    nodes: Count
    """How many."""
    cores: Count | None = None
    """Physical cores of each; those of the other nodes by default."""
    nics: NicsSpec | None = None
    """Their NICs; those of the other nodes by default."""
    cpu: CpuSpec | None = None
    """Their processors; those of the other nodes by default."""


class NetworkSpec(DocumentModel):
    """The network between nodes."""

    kind: Literal["switch", "leaf_spine", "rail_optimized", "clos"] = "switch"
    """One switch that never limits; leaves and spines; a leaf for every rail; or pods of leaves below a core."""
    nodes_per_leaf: Count | None = None
    """Nodes below a leaf switch; with rail_optimized, nodes of a scalable unit."""
    nodes_per_pod: Count | None = None
    """Nodes of a pod (clos)."""
    oversubscription: Annotated[float, Field(gt=0)] = 1.0
    """Bandwidth of the nodes below a leaf over the bandwidth of its uplinks."""
    core_oversubscription: Annotated[float, Field(gt=0)] = 1.0
    """The same between pods and core (clos)."""
    efficiency: Literal["tcp", "roce", "infiniband", "efa", "omni_path"] | Percent = "tcp"
    """The transport, which sets payload share and latency; or the payload share, with a latency."""
    latency: Seconds | None = None
    """One way between two nodes on one switch; the transport's by default."""
    hop_latency: SecondsOrZero | None = None
    """Added by every further switch; the transport's by default."""
    gpudirect: bool | None = None
    """Whether NICs reach GPU memory without staging in host memory; the transport's by default."""

    sharp: bool = False
    """Whether the switches can sum what passes them (InfiniBand's SHARP)."""

    @model_validator(mode="after")
    def _fits(self) -> NetworkSpec:
        if self.sharp and self.efficiency in ("tcp", "roce", "efa", "omni_path"):
            raise ValueError(f"switches that reduce (sharp) are InfiniBand's; this network is {self.efficiency}")
        if self.kind != "switch" and self.nodes_per_leaf is None:
            raise ValueError(f"a {self.kind} network needs nodes_per_leaf")
        if self.kind == "clos":
            if self.nodes_per_pod is None:
                raise ValueError("a clos network needs nodes_per_pod")
            if self.nodes_per_pod % (self.nodes_per_leaf or 1):
                raise ValueError("nodes_per_pod must be a multiple of nodes_per_leaf")
        if not isinstance(self.efficiency, str) and self.latency is None:
            raise ValueError("an efficiency that is a percentage needs a latency too")
        return self


class VertexSpec(DocumentModel):
    """A vertex of an explicit graph; a switch inside a node (a PCIe root) has its node too."""

    kind: Literal["gpu", "host", "nic", "switch"]
    node: Annotated[int, Field(ge=0)] | None = None
    """Which node it is part of."""
    type: str | None = None
    """A GPU by name."""

    @model_validator(mode="after")
    def _fits(self) -> VertexSpec:
        if self.kind == "gpu" and self.type is None:
            raise ValueError("a gpu needs its type, for example type: t4")
        if self.kind != "gpu" and self.type is not None:
            raise ValueError(f"a {self.kind} has no type")
        if self.kind != "switch" and self.node is None:
            raise ValueError(f"a {self.kind} needs its node, for example node: 0")
        return self


class EdgeSpec(DocumentModel):
    """A link of an explicit graph, the same in both directions."""

    between: Annotated[tuple[str, str], Field(description="The names of two vertices.")]
    rate: Annotated[Bandwidth, Field(description="Achievable payload rate in each direction.")]
    latency: SecondsOrZero = 0.0
    kind: Literal["nvlink", "c2c", "pcie", "socket", "host_memory", "nic", "leaf", "spine", "link"] = "link"


class GraphSpec(DocumentModel):
    """A cluster vertex by vertex and link by link; GPUs and hosts never forward traffic."""

    vertices: dict[str, VertexSpec]
    edges: list[EdgeSpec]


class ClusterSpec(DocumentModel):
    """A cluster: identical nodes (``nodes``, ``node``), several kinds (``groups``), or an explicit ``graph``."""

    description: str = ""
    """One sentence about it."""
    nodes: Count = 1
    """How many nodes."""
    node: NodeSpec | None = None
    groups: list[GroupSpec] | None = None
    servers: ServersSpec | None = None
    network: NetworkSpec | None = None
    graph: GraphSpec | None = None

    @model_validator(mode="after")
    def _fits(self) -> ClusterSpec:
        given = [key for key in ("node", "groups", "graph") if getattr(self, key)]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"a cluster needs exactly one of node, groups and graph, found {found}")
        if given != ["node"] and "nodes" in self.model_fields_set:
            raise ValueError(f"nodes counts the nodes of a cluster with node; with {given[0]} the count is there")
        if self.graph and (self.network or self.servers):
            raise ValueError("an explicit graph has neither network nor servers: they are vertices and edges")
        return self
