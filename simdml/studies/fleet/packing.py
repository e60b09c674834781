"""Nodes and the GPUs that are free on each: where a job fits."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Placement = Literal["best_fit", "first_fit", "spread"]
Free = NDArray[np.int64]
Taken = tuple[tuple[int, int], ...]
"""Pairs of a node and how many of its GPUs."""
_LARGE: Final = 1 << 40


def place(free: Free, gpus: int, node_gpus: int, placement: Placement) -> Taken | None:
    """Return which GPUs a job takes, None if it does not fit.

    A job of a node or more takes whole nodes that are empty, the first ones, and its rest as a smaller job does: on one
    node with enough free GPUs; the fullest such node, the first, or the emptiest.
    """
    whole, rest = divmod(gpus, node_gpus)
    if not whole:
        node = _node_for(free, rest, placement)
        return None if node is None else ((node, rest),)
    empty = np.flatnonzero(free == node_gpus)[:whole]
    if len(empty) < whole:
        return None
    taken = tuple((int(node), node_gpus) for node in empty)
    if not rest:
        return taken
    left = free.copy()
    left[empty] = 0
    node = _node_for(left, rest, placement)
    return None if node is None else (*taken, (node, rest))


def _node_for(free: Free, gpus: int, placement: Placement) -> int | None:
    fits = free >= gpus
    if not fits.any():
        return None
    if placement == "first_fit":
        return int(fits.argmax())
    if placement == "spread":
        return int(free.argmax())
    return int(np.where(fits, free, _LARGE).argmin())


def take(free: Free, taken: Taken) -> None:
    """Take GPUs away from what is free."""
    for node, gpus in taken:
        free[node] -= gpus


def give_back(free: Free, taken: Taken) -> None:
    """Give GPUs back."""
    for node, gpus in taken:
        free[node] += gpus
