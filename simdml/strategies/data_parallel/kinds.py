"""Data-parallel strategies by the type of their plan; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Sequence

from simdml.strategies.data_parallel.ddp import DdpReplica
from simdml.strategies.data_parallel.replica import Replica
from simdml.strategies.job import DataParallelPlan, Job
from simdml.strategies.stage_code import StageCode


def make_replica(job: Job, code: Sequence[StageCode]) -> Replica:
    """Return the rank that holds ``code``, as the job's plan has it."""
    if job.mesh.size("dp") == 1:
        return Replica(job, code)
    return DdpReplica(job, code, job.data_parallel or DataParallelPlan())
