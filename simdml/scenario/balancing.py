"""Where stages begin so that the slowest, or the fullest, is as small as can be, by a job's own costs.

As torchgpipe's balance_by_time and balance_by_size (kakaobrain/torchgpipe, torchgpipe/balance): contiguous blocks, the
largest sum smallest. Time is that of kernels forward and backward; memory what a block's state and one micro-batch's
activations take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from simdml.costs.activations import Keeping
from simdml.costs.model import CostModel
from simdml.program.instructions import Compute
from simdml.program.program import Stream
from simdml.scenario.choices import Choices
from simdml.strategies.data_parallel.replica import Replica
from simdml.strategies.job import Job
from simdml.strategies.schedules import find_schedule
from simdml.strategies.stage_code import stage_code
from simdml.strategies.stages import balanced_begins
from simdml.workload.model import Block

By = Literal["time", "memory"]


def with_balance(job: Job, by: By | None, costs: CostModel, path: str, choices: Choices) -> Job:
    """Return ``job`` with its stages cut by ``by``, noted under ``path``; as it is without.

    Raises:
        InfeasibleError: more stages than blocks.
    """
    if by is None:
        return job
    schedule = find_schedule(job.pipeline.schedule)
    stages = schedule.placement(job.mesh.size("pp"), job.pipeline.chunks).num_stages
    measure: Callable[[Block], float] = (
        (lambda b: _seconds(job, b, costs)) if by == "time" else lambda b: _bytes(job, b)
    )
    model = job.build(job.training.microbatch)
    found = {id(block): measure(block) for block in model.blocks}
    begins = balanced_begins(model, [found[id(block)] for block in model.blocks], stages)
    choices.note(path, list(begins), f"balanced by {by}")
    return replace(job, pipeline=replace(job.pipeline, balance=begins))


def _seconds(job: Job, block: Block, costs: CostModel) -> float:
    code = stage_code(job, (block,))
    cost = costs.compute[job.cluster.device(0).name]
    return sum(
        times * cost.seconds(operator, costs.precision)
        for instruction, times in Stream("block", (code.forward(), code.backward())).counts
        if isinstance(instruction, Compute)
        for operator in instruction.operators
    )


def _bytes(job: Job, block: Block) -> float:
    state = Replica(job, [stage_code(job, (block,))]).memory()
    keeping = Keeping(job.mesh.size("tp"), "none", job.spread.sequence_parallel)
    return state.parameters + state.gradients + state.optimizer + keeping.block_bytes(block)
