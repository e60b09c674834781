"""Every transfer a program makes on a cluster, priced: who takes part and which links it loads.

Transfers of one instruction differ only in where their members are, and members placed alike have plans that are alike
link by link. So a plan is made once for each way of being placed, and the links of all the others follow by arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import Endpoint, gpu, host
from simdml.cluster.relocation import equal_rows, relocation_of
from simdml.costs.collectives.plan import TransferPlan
from simdml.costs.model import CostModel
from simdml.program.instructions import Collective, CollectiveKind, HostCopy, Load, Pull, Push, Send
from simdml.program.program import Program, RankProgram

COMMUNICATION = (Collective, Send, HostCopy, Load, Push, Pull)
Communication = Collective | Send | HostCopy | Load | Push | Pull
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alike:
    """Transfers placed alike: rows of a family, the links of each as rows, and the weights that all have."""

    rows: Integers
    links: Integers
    weights: tuple[float, ...]


@dataclass(slots=True)
class Family:
    """Transfers with the same members on the same links, numbered from ``first``; instructions may share one.

    ``members`` has a row a transfer, in role order if ``ordered``. ``alike_of_row`` says to which of ``alike`` a row
    belongs; ``prices`` has latency and rate by instruction signature, for each of ``alike``.
    """

    first: int
    members: Integers
    ordered: bool
    alike: tuple[Alike, ...]
    alike_of_row: Integers
    of_rank: Integers
    prices: dict[int, tuple[tuple[float, float], ...]] = field(default_factory=dict)


@dataclass(slots=True)
class FlowTable:
    """Families of transfers, and the family of every instruction signature."""

    families: list[Family] = field(default_factory=list)
    family_of_signature: list[int] = field(default_factory=list)
    signatures: dict[tuple[object, ...], int] = field(default_factory=dict)
    num_flows: int = 0

    def find(self, instruction: Communication, rank: int) -> int:
        """Return the number of the transfer that ``rank`` takes part in with ``instruction``."""
        family = self.families[self.family_of_signature[self.signatures[signature(instruction)]]]
        return family.first + int(family.of_rank[rank])

    def members(self, instruction: Communication, rank: int) -> Integers:
        """Return who takes part in the transfer that ``rank`` issues with ``instruction``."""
        family = self.families[self.family_of_signature[self.signatures[signature(instruction)]]]
        members: Integers = family.members[family.of_rank[rank]]
        return members

    def price(self, instruction: Communication, rank: int) -> tuple[float, float]:
        """Return latency (s) and highest rate (bytes/s) of the transfer that ``rank`` issues with ``instruction``."""
        number = self.signatures[signature(instruction)]
        family = self.families[self.family_of_signature[number]]
        return family.prices[number][int(family.alike_of_row[family.of_rank[rank]])]

    def loads(self, instruction: Communication, rank: int) -> dict[int, float]:
        """Return the bytes per payload byte on every link of the transfer that ``rank`` issues."""
        family = self.families[self.family_of_signature[self.signatures[signature(instruction)]]]
        row = int(family.of_rank[rank])
        alike = family.alike[int(family.alike_of_row[row])]
        links = alike.links[int(np.flatnonzero(alike.rows == row)[0])]
        return dict(zip(links.tolist(), alike.weights, strict=True))


def communications(rank_program: RankProgram) -> Iterator[Communication]:
    """Yield the transfers of a rank class, each object once."""
    for stream in rank_program.streams:
        for instruction, _ in stream.counts:
            if isinstance(instruction, COMMUNICATION):
                yield instruction


def signature(instruction: Communication) -> tuple[object, ...]:
    """Return what distinguishes the transfer of an instruction; labels do not."""
    match instruction:
        case Collective():
            return ("collective", instruction.group, instruction.kind, instruction.payload_bytes, instruction.transport)
        case Send():
            return ("send", instruction.axis, instruction.offset, instruction.payload_bytes)
        case HostCopy():
            return ("copy", instruction.to_host)
        case Load():
            return ("load", instruction.stage)
        case Push():
            return ("push", instruction.server)
        case Pull():
            return ("pull", instruction.server)


def flow_table(program: Program, cluster: Cluster, costs: CostModel) -> FlowTable:
    """Return every transfer of one step of ``program``."""
    issuers: dict[tuple[object, ...], tuple[Communication, list[int]]] = {}
    for index, rank_program in enumerate(program.classes):
        distinct = {signature(instruction): instruction for instruction in communications(rank_program)}
        for key, instruction in distinct.items():
            issuers.setdefault(key, (instruction, []))[1].append(index)
    table = _TableBuilder(program, cluster, costs)
    for key, (instruction, classes) in issuers.items():
        table.add(key, instruction, classes)
    return table.made


class _TableBuilder:
    def __init__(self, program: Program, cluster: Cluster, costs: CostModel) -> None:
        self.program = program
        self.cluster = cluster
        self.costs = costs
        self.made = FlowTable()
        self.relocation = relocation_of(cluster)
        self.class_of_rank = np.array(program.class_of_rank, dtype=np.int64)
        self.devices = program.devices()
        self.members: dict[tuple[object, ...], _Places] = {}
        self.families: dict[tuple[object, ...], int] = {}
        self.limiting: dict[tuple[int, int], tuple[TransferPlan, tuple[int, ...], tuple[float, ...]]] = {}

    def add(self, key: tuple[object, ...], instruction: Communication, classes: list[int]) -> None:
        """Add the transfers of ``instruction``, which rank classes ``classes`` issue."""
        number = self.made.signatures[key] = len(self.made.signatures)
        who, places = self._places(instruction, tuple(classes))
        plans = [self._limiting(self._plan(instruction, places.members[row])) for row in places.first_rows]
        loads = tuple((plan.links, plan.weights) for plan in plans)
        index = self.families.get((who, loads))
        if index is None:
            index = self.families[who, loads] = len(self.made.families)
            self.made.families.append(self._family(places, loads))
        self.made.family_of_signature.append(index)
        prices = tuple((plan.latency_s, plan.rate_bytes_per_s) for plan in plans)
        self.made.families[index].prices[number] = prices

    def _family(self, places: _Places, loads: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]) -> Family:
        first = self.made.num_flows
        self.made.num_flows += len(places.members)
        alike = []
        for number, (links, weights) in enumerate(loads):
            rows = np.flatnonzero(places.alike_of_row == number)
            alike.append(Alike(rows, self._relocated(places, rows, links), weights))
        of_rank = np.full(self.program.mesh.num_ranks, -1, dtype=np.int64)
        issuing = places.members[:, :1] if places.ordered else places.members
        of_rank[issuing] = np.arange(len(issuing))[:, np.newaxis]
        return Family(first, places.members, places.ordered, tuple(alike), places.alike_of_row, of_rank)

    def _relocated(self, places: _Places, rows: Integers, links: tuple[int, ...]) -> Integers:
        if len(rows) == 1 or not links:
            return np.array(links, dtype=np.int64).reshape(1, -1).repeat(len(rows), axis=0)
        assert self.relocation is not None
        return self.relocation.relative(links, places.nodes[rows[0]].tolist()).of(places.nodes[rows])

    def _places(self, instruction: Communication, classes: tuple[int, ...]) -> tuple[tuple[object, ...], _Places]:
        match instruction:
            case Collective():
                who: tuple[object, ...] = ("collective", instruction.group, classes)
            case Send():
                who = ("send", instruction.axis, instruction.offset, classes)
            case Push() | Pull():
                who = ("servers", self.program.servers[instruction.server].nodes, classes)
            case HostCopy() | Load():
                who = ("host", classes)
        if who not in self.members:
            self.members[who] = self._placed(instruction, np.isin(self.class_of_rank, classes))
        return who, self.members[who]

    def _placed(self, instruction: Communication, issues: NDArray[np.bool_]) -> _Places:
        mesh = self.program.mesh
        if isinstance(instruction, Collective):
            group = next(group for group in self.program.groups if group.name == instruction.group)
            members = group.members(mesh)
            members = members[issues[members[:, 0]]]
        else:
            members = np.flatnonzero(issues).reshape(-1, 1)
            if isinstance(instruction, Send):
                peers = mesh.neighbours(members, instruction.axis, instruction.offset)
                members = np.concatenate([members, peers], axis=1)
        ordered = not isinstance(instruction, Collective)
        if self.relocation is None:
            return _Places(members, ordered, members, np.arange(len(members)), range(len(members)))
        nodes, local = self.relocation.locate(self.devices[members])
        if isinstance(instruction, Push | Pull):
            servers = np.array([self.program.servers[instruction.server].nodes], dtype=np.int64)
            nodes = np.concatenate([nodes, servers.repeat(len(nodes), axis=0)], axis=1)
        alike_of_row, first_rows = equal_rows(np.concatenate([local, self.relocation.likeness(nodes)], axis=1))
        return _Places(members, ordered, nodes, alike_of_row, first_rows)

    def _plan(self, instruction: Communication, members: Integers) -> TransferPlan:
        devices = tuple(self.devices[members].tolist())
        if isinstance(instruction, Collective):
            model = self.costs.of_collective(instruction.transport, instruction.group)
            return model.plan(instruction.kind, devices, instruction.payload_bytes)
        if isinstance(instruction, Send):
            return self.costs.collectives.plan(CollectiveKind.SEND_RECV, devices, instruction.payload_bytes)
        if isinstance(instruction, Load):
            return self.costs.feed.plan(instruction.stage, self.cluster.node_of(devices[0]))
        return self.costs.messages.plan_of_parts(list(self._ends(instruction, devices[0])))

    def _ends(self, instruction: HostCopy | Push | Pull, device: int) -> Iterator[tuple[Endpoint, Endpoint]]:
        """Yield source and destination of each equal part of what goes by way of the host."""
        near = host(self.cluster.node_of(device))
        if isinstance(instruction, HostCopy):
            yield (gpu(device), near) if instruction.to_host else (near, gpu(device))
            return
        for node in self.program.servers[instruction.server].nodes:
            yield (near, host(node)) if isinstance(instruction, Push) else (host(node), near)

    def _limiting(self, plan: TransferPlan) -> TransferPlan:
        """Return ``plan`` without links that can never limit it.

        Switch levels that are not oversubscribed carry all that the NICs below them can send, and traffic is assumed to
        be sprayed evenly over them, so a NIC is always full first. Leaving them out changes no rate, and lets ranks
        that differ only in the switches between them be of one class.
        """
        if self.relocation is None or not self.relocation.has_spare_links:
            return plan
        key = (id(plan.links), id(plan.weights))
        if key not in self.limiting:
            kept = self.relocation.limiting(np.array(plan.links, dtype=np.int64))
            links, weights = compress(plan.links, kept), compress(plan.weights, kept)
            self.limiting[key] = (plan, tuple(links), tuple(weights))
        _, kept_links, kept_weights = self.limiting[key]
        return replace(plan, links=kept_links, weights=kept_weights)


@dataclass(frozen=True, slots=True)
class _Places:
    """Members and nodes of transfers by row, which rows are placed alike, and the first row of each such set."""

    members: Integers
    ordered: bool
    nodes: Integers
    alike_of_row: Integers
    first_rows: range | list[int]
