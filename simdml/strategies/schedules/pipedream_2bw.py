"""PipeDream-2BW: asynchronous 1F1B with two versions of the weights (Narayanan et al., ICML 2021, arXiv 2006.09503)."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.pipedream import order as pipedream_order
from simdml.strategies.schedules.pipedream import warm_up
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return PipeDream's order; gradients of the m micro-batches of a step are summed before one update.

    With m >= p no micro-batch in flight needs more than the version before (section 3.1 of the paper).
    """
    if num_microbatches < depth:
        raise InfeasibleError(
            f"pipedream_2bw sums the gradients of at least as many micro-batches as there are stages, {depth}, "
            f"not {num_microbatches}",
            hint=f"{depth} micro-batches or more, or pipedream",
        )
    return pipedream_order(device, depth, num_microbatches, chunks)


def two_versions(device: int, depth: int) -> int:
    """Return 2, the double buffer the schedule is named after; 1 without a pipeline."""
    del device
    return min(2, depth)


PIPEDREAM_2BW = Schedule(
    "pipedream_2bw",
    "asynchronous 1F1B without flush, two versions of the weights, an update a step (arXiv 2006.09503)",
    order,
    warm_up=warm_up,
    weight_versions=two_versions,
    system="PipeDream-2BW (msr-fiddle)",
)
