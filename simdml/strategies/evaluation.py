"""Evaluation: forward passes alone, on the same ranks and shards as training."""

from __future__ import annotations

from dataclasses import replace

from simdml.program.program import Program
from simdml.strategies.hybrid import compile_hybrid
from simdml.strategies.input_pipeline import with_input
from simdml.strategies.job import Job


def compile_evaluation(job: Job) -> Program:
    """Return the program in which the replicas of ``job`` run forward over as many samples as they train in a step.

    Batches come as in training. What a rank lacks of the parameters it gathers as in training; workers of parameter
    servers evaluate with the parameters they have.

    Raises:
        InfeasibleError: if the job's parts do not go together.
    """
    program = compile_hybrid(replace(job, parameter_server=None), evaluates=True)
    return program if job.input is None else with_input(program, job.input)
