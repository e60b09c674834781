"""Every transfer a program makes on a cluster, priced: who takes part and which links it loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu, host
from simdml.costs.collectives.plan import TransferPlan
from simdml.costs.model import CostModel
from simdml.program.instructions import Collective, CollectiveKind, HostCopy, Pull, Push, Send
from simdml.program.program import Program, RankProgram

COMMUNICATION = (Collective, Send, HostCopy, Push, Pull)
Communication = Collective | Send | HostCopy | Push | Pull


@dataclass(frozen=True, slots=True)
class FlowInstance:
    """One transfer: ``members`` are ranks in role order, ``signature`` says which instruction it comes from."""

    signature: int
    members: tuple[int, ...]
    ordered: bool
    plan: TransferPlan


class Limiting:
    """Leaves links that can never limit a transfer out of plans.

    The switch levels of a network of full bisection carry all that the NICs below them can send, and traffic is assumed
    to be sprayed evenly over them, so a NIC is always full first. Leaving them out changes no rate, and lets ranks that
    differ only in the switches between them be of one class.
    """

    def __init__(self, cluster: Cluster) -> None:
        network = getattr(cluster, "network", None)
        self._links = cluster.links if network is not None and network.full_bisection else None
        self._spare: dict[int, bool] = {}

    def of(self, plan: TransferPlan) -> TransferPlan:
        """Return ``plan`` on the links that may limit it."""
        if self._links is None:
            return plan
        kept = [(link, w) for link, w in zip(plan.links, plan.weights, strict=True) if not self._is_spare(link)]
        if len(kept) == len(plan.links):
            return plan
        return replace(plan, links=tuple(link for link, _ in kept), weights=tuple(w for _, w in kept))

    def _is_spare(self, link: int) -> bool:
        found = self._spare.get(link)
        if found is None:
            assert self._links is not None
            found = self._spare[link] = self._links.kind(link) in {"leaf", "spine"}
        return found


@dataclass(slots=True)
class FlowTable:
    """Flow instances and, for each (instruction signature, rank), the instance the rank issues."""

    instances: list[FlowInstance] = field(default_factory=list)
    of_rank: dict[tuple[int, int], int] = field(default_factory=dict)
    signatures: dict[tuple[object, ...], int] = field(default_factory=dict)

    def add(self, instance: FlowInstance, issuers: tuple[int, ...]) -> None:
        """Register an instance issued by the ranks ``issuers``."""
        for rank in issuers:
            self.of_rank[instance.signature, rank] = len(self.instances)
        self.instances.append(instance)

    def find(self, instruction: Communication, rank: int) -> int:
        """Return the index of the flow that ``rank`` issues with ``instruction``."""
        return self.of_rank[self.signatures[signature(instruction)], rank]


def communications(rank_program: RankProgram) -> Iterator[Communication]:
    """Yield the transfers of a rank class, each object once."""
    for stream in rank_program.streams:
        for instruction in {id(i): i for i in stream.instructions}.values():
            if isinstance(instruction, COMMUNICATION):
                yield instruction


def signature(instruction: Communication) -> tuple[object, ...]:
    """Return what distinguishes the transfer of an instruction; labels do not."""
    match instruction:
        case Collective():
            return ("collective", instruction.group, instruction.kind, instruction.payload_bytes, instruction.transport)
        case Send():
            return ("send", instruction.axis, instruction.offset, instruction.payload_bytes, instruction.channel)
        case HostCopy():
            return ("copy", instruction.to_host)
        case Push():
            return ("push", instruction.server)
        case Pull():
            return ("pull", instruction.server)


def flow_table(program: Program, cluster: Cluster, costs: CostModel) -> FlowTable:
    """Return every flow of one step of ``program``."""
    table = FlowTable()
    limiting = Limiting(cluster)
    issuers: dict[tuple[object, ...], tuple[Communication, list[int]]] = {}
    ranks_of_class: list[list[int]] = [[] for _ in program.classes]
    for rank, index in enumerate(program.class_of_rank):
        ranks_of_class[index].append(rank)
    for rank_program, ranks in zip(program.classes, ranks_of_class, strict=True):
        distinct = {signature(instruction): instruction for instruction in communications(rank_program)}
        for key, instruction in distinct.items():
            issuers.setdefault(key, (instruction, []))[1].extend(ranks)
    for key, (instruction, ranks) in issuers.items():
        number = table.signatures[key] = len(table.signatures)
        for instance, who in _instances(number, instruction, sorted(ranks), program, cluster, costs):
            table.add(replace(instance, plan=limiting.of(instance.plan)), who)
    return table


def _instances(
    number: int,
    instruction: Communication,
    ranks: list[int],
    program: Program,
    cluster: Cluster,
    costs: CostModel,
) -> Iterator[tuple[FlowInstance, tuple[int, ...]]]:
    if isinstance(instruction, Collective):
        yield from _collective_instances(number, instruction, ranks, program, costs)
        return
    for rank in ranks:
        here = program.device(rank)
        members: tuple[int, ...] = (rank,)
        if isinstance(instruction, Send):
            peer = program.mesh.neighbour(rank, instruction.axis, instruction.offset)
            members = (rank, peer)
            plan = costs.collectives.plan(
                CollectiveKind.SEND_RECV, (here, program.device(peer)), instruction.payload_bytes
            )
        else:
            near, far = host(cluster.node_of(here)), gpu(here)
            if isinstance(instruction, Push | Pull):
                far = host(program.servers[instruction.server].node)
            outward = isinstance(instruction, Push) or (isinstance(instruction, HostCopy) and not instruction.to_host)
            plan = costs.messages.plan(near, far) if outward else costs.messages.plan(far, near)
        yield FlowInstance(number, members, True, plan), (rank,)


def _collective_instances(
    number: int, instruction: Collective, ranks: list[int], program: Program, costs: CostModel
) -> Iterator[tuple[FlowInstance, tuple[int, ...]]]:
    group = next(group for group in program.groups if group.name == instruction.group)
    wanted = set(ranks)
    model = costs.transport(instruction.transport)
    for members in group.communicators(program.mesh):
        if members[0] in wanted:
            devices = tuple(program.device(rank) for rank in members)
            plan = model.plan(instruction.kind, devices, instruction.payload_bytes)
            yield FlowInstance(number, members, False, plan), members
