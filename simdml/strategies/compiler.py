"""From a Job to its Program."""

from __future__ import annotations

from simdml.program.program import Program
from simdml.strategies.hybrid import compile_hybrid
from simdml.strategies.job import Job
from simdml.strategies.parameter_server import compile_parameter_server


def compile_job(job: Job) -> Program:
    """Return the program of one step of ``job``.

    Raises:
        InfeasibleError: if the job's parts do not go together.
    """
    return compile_parameter_server(job) if job.parameter_server is not None else compile_hybrid(job)
