"""Collectives that frameworks make of copies from and to one device.

``RootCopies`` are plain copies between the first member and every other one: torch.nn.DataParallel's scatter and gather
(torch/csrc/cuda/comm.cpp), TensorFlow's ReductionToOneDevice. ``HierarchicalCopies`` go through one device of each half
of the machine, TensorFlow's HierarchicalCopyAllReduce for DGX-1 (tensorflow/python/distribute/cross_device_utils.py,
aggregate_gradients_using_hierarchical_copy).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu
from simdml.costs.collectives.plan import CollectiveKind, TransferPlan
from simdml.errors import InfeasibleError

Copy = tuple[int, int]
"""Source and destination of one copy."""


@dataclass(frozen=True, slots=True)
class RootCopies:
    """Copies between the first member and each other; ``per_copy_s`` is the cost of starting one, one after another."""

    cluster: Cluster
    per_copy_s: float = 10e-6

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of a rooted collective.

        Broadcast copies the payload to every other member and reduce takes it from each; scatter and gather move a
        part of it for each.

        Raises:
            InfeasibleError: for collectives without a root.
        """
        del payload_bytes
        root, *others = members
        inward = kind in (CollectiveKind.REDUCE, CollectiveKind.GATHER)
        if not inward and kind not in (CollectiveKind.BROADCAST, CollectiveKind.SCATTER):
            raise InfeasibleError(f"copies from and to one device are no {kind}")
        share = 1.0 if kind in (CollectiveKind.BROADCAST, CollectiveKind.REDUCE) else 1.0 / len(members)
        copies = [(other, root) if inward else (root, other) for other in others]
        return copies_plan(self.cluster, "root copies", copies, share, self.per_copy_s * len(others))


@dataclass(frozen=True, slots=True)
class HierarchicalCopies:
    """Copies within each half of the members, to and from its first, and between the two firsts.

    Reduce is the sum within each half, all-reduce the exchange of the two sums, broadcast the way back.
    """

    cluster: Cluster
    per_copy_s: float = 10e-6

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of one of the three phases.

        Raises:
            InfeasibleError: for other collectives, and members that have no halves of two or more.
        """
        del payload_bytes
        half = len(members) // 2
        if len(members) % 2 or half < 2:
            raise InfeasibleError(
                f"{len(members)} GPUs have no two halves of at least two", hint="4 or 8 GPUs, or cross_device_ops: nccl"
            )
        first, second = members[:half], members[half:]
        if kind is CollectiveKind.ALL_REDUCE:
            copies = [(first[0], second[0]), (second[0], first[0])]
        elif kind is CollectiveKind.REDUCE:
            copies = [(member, part[0]) for part in (first, second) for member in part[1:]]
        elif kind is CollectiveKind.BROADCAST:
            copies = [(part[0], member) for part in (first, second) for member in part[1:]]
        else:
            raise InfeasibleError(f"copies by halves are no {kind}")
        return copies_plan(self.cluster, "copies by halves", copies, 1.0, self.per_copy_s * max(half - 1, 1))


def copies_plan(cluster: Cluster, name: str, copies: Iterable[Copy], share: float, starting_s: float) -> TransferPlan:
    """Return the plan of copies that all run at once, each of ``share`` of the payload."""
    loads: dict[int, float] = defaultdict(float)
    latency = 0.0
    for source, destination in copies:
        route = cluster.route(gpu(source), gpu(destination))
        latency = max(latency, route.latency_s)
        for link in route.links:
            loads[link] += share
    capacity = cluster.links.capacity_bytes_per_s
    rate = min((float(capacity[link]) / load for link, load in loads.items()), default=float("inf"))
    return TransferPlan(name, "", latency + starting_s, rate, tuple(loads), tuple(loads.values()))
