"""One micro-batch after the other, over a V of two chunks a device: a schedule that nothing else knows of."""

from simdml.errors import InfeasibleError
from simdml.strategies.schedules import Action, Schedule, v_shaped


def order(device, depth, num_microbatches, chunks):
    """Every micro-batch goes forward and backward before the next one starts."""
    if num_microbatches > 16:
        raise InfeasibleError("nobody wants to wait that long", hint="at most 16 micro-batches")
    actions = []
    for microbatch in range(num_microbatches):
        actions += [Action("F", microbatch, chunk) for chunk in range(chunks)]
        actions += [Action(half, microbatch, chunk) for half in ("I", "W") for chunk in reversed(range(chunks))]
    return actions


SCHEDULE = Schedule("no_pipelining", "one micro-batch after the other", order, paths=v_shaped, chunks=2)
