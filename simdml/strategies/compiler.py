"""From a Job to its Program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from simdml.program.mesh import Mesh
from simdml.program.program import Program
from simdml.strategies.batch_shares import compile_shares
from simdml.strategies.hybrid import compile_hybrid
from simdml.strategies.input_pipeline import InputPlan, with_input
from simdml.strategies.job import Job, PipelinePlan, ReplicaPlan, Spread, Training
from simdml.workload.model import Model

if TYPE_CHECKING:
    from simdml.strategies.parameter_server.plan import ParameterServerPlan

PROGRAMS_KEPT: Final = 16


def compile_job(job: Job) -> Program:
    """Return the program of one step of ``job``.

    A program is independent of devices, links and profiles, so jobs that differ in these alone share one.

    Raises:
        InfeasibleError: if the job's parts do not go together.
    """
    structure = _Structure(
        job.build,
        job.training,
        job.mesh,
        job.pipeline,
        job.spread,
        job.data_parallel,
        job.parameter_server,
        job.input,
        job.microbatches,
        len(job.cluster.gpus_of(job.cluster.node_of(0))),
        _shard_nodes(job),
        job,
    )
    program = _compiled(structure)
    return program if program.name == job.name else replace(program, name=job.name)


@dataclass(frozen=True, slots=True)
class _Structure:
    """All that a program depends on; ``job`` is one that has it."""

    build: Callable[[int], Model]
    training: Training
    mesh: Mesh
    pipeline: PipelinePlan
    spread: Spread
    data_parallel: ReplicaPlan | None
    parameter_server: ParameterServerPlan | None
    input: InputPlan | None
    microbatches: tuple[int, ...]
    gpus_per_node: int
    shard_nodes: tuple[tuple[int, ...], ...]
    job: Job = field(compare=False)


@lru_cache(maxsize=PROGRAMS_KEPT)
def _compiled(structure: _Structure) -> Program:
    job = structure.job
    return compile_shares(job, _one) if job.microbatches else _one(job)


def _one(job: Job) -> Program:
    program = compile_hybrid(job) if job.parameter_server is None else _with_servers(job)
    return program if job.input is None else with_input(program, job.input)


def _with_servers(job: Job) -> Program:
    # Jobs without servers do not load what compiles them, for start-up time.
    from simdml.strategies.parameter_server.compiling import compile_parameter_server

    return compile_parameter_server(job)


def _shard_nodes(job: Job) -> tuple[tuple[int, ...], ...]:
    if job.parameter_server is None:
        return ()
    from simdml.strategies.parameter_server.compiling import shard_nodes

    return shard_nodes(job)
