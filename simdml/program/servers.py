"""Parameter-server shards, and when what workers push becomes part of what they pull."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bulk:
    """Bulk synchronous: a version of a key is the sum of one push of each of ``workers`` (Valiant, CACM 1990).

    With bounded ``delay`` a worker begins a step when all it asked for up to that many steps before the last is there
    (Li et al., OSDI 2014, section 3.4); 0 makes it wait for everything.
    """

    workers: int
    delay: int = 0


@dataclass(frozen=True, slots=True)
class Backup:
    """Bulk synchronous with backup workers: a step takes the first ``needed`` of ``workers`` gradients of every key.

    Gradients made from parameters of an earlier step are dropped; a worker begins again when the step it worked on is
    over for all keys (Chen et al., "Revisiting distributed synchronous SGD", arXiv 1604.00981; TensorFlow's
    sync_replicas_optimizer.py, whose token queue may also hand out tokens of steps that are over; here it does not).
    """

    workers: int
    needed: int


@dataclass(frozen=True, slots=True)
class Stale:
    """Every push is applied when it comes; a worker is at most ``bound`` steps ahead of the slowest, None without end.

    Stale synchronous parallel (Ho et al., NIPS 2013): with c pushes of its own done, a worker reads a key when at least
    c - bound pushes of every worker are part of it. With bound 0 nobody can read a key between two steps, so its
    pushes are summed and applied once, as in :class:`Bulk`.
    """

    workers: int
    bound: int | None = None


Consistency = Bulk | Backup | Stale


def in_lockstep(consistency: Consistency) -> bool:
    """Whether all workers do the same steps in the same time, whatever happens to one of them."""
    return isinstance(consistency, Bulk) or (isinstance(consistency, Stale) and consistency.bound == 0)


@dataclass(frozen=True, slots=True)
class ServerWork:
    """Bytes a shard reads and writes per byte pushed.

    ``copy`` for the first gradient of a version (2: read it, write the sum; MXNet's and BytePS's servers copy the first
    and add the others), ``sum`` for each further one (3), ``update`` to apply the optimizer once (0 where workers do).
    An update also takes so many ``commands`` of a coordinator, each of which comes over the network and is answered.
    """

    copy: float = 2.0
    sum: float = 3.0
    update: float = 3.0
    commands: int = 0


@dataclass(frozen=True, slots=True)
class ServerShard:
    """A parameter-server shard on the host of its node, or equal shards, one on each of ``nodes``.

    Equal shards get equal parts of every message. ``threads`` work side by side; with ``key_lock`` a key belongs to one
    of them, so no two work on it at once.
    """

    name: str
    nodes: tuple[int, ...]
    consistency: Consistency
    work: ServerWork = ServerWork()
    threads: int = 1
    key_lock: bool = True
