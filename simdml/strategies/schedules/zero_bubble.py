"""Zero bubble, one chunk a device: weight gradients wait until a device has nothing better to do.

The hand-written schedules of Qi et al., ICLR 2024 (arXiv 2401.10241, section 2), which assume that forward, input
gradients and weight gradients take equally long. Their runtime measures the three and solves for an order instead.
"""

from __future__ import annotations

from simdml.strategies.schedules.actions import Action


def deferred_weights(warm_up: int, pending: int, num_microbatches: int) -> list[Action]:
    """Return 1F1B after ``warm_up`` forwards, whose weight gradients run once more than ``pending`` of them wait.

    Draining, a weight gradient follows every input gradient; those left come last.
    """
    warm_up = min(warm_up, num_microbatches)
    actions = [Action("F", microbatch) for microbatch in range(warm_up)]
    weights = 0
    for microbatch in range(num_microbatches):
        forward = microbatch + warm_up
        actions += [Action("F", forward)] if forward < num_microbatches else []
        actions.append(Action("I", microbatch))
        if microbatch + 1 - weights > pending or forward >= num_microbatches:
            actions.append(Action("W", weights))
            weights += 1
    return actions + [Action("W", microbatch) for microbatch in range(weights, num_microbatches)]
