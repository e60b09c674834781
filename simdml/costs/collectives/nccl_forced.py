"""Algorithms and protocols of NCCL by the names that NCCL_ALGO and NCCL_PROTO know, and why one cannot be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from simdml.costs.collectives.nccl_collnet import COLLNET
from simdml.costs.collectives.nccl_tables import Algorithm, Protocol, TuningTables
from simdml.costs.collectives.nccl_tuning import Choice, CommunicatorShape, choose, estimates
from simdml.costs.collectives.plan import CollectiveKind
from simdml.errors import InfeasibleError, listed

ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "Tree": Algorithm.TREE,
    "Ring": Algorithm.RING,
    "CollNetDirect": Algorithm.COLLNET_DIRECT,
    "CollNetChain": Algorithm.COLLNET_CHAIN,
    "NVLS": Algorithm.NVLS,
    "NVLSTree": Algorithm.NVLS_TREE,
    "PAT": Algorithm.PAT,
}
MEANINGS: Final[Mapping[str, str]] = {
    "Tree": "sums up and down two trees of nodes at once, chains within nodes",
    "Ring": "parts go round all ranks, once to be summed and once to be handed out",
    "CollNetDirect": "every GPU of a node sends parts to those with a NIC, switches with SHARP sum the nodes",
    "CollNetChain": "chains within nodes, switches with SHARP sum the nodes",
    "NVLS": "the NVSwitch sums and multicasts (H100 and later); across nodes, switches with SHARP do",
    "NVLSTree": "the NVSwitch within nodes (H100 and later), trees across them",
    "PAT": "parallel trees that reach all ranks in log2 n rounds, for one GPU a node",
}
PROTOCOLS: Final[Mapping[str, Protocol]] = {"LL": Protocol.LL, "LL128": Protocol.LL128, "Simple": Protocol.SIMPLE}

_GATHERS: Final = (CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER)
_ALL: Final = (CollectiveKind.ALL_REDUCE, *_GATHERS, CollectiveKind.BROADCAST, CollectiveKind.REDUCE)
KINDS: Final[Mapping[Algorithm, tuple[CollectiveKind, ...]]] = {
    Algorithm.TREE: (CollectiveKind.ALL_REDUCE,),
    Algorithm.RING: _ALL,
    Algorithm.COLLNET_DIRECT: (CollectiveKind.ALL_REDUCE, *_GATHERS),
    Algorithm.COLLNET_CHAIN: (CollectiveKind.ALL_REDUCE,),
    Algorithm.NVLS: (CollectiveKind.ALL_REDUCE, *_GATHERS),
    Algorithm.NVLS_TREE: (CollectiveKind.ALL_REDUCE,),
    Algorithm.PAT: _GATHERS,
}
"""What NCCL implements each algorithm for (``src/graph/tuning.cc``)."""
_SIMPLE_ALONE: Final = (*COLLNET, Algorithm.NVLS, Algorithm.NVLS_TREE, Algorithm.PAT)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What NCCL may choose from; with an empty tuple, all there is."""

    algorithms: tuple[Algorithm, ...] = ()
    protocols: tuple[Protocol, ...] = ()

    def choose(
        self, kind: CollectiveKind, payload_bytes: float, shape: CommunicatorShape, constants: TuningTables
    ) -> Choice:
        """Return the fastest of what is allowed.

        Raises:
            InfeasibleError: there is nothing, with the reason and what there is.
        """
        if self.protocols == (Protocol.LL128,):
            # Asked for by name it is used wherever it may be torn, too (``ncclTopoTuneModel``).
            shape = replace(shape, ll128=True)
        algorithms, protocols = self.algorithms or tuple(Algorithm), self.protocols or tuple(Protocol)
        usable = estimates(kind, shape, constants)
        if not any(row.algorithm in algorithms and row.protocol in protocols for row in usable):
            there = listed(dict.fromkeys(name_of(row.algorithm) for row in usable))
            raise InfeasibleError(self._why_not(kind, shape, constants), hint=f"what there is here: {there}")
        return choose(kind, payload_bytes, shape, constants, algorithms, protocols)

    def _why_not(self, kind: CollectiveKind, shape: CommunicatorShape, constants: TuningTables) -> str:
        named = " or ".join(_protocol_name(each) for each in self.protocols) or "any protocol"
        if not self.algorithms:
            return f"NCCL has no {kind} by {named}"
        able = [each for each in self.algorithms if kind in KINDS[each]]
        if not able:
            return f"NCCL has no {kind} by {' or '.join(map(name_of, self.algorithms))}"
        return "; ".join(dict.fromkeys(self._why_not_by(each, named, shape, constants) for each in able))

    def _why_not_by(
        self, algorithm: Algorithm, protocols: str, shape: CommunicatorShape, constants: TuningTables
    ) -> str:
        if algorithm not in _SIMPLE_ALONE:
            return f"{name_of(algorithm)} cannot use {protocols} here"
        if self.protocols and Protocol.SIMPLE not in self.protocols:
            return f"{name_of(algorithm)} has no protocol but Simple, and {protocols} was asked for"
        if algorithm is Algorithm.PAT:
            return _why_no_pat(shape, constants)
        if algorithm in COLLNET:
            return _why_no_collnet(name_of(algorithm), shape)
        return _why_no_nvls(algorithm, shape, constants)


ANY: Final = Allowed()


def name_of(algorithm: Algorithm) -> str:
    """Return what NCCL_ALGO calls ``algorithm``."""
    return next(name for name, each in ALGORITHMS.items() if each is algorithm)


def _protocol_name(protocol: Protocol) -> str:
    return next(name for name, each in PROTOCOLS.items() if each is protocol)


def _version(constants: TuningTables) -> str:
    return ".".join(map(str, constants.version))


def _why_no_pat(shape: CommunicatorShape, constants: TuningTables) -> str:
    if not constants.pat:
        return f"NCCL {_version(constants)} has no PAT"
    if shape.nodes == 1:
        return "PAT goes over the network, and the group is on one node"
    return f"PAT needs groups of one GPU a node, and this one has {shape.ranks_per_node:g}"


def _why_no_collnet(name: str, shape: CommunicatorShape) -> str:
    if shape.nodes == 1:
        return f"{name} sums in the network's switches, and the group is on one node"
    if shape.collnet is None:
        return f"{name} needs switches that sum (SHARP), and those of this network do not"
    if not shape.nvswitch:
        return f"{name} needs GPUs on an NVSwitch"
    return f"{name} gathers to {shape.collnet.channels} GPUs with a NIC, and a node has {shape.ranks_per_node:g}"


def _why_no_nvls(algorithm: Algorithm, shape: CommunicatorShape, constants: TuningTables) -> str:  # noqa: PLR0911
    name = name_of(algorithm)
    if not constants.nvls:
        return f"NCCL {_version(constants)} has no {name}"
    if shape.compute_capability < 90:
        return f"{name} needs NVSwitches that sum, which come with H100 and later (compute capability 9.0)"
    if not shape.nvswitch:
        return f"{name} needs NVSwitches, and these GPUs are on none"
    if shape.nvls is None or shape.nvls.channels < 2:
        return f"{name} needs more than two GPUs of a node, and the group has {shape.ranks_per_node:g} there"
    if algorithm is Algorithm.NVLS_TREE:
        return "NVLSTree joins the NVSwitches of several nodes, and the group is on one"
    if shape.collnet is None:
        return "NVLS across nodes needs switches that sum (SHARP) between them"
    return f"NVLS across nodes gathers to {shape.nvls.channels} GPUs, and a node has {shape.ranks_per_node:g}"
