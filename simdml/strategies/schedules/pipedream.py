"""PipeDream: asynchronous 1F1B that never flushes, with weight stashing (Narayanan et al., SOSP 2019)."""

from __future__ import annotations

from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.schedule import Schedule


def warm_up(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return the p-1-i forwards with which device i starts (msr-fiddle/pipedream:runtime/runtime.py)."""
    del chunks
    return [Action("F", microbatch % num_microbatches) for microbatch in range(depth - 1 - device)]


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return forward and backward in turn, the forward p-1-i micro-batches ahead: no bubble in the steady state.

    p-i micro-batches are live on device i, each with the weights of its forward.
    """
    del chunks
    ahead = depth - 1 - device
    return [
        action
        for microbatch in range(num_microbatches)
        for action in (Action("F", (microbatch + ahead) % num_microbatches), Action("B", microbatch))
    ]


def versions_in_flight(device: int, depth: int) -> int:
    """Return p-i: one version of the weights for every micro-batch in flight."""
    return depth - device


PIPEDREAM = Schedule(
    "pipedream",
    "asynchronous 1F1B without flush, weights stashed and updated after every micro-batch (SOSP 2019)",
    order,
    warm_up=warm_up,
    weight_versions=versions_in_flight,
    update_each=True,
    system="PipeDream (msr-fiddle)",
)
