"""Collectives as steps of messages, priced in order: what libraries of one's own do where NCCL has no such algorithm.

A step's messages go at once and wait for each other; it takes a message's latency, that of NCCL's Simple protocol on
the slowest way, and its bytes at the rate of the fullest link. Sources: Thakur, Rabenseifner and Gropp, IJHPCA 19(1),
2005 (halving and doubling, binomial trees, pairwise exchange); Jia et al., arXiv 1807.11205 (hierarchical).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from simdml.costs.collectives.plan import CollectiveKind
from simdml.errors import InfeasibleError

Message = tuple[int, int]
"""Source and destination, as GPUs."""
Nodes = Sequence[Sequence[int]]
"""The members by node, in their order."""


@dataclass(frozen=True, slots=True)
class Step:
    """``times`` times over: every message carries ``share`` of the payload."""

    messages: tuple[Message, ...]
    share: float
    times: int = 1


@dataclass(frozen=True, slots=True)
class StepAlgorithm:
    """An algorithm by name: the ``kinds`` it does, what it ``means``, and its steps for members by node."""

    name: str
    kinds: tuple[CollectiveKind, ...]
    meaning: str
    cost: str
    steps: Callable[[CollectiveKind, Nodes], Iterator[Step]]


def halving_doubling(kind: CollectiveKind, nodes: Nodes) -> Iterator[Step]:
    """Yield log2 n exchanges of halves, nearest first, and of doubles, nearest last: 2 (n-1)/n of the payload a rank.

    Raises:
        InfeasibleError: n is no power of two.
    """
    members = _flat(nodes)
    _refuse_odd("halving and doubling", len(members))
    distances = [1 << bit for bit in range(len(members).bit_length() - 1)]
    halves = [Step(_exchange(members, distance), 0.5 / distance) for distance in distances]
    if kind is not CollectiveKind.ALL_GATHER:
        yield from halves
    if kind is not CollectiveKind.REDUCE_SCATTER:
        yield from reversed(halves)


def recursive_doubling(kind: CollectiveKind, nodes: Nodes) -> Iterator[Step]:
    """Yield log2 n exchanges of the whole payload, for small ones.

    Raises:
        InfeasibleError: n is no power of two.
    """
    del kind
    members = _flat(nodes)
    _refuse_odd("recursive doubling", len(members))
    for bit in range(len(members).bit_length() - 1):
        yield Step(_exchange(members, 1 << bit), 1.0)


def hierarchical(kind: CollectiveKind, nodes: Nodes) -> Iterator[Step]:
    """Yield a reduce-scatter ring in every node, rings across nodes of each part, and an all-gather ring in every node.

    Raises:
        InfeasibleError: one node, or nodes with different numbers of members, or with one.
    """
    here = len(nodes[0])
    if len(nodes) < 2 or here < 2 or any(len(each) != here for each in nodes):
        counts = ", ".join(str(count) for count in sorted({len(each) for each in nodes}))
        raise InfeasibleError(
            f"hierarchical needs several nodes with as many GPUs each, at least two; the group has {counts} on "
            f"{len(nodes)}",
            hint="Ring, or another group",
        )
    inside = Step(tuple(hop for each in nodes for hop in _ring(each)), 1 / here, here - 1)
    columns = [[each[place] for each in nodes] for place in range(here)]
    turns = 2 if kind is CollectiveKind.ALL_REDUCE else 1
    across = Step(tuple(hop for each in columns for hop in _ring(each)), 1 / (here * len(nodes)), len(nodes) - 1)
    if kind is not CollectiveKind.ALL_GATHER:
        yield inside
    yield Step(across.messages, across.share, turns * across.times)
    if kind is not CollectiveKind.REDUCE_SCATTER:
        yield inside


def binomial_tree(kind: CollectiveKind, nodes: Nodes) -> Iterator[Step]:
    """Yield ceil(log2 n) steps of the whole payload, each reaching twice as many; reduce is the reverse."""
    members = _flat(nodes)
    steps = []
    reached = 1
    while reached < len(members):
        sends = zip(members[:reached], members[reached : 2 * reached], strict=False)
        steps.append(Step(tuple(sends), 1.0))
        reached *= 2
    if kind is CollectiveKind.BROADCAST:
        yield from steps
        return
    for step in reversed(steps):
        yield Step(tuple((destination, source) for source, destination in step.messages), 1.0)


def pairwise_exchange(kind: CollectiveKind, nodes: Nodes) -> Iterator[Step]:
    """Yield n-1 steps: in the k-th every rank sends its part for the one k places further."""
    del kind
    members = _flat(nodes)
    count = len(members)
    for offset in range(1, count):
        yield Step(tuple((here, members[(place + offset) % count]) for place, here in enumerate(members)), 1 / count)


_GATHERS: Final = (CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER)
_SUMS: Final = (CollectiveKind.ALL_REDUCE, *_GATHERS)
STEP_ALGORITHMS: Final[Mapping[str, StepAlgorithm]] = {
    each.name: each
    for each in (
        StepAlgorithm(
            "halving_doubling",
            _SUMS,
            "exchanges with ranks 1, 2, 4, ... away of a half, a quarter, ..., and back; a power of two ranks",
            "2 log2(n) x latency + 2 (n-1)/n x S / bandwidth",
            halving_doubling,
        ),
        StepAlgorithm(
            "recursive_doubling",
            (CollectiveKind.ALL_REDUCE,),
            "exchanges of the whole buffer with ranks 1, 2, 4, ... away; a power of two ranks",
            "log2(n) x (latency + S / bandwidth)",
            recursive_doubling,
        ),
        StepAlgorithm(
            "hierarchical",
            _SUMS,
            "reduce-scatter in each of N nodes of g, all-reduce of each part across nodes, all-gather in each node",
            "2 (g-1) x (latency + S/g / NVLink) + 2 (N-1) x (latency + S/gN / NIC)",
            hierarchical,
        ),
        StepAlgorithm(
            "binomial_tree",
            (CollectiveKind.BROADCAST, CollectiveKind.REDUCE),
            "whoever has the buffer sends it to one more, so that twice as many have it after each step",
            "ceil(log2(n)) x (latency + S / bandwidth)",
            binomial_tree,
        ),
        StepAlgorithm(
            "pairwise_exchange",
            (CollectiveKind.ALL_TO_ALL,),
            "n-1 steps, in each of which a rank sends to one other and receives from one other",
            "(n-1) x (latency + S/n / bandwidth)",
            pairwise_exchange,
        ),
    )
}


def loads_of(step: Step, links: Callable[[int, int], Sequence[int]]) -> dict[int, float]:
    """Return the bytes of one turn of ``step`` on every link per payload byte, by the ``links`` between two GPUs."""
    loads: dict[int, float] = defaultdict(float)
    for source, destination in step.messages:
        for link in links(source, destination):
            loads[link] += step.share
    return loads


def _flat(nodes: Nodes) -> list[int]:
    return [gpu for each in nodes for gpu in each]


def _ring(members: Sequence[int]) -> list[Message]:
    return list(zip(members, (*members[1:], members[0]), strict=True))


def _exchange(members: Sequence[int], distance: int) -> tuple[Message, ...]:
    return tuple((here, members[place ^ distance]) for place, here in enumerate(members))


def _refuse_odd(what: str, count: int) -> None:
    if count & (count - 1):
        near = 1 << count.bit_length() - 1
        raise InfeasibleError(
            f"{what} needs a power of two ranks, and the group has {count}", hint=f"{near} or {2 * near} ranks, or Ring"
        )
