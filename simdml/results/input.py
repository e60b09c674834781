"""What loading training data did to a step: what each stage could do at most, and which one training waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from simdml.engine.execution import Execution
from simdml.program.instructions import INPUT, HostCopy, Load
from simdml.results.links import link_bytes
from simdml.strategies.input_pipeline import InputPlan

COPY: Final = "copy"
NOTHING: Final = "nothing"
IN_TURN: Final = "in turn"
TOO_FEW: Final = "too few ahead"
NEGLIGIBLE: Final = 0.001
"""The part of a step below which it does not wait for data."""
FULL: Final = 0.99
"""The part of a step that a stage works in which it, and nothing else, makes wait."""


@dataclass(frozen=True, slots=True)
class InputActivity:
    """How a step was fed.

    ``waits_s`` of the step are spent waiting for data or copying them among the kernels, on the ranks that wait longest
    (those that do not load wait for them). ``stage_s`` is what each stage takes at least for the data of a step, with
    what else its links carry. ``binding`` is the stage that makes training wait; or ``"in turn"`` where batches are
    loaded while nothing is trained, ``"too few ahead"`` where stages wait for each other, ``"nothing"``.
    """

    waits_s: float
    stage_s: Mapping[str, float]
    binding: str


def input_activity(execution: Execution, plan: InputPlan, step_time_s: float, waits_s: float) -> InputActivity:
    """Return how a step of ``step_time_s`` was fed, of which ``waits_s`` were booked as input."""
    stages = dict(_stage_seconds(execution))
    return InputActivity(waits_s, stages, _binding(stages, plan, step_time_s, waits_s))


def _binding(stages: Mapping[str, float], plan: InputPlan, step_time_s: float, waits_s: float) -> str:
    if waits_s <= NEGLIGIBLE * step_time_s:
        return NOTHING
    slowest = max(stages, key=lambda stage: stages[stage])
    if stages[slowest] >= FULL * step_time_s:
        return slowest
    if not plan.copies_ahead and stages[COPY] >= FULL * waits_s:
        return COPY
    return TOO_FEW if plan.prefetch else IN_TURN


def _stage_seconds(execution: Execution) -> Iterator[tuple[str, float]]:
    """Yield for each stage the seconds of its busiest rank or link, with all that the link carries."""
    partition, table = execution.partition, execution.table
    capacity = execution.cluster.links.capacity_bytes_per_s
    carried = link_bytes(execution)
    seconds: dict[str, float] = defaultdict(float)
    for rank in partition.representatives:
        for stage, moved, times in _moves(execution, rank):
            _, rate = table.price(moved, rank)
            links = partition.weights[int(partition.flow_class[table.find(moved, rank)])]
            full = [carried[link] / float(capacity[partition.link_representatives[link]]) for link in links]
            seconds[stage] = max(seconds[stage], times * moved.payload_bytes / rate, *full)
    yield from seconds.items()


def _moves(execution: Execution, rank: int) -> Iterator[tuple[str, Load | HostCopy, int]]:
    """Yield the stages of the rank's input, what moves its data there, and how often in a step."""
    program = execution.program
    for stream in program.classes[program.class_of_rank[rank]].streams:
        for instruction, times in stream.counts:
            if isinstance(instruction, Load):
                yield instruction.stage, instruction, times
            elif isinstance(instruction, HostCopy) and instruction.account == INPUT:
                yield COPY, instruction, times
