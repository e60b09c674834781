"""Horovod's tensor fusion: which gradients its background thread reduces together, given when they come.

horovod/common/operations.cc (RunLoopOnce, PerformOperation) and controller.cc (FuseResponses): every cycle the thread
takes what frameworks have submitted, in that order, fuses it up to the threshold, and waits on the host until the
gradients of a fused message are computed before it launches the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from simdml.costs.compute import ComputeCost
from simdml.costs.dispatch import NOTHING, Dispatch
from simdml.program.instructions import Activity, Compute
from simdml.strategies.data_parallel.buckets import Bucket
from simdml.strategies.stage_code import StageCode
from simdml.workload.operators import Operator


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What kernels take on the device, and what the host takes to launch one, by what it is part of."""

    cost: ComputeCost
    precision: str
    launch_s: float
    dispatch: Dispatch = NOTHING

    def kernel_s(self, operator: Operator) -> float:
        """Return seconds of one kernel."""
        return self.cost.seconds(operator, self.precision) + operator.launches * self.dispatch.wait_s

    def host_s(self, operator: Operator, activity: Activity) -> float:
        """Return seconds until the host has launched an operator's kernels."""
        return operator.launches * self.dispatch.launch_s(self.launch_s, activity)


@dataclass(frozen=True, slots=True)
class Submission:
    """A gradient: its bytes, when the host submits it and when the device has computed it, in seconds."""

    payload_bytes: int
    submitted_s: float
    ready_s: float


def submissions(code: StageCode, gradient_bytes: int, micro_batches: int, clock: KernelClock) -> list[Submission]:
    """Return the gradients of a step in the order backward makes them.

    The host launches from the start of the step and runs ahead of the device; a gradient is submitted when the kernels
    of its layer are launched.
    """
    before = [op for step in code.forward_steps() for op in _operators(step.instructions)]
    whole = [*before, *(op for step in code.backward_steps() for op in _operators(step.instructions))]
    launched = sum(clock.host_s(*op) for op in whole) * (micro_batches - 1)
    computed = sum(clock.kernel_s(op) for op, _ in whole) * (micro_batches - 1)

    def run(operators: Sequence[tuple[Operator, Activity]]) -> None:
        nonlocal launched, computed
        for op, activity in operators:
            launched += clock.host_s(op, activity)
            computed = max(computed, launched) + clock.kernel_s(op)

    run(before)
    sizes = iter(code.gradients())
    found = []
    for step in code.backward_steps():
        run(_operators(step.instructions))
        for _ in range(step.gradients):
            found.append(Submission(next(sizes) * gradient_bytes, launched, computed))
    return found


def fuse(gradients: Sequence[Submission], cycle_s: float, threshold_bytes: int) -> list[Bucket]:
    """Return the messages in the order they are launched.

    A message ends before a gradient that would take it above the threshold; one larger than that is alone. While the
    thread waits for a message's gradients it takes no new ones, and the next cycle begins at once if one is overdue.
    """
    messages: list[Bucket] = []
    taken, now = 0, 0.0
    while taken < len(gradients):
        submitted = gradients[taken].submitted_s
        if submitted > now:
            now = ceil(submitted / cycle_s) * cycle_s if cycle_s else submitted
        waiting = taken
        while waiting < len(gradients) and gradients[waiting].submitted_s <= now:
            waiting += 1
        began = now
        for members in _fused(gradients, range(taken, waiting), threshold_bytes):
            now = max(now, *(gradients[index].ready_s for index in members))
            messages.append(Bucket(sum(gradients[index].payload_bytes for index in members), members))
        now = max(now, began + cycle_s)
        taken = waiting
    return messages


def _fused(gradients: Sequence[Submission], indices: range, threshold: int) -> list[tuple[int, ...]]:
    groups: list[tuple[int, ...]] = []
    size, members = 0, list[int]()
    for index in indices:
        if members and size + gradients[index].payload_bytes > threshold:
            groups.append(tuple(members))
            size, members = 0, []
        size += gradients[index].payload_bytes
        members.append(index)
    return [*groups, tuple(members)] if members else groups


def _operators(instructions: Sequence[object]) -> list[tuple[Operator, Activity]]:
    computes = (instruction for instruction in instructions if isinstance(instruction, Compute))
    return [(operator, compute.activity) for compute in computes for operator in compute.operators]
