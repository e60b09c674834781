"""Which server holds what: rules that place pieces of tensors, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

PlacementName = Literal[
    "round_robin", "greedy_by_bytes", "sharded", "mxnet_hash", "byteps_hash", "byteps_mixed", "byteps_optimal"
]
Parts = list[tuple[int, float]]
"""Servers and the bytes each of them gets of one piece."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part number ``part`` of tensor number ``tensor``, in the order of registration."""

    tensor: int
    part: int
    nbytes: float


@dataclass(frozen=True, slots=True)
class Servers:
    """``total`` servers, the first ``extra`` of them on machines without workers.

    Arrays of fewer than ``big_array_bytes`` stay whole under ``mxnet_hash``.
    """

    total: int
    extra: int = 0
    big_array_bytes: float = 4e6

    @property
    def workers(self) -> int:
        """Machines with workers, each of which has a server too."""
        return self.total - self.extra


def place(tensors: Sequence[tuple[str, int]], num_servers: int, placement: PlacementName) -> list[Parts]:
    """Return the parts of whole tensors, given as ``(name, bytes)``."""
    pieces = [Piece(number, 0, float(nbytes)) for number, (_, nbytes) in enumerate(tensors)]
    return PLACEMENTS[placement](pieces, Servers(num_servers))


def _round_robin(pieces: Sequence[Piece], servers: Servers) -> list[Parts]:
    """Place pieces in turn (tensorflow/python/training/device_setter.py; P3's slices)."""
    return [[(index % servers.total, piece.nbytes)] for index, piece in enumerate(pieces)]


def _greedy(pieces: Sequence[Piece], servers: Servers) -> list[Parts]:
    """Place each piece on the server with the fewest bytes so far (TensorFlow's GreedyLoadBalancingStrategy)."""
    load = [0.0] * servers.total
    placed = []
    for piece in pieces:
        server = load.index(min(load))
        load[server] += piece.nbytes
        placed.append([(server, piece.nbytes)])
    return placed


def _sharded(pieces: Sequence[Piece], servers: Servers) -> list[Parts]:
    """Cut every piece into equal parts, one a server."""
    return [_cut(piece, [1 / servers.total] * servers.total) for piece in pieces]


def _mxnet_hash(pieces: Sequence[Piece], servers: Servers) -> list[Parts]:
    """Place small arrays on server key x 9973 mod S, and cut big ones evenly over all (src/kvstore/kvstore_dist.h).

    Keys are numbers in order; a piece of a tensor is an array with a key of its own (ByteScheduler's partitions).
    """
    return [
        [(key * 9973 % servers.total, piece.nbytes)]
        if piece.nbytes < servers.big_array_bytes
        else _cut(piece, [1 / servers.total] * servers.total)
        for key, piece in enumerate(pieces)
    ]


def _byteps_hash(pieces: Sequence[Piece], servers: Servers) -> list[Parts]:
    """Place each partition on the server its key's djb2 hash says (byteps/common/global.cc)."""
    return [[(djb2(_byteps_key(piece)) % servers.total, piece.nbytes)] for piece in pieces]


MIXED_BOUND: Final = 101
"""BytePS's default of BYTEPS_MIXED_MODE_BOUND."""


def _byteps_mixed(pieces: Sequence[Piece], servers: Servers) -> list[Parts]:
    """Place partitions so that servers without workers get about their optimal share (Hash_Mixed_Mode)."""
    threshold = extra_share(servers) * MIXED_BOUND
    placed = []
    for piece in pieces:
        spread = djb2(_byteps_key(piece)) % MIXED_BOUND
        extra = spread < threshold
        first, among = (0, servers.extra) if extra else (servers.extra, servers.workers)
        placed.append([(first + djb2(spread) % among, piece.nbytes)])
    return placed


def _byteps_optimal(pieces: Sequence[Piece], servers: Servers) -> list[Parts]:
    """Cut every piece into the shares that make all machines equally busy."""
    extra = extra_share(servers)
    shares = [extra / servers.extra] * servers.extra if servers.extra else []
    shares += [(1 - extra) / servers.workers] * servers.workers if servers.workers else []
    return [[part for part in _cut(piece, shares) if part[1] > 0] for piece in pieces]


def extra_share(servers: Servers) -> float:
    """Return the share of all bytes that the servers without workers hold together.

    2 k (n - 1) / (n (n + k) - 2 k) for k of them and n machines with workers, which makes the traffic of every NIC
    equal (Jiang et al., "A unified architecture for accelerating distributed DNN training", OSDI 2020, section 4.1;
    byteps/common/global.cc); holds for k <= n. A single machine with workers keeps nothing of its own worth sending.
    """
    extra, workers = servers.extra, servers.workers
    if not extra or not workers:
        return 1.0 if extra else 0.0
    if workers == 1:
        return 0.0
    return 2 * extra * (workers - 1) / (workers * (workers + extra) - 2 * extra)


def djb2(key: int) -> int:
    """Return the djb2 hash of the digits of ``key`` (byteps/common/global.cc, Hash_DJB2)."""
    found = 5381
    for digit in str(key):
        found = (found * 33 + ord(digit)) % 2**64
    return found


def _byteps_key(piece: Piece) -> int:
    """Return the key of a partition: the declared tensor in the high bits (byteps/common/operations.cc)."""
    return (piece.tensor << 16) + piece.part


def _cut(piece: Piece, shares: Sequence[float]) -> Parts:
    return [(server, piece.nbytes * share) for server, share in enumerate(shares)]


PLACEMENTS: Mapping[str, Callable[[Sequence[Piece], Servers], list[Parts]]] = {
    "round_robin": _round_robin,
    "greedy_by_bytes": _greedy,
    "sharded": _sharded,
    "mxnet_hash": _mxnet_hash,
    "byteps_hash": _byteps_hash,
    "byteps_mixed": _byteps_mixed,
    "byteps_optimal": _byteps_optimal,
}
