"""Costs of several jobs side by side: each is priced as it would be alone, by whose operator, group or device it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from simdml.cluster.endpoint import Endpoint
from simdml.costs.collectives.plan import CollectiveCost, CollectiveKind, TransferPlan
from simdml.costs.compute import ComputeCost
from simdml.costs.feed import FeedCost
from simdml.costs.messages import MessageCost
from simdml.costs.model import CostModel, ServerCost
from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity
from simdml.program.merging import part_of
from simdml.workload.operators import Family, Operator, Phase


@dataclass(frozen=True, slots=True)
class OwnedOperator(Operator):
    """An operator of job ``part``; ``launches`` are those of ``inner`` times what its host takes for one."""

    part: int = 0
    inner: Operator | None = None


@dataclass(frozen=True, slots=True)
class Pause(Operator):
    """No kernel: the device does nothing for ``seconds``."""

    seconds: float = 0.0


def pause(seconds: float) -> Pause:
    """Return a pause; no host launches it."""
    return Pause("pause", Family.ELEMENTWISE, Phase.FORWARD, 0.0, 0.0, 0.0, launches=0, seconds=seconds)


def owned(costs: Sequence[CostModel], part: int, operator: Operator, activity: Activity) -> Operator:
    """Return what stands for an operator of job ``part`` in a merged program: host seconds a launch are counted in."""
    if isinstance(operator, Pause):
        return operator
    values = {field.name: getattr(operator, field.name) for field in fields(Operator)}
    values["launches"] = operator.launches * costs[part].launch_s(activity)
    return OwnedOperator(**values, part=part, inner=operator)


class _OwnedCompute:
    """Prices an operator as the device of its own job does; of the host's processors without a ``device``."""

    def __init__(self, costs: Sequence[CostModel], device: str | None) -> None:
        self._costs = costs
        self._device = device

    def seconds(self, operator: Operator, precision: str) -> float:
        """Return device seconds."""
        del precision
        if isinstance(operator, Pause):
            return operator.seconds
        assert isinstance(operator, OwnedOperator)
        assert operator.inner is not None
        costs = self._costs[operator.part]
        cost = costs.host if self._device is None else costs.compute[self._device]
        assert cost is not None
        return cost.seconds(operator.inner, costs.precision) + operator.inner.launches * costs.dispatch.wait_s


@dataclass(frozen=True, slots=True, eq=False)
class _OwnedCollectives:
    """The library of the job that the first member belongs to; no two are equal."""

    libraries: Sequence[CollectiveCost]
    part_of_device: Mapping[int, int]

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of that job's library."""
        return self.libraries[self.part_of_device[members[0]]].plan(kind, members, payload_bytes)


@dataclass(frozen=True)
class _OwnedMessages(MessageCost):
    """The messages of the job that has the nodes at their ends."""

    messages: tuple[MessageCost, ...] = ()
    part_of_node: Mapping[int, int] | None = field(default=None, compare=False)

    def plan_of_parts(self, ends: Sequence[tuple[Endpoint, Endpoint]]) -> TransferPlan:
        """Return that job's plan."""
        assert self.part_of_node is not None
        source = ends[0][0]
        node = self.cluster.node_of(source.index) if source.kind == "gpu" else source.index
        return self.messages[self.part_of_node[node]].plan_of_parts(ends)


@dataclass(frozen=True, slots=True)
class _OwnedFeed(FeedCost):
    """The loader of the job that has the node."""

    feeds: tuple[FeedCost, ...] = ()
    part_of_node: Mapping[int, int] | None = field(default=None, compare=False)

    def plan(self, stage: Literal["storage", "decode"], node: int) -> TransferPlan:
        """Return that job's plan."""
        assert self.part_of_node is not None
        return self.feeds[self.part_of_node[node]].plan(stage, node)


@dataclass(frozen=True, slots=True)
class MergedCosts(CostModel):
    """Costs of a program made by :func:`simdml.program.merging.merge` with operators by :func:`owned`."""

    parts: Sequence[CostModel] = ()

    def of_collective(self, transport: str, group: str) -> CollectiveCost:
        """Return the cost model that the job of ``group`` would use alone."""
        part, inner = part_of(group)
        return self.parts[part].of_collective(transport, inner)


def merge_costs(
    costs: Sequence[CostModel], part_of_device: Mapping[int, int], part_of_node: Mapping[int, int]
) -> MergedCosts:
    """Return the costs of jobs side by side, which of them each GPU and each node belongs to being given.

    Raises:
        InfeasibleError: parameter servers of different speed.
    """
    servers = {each.server for each in costs if each.server != ServerCost()}
    if len(servers) > 1:
        raise InfeasibleError("parameter servers of jobs beside each other need the same speed and cost of a message")
    devices = {device for each in costs for device in each.compute}
    compute: dict[str, ComputeCost] = {device: _OwnedCompute(costs, device) for device in sorted(devices)}
    first = costs[0].messages
    return MergedCosts(
        compute=compute,
        collectives=_OwnedCollectives([each.collectives for each in costs], part_of_device),
        messages=_OwnedMessages(
            first.cluster, messages=tuple(each.messages for each in costs), part_of_node=part_of_node
        ),
        precision="",
        host_launch_s=1.0,
        server=servers.pop() if servers else ServerCost(),
        host=_OwnedCompute(costs, None) if any(each.host is not None for each in costs) else None,
        feed=_OwnedFeed(feeds=tuple(each.feed for each in costs), part_of_node=part_of_node),
        parts=costs,
    )
