"""Evaluation: forward passes alone, on the same ranks and shards as training."""

from __future__ import annotations

from dataclasses import replace

from simdml.program.program import Program
from simdml.strategies.batch_shares import compile_shares
from simdml.strategies.hybrid import compile_hybrid
from simdml.strategies.input_pipeline import with_input
from simdml.strategies.job import DataParallelPlan, Job


def compile_evaluation(job: Job) -> Program:
    """Return the program in which the replicas of ``job`` run forward over as many samples as they train in a step.

    Batches come as in training. What a rank lacks of the parameters it gathers as in training; workers of parameter
    servers evaluate with the parameters they have. Ranks do not wait for each other between passes.

    Raises:
        InfeasibleError: if the job's parts do not go together.
    """
    alone = job
    if job.parameter_server is not None:
        alone = replace(job, parameter_server=None, data_parallel=DataParallelPlan(broadcast_buffers=False))
    return compile_shares(alone, _one) if job.microbatches else _one(alone)


def _one(job: Job) -> Program:
    program = compile_hybrid(job, evaluates=True)
    return program if job.input is None else with_input(program, job.input)
