"""Replicas that train different numbers of samples, as those on faster GPUs may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from simdml.program.program import Program
from simdml.strategies.job import Job


def jobs_by_share(job: Job) -> Iterator[tuple[Job, tuple[int, ...]]]:
    """Yield the job as replicas with one size of micro-batch see it, and their ranks; ``job`` itself without shares."""
    if not job.microbatches:
        yield job, tuple(range(job.mesh.num_ranks))
        return
    for samples in sorted(set(job.microbatches)):
        ranks = tuple(rank for rank, mine in enumerate(job.microbatches) if mine == samples)
        fed = None if job.input is None else job.input.scaled(samples / job.training.microbatch)
        training = replace(job.training, microbatch=samples)
        yield replace(job, training=training, input=fed, microbatches=()), ranks


def compile_shares(job: Job, compile_one: Callable[[Job], Program]) -> Program:
    """Return the program of ``job``, in which every size of micro-batch is a rank class.

    What replicas exchange does not depend on their samples, and so their programs fit together.
    """
    parts = [(compile_one(each), each.training.microbatch, ranks) for each, ranks in jobs_by_share(job)]
    class_of_rank = [0] * job.mesh.num_ranks
    classes = []
    for number, (program, samples, ranks) in enumerate(parts):
        (only,) = program.classes
        classes.append(replace(only, name=f"micro-batch of {samples}"))
        for rank in ranks:
            class_of_rank[rank] = number
    return replace(parts[0][0], classes=tuple(classes), class_of_rank=tuple(class_of_rank))
