"""From a recording to a Result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from simdml import __version__
from simdml.costs.memory import MemoryEstimate
from simdml.engine.simulator import Recording
from simdml.program.instructions import Compute, Portions
from simdml.program.program import Stream
from simdml.results.evaluation import Evaluation
from simdml.results.result import Result
from simdml.results.uncertainty import Basis
from simdml.strategies.job import Job
from simdml.workload.operators import Family

_COUNTED = (Family.MATMUL, Family.BATCHED_MATMUL, Family.ATTENTION, Family.CONVOLUTION)


def analyse(
    recording: Recording,
    job: Job,
    memory: tuple[MemoryEstimate, ...],
    *,
    inputs: Mapping[str, Any],
    notes: tuple[str, ...] = (),
    evaluation: Evaluation | None = None,
    basis_of: Callable[[Recording], Basis] | None = None,
) -> Result:
    """Return the result of a finished run of ``job``; what explains it is worked out when it is asked for."""
    step_time = recording.step_time_s
    model = job.build(job.training.microbatch)
    num_gpus = job.mesh.num_ranks
    samples = job.samples_per_step
    flops = model.model_flops_per_sample * samples
    executed = _executed_flops(recording) * samples / job.global_batch
    peak = _mean_peak(job)
    per_gpu = flops / step_time / num_gpus
    tokens = samples / step_time * model.tokens_per_sample if model.tokens_per_sample > 1 else None
    return Result(
        name=job.name,
        version=__version__,
        num_gpus=num_gpus,
        step_time_s=step_time,
        half_width_s=None if recording.estimate is None else recording.estimate.half_width,
        samples_per_step=samples,
        sample_unit=model.sample_unit,
        samples_per_s=samples / step_time,
        tokens_per_s=tokens,
        model_flops_per_s_per_gpu=per_gpu,
        hardware_flops_per_s_per_gpu=executed / step_time / num_gpus,
        mfu=per_gpu / peak,
        memory=memory,
        periodic=recording.periodic,
        steps_simulated=recording.steps,
        inputs=inputs,
        notes=notes,
        recording=recording,
        input_plan=job.input,
        evaluation=evaluation,
        basis_of=basis_of,
    )


def _mean_peak(job: Job) -> float:
    """Return the peak FLOP/s of a GPU in the job's precision, the mean where they are of several kinds."""
    kinds, first, counts = np.unique(
        job.cluster.device_kinds(np.arange(job.mesh.num_ranks)), return_index=True, return_counts=True
    )
    peaks = [job.cluster.device(int(gpu)).peak_flops[job.training.precision] for gpu in first]
    return peaks[0] if len(kinds) == 1 else float(np.average(peaks, weights=counts))


def _executed_flops(recording: Recording) -> float:
    program = recording.execution.program
    per_class = [
        sum(
            times * operator.flops
            for instruction, times in _computed(rank_program.streams[0], program.mesh.num_ranks)
            for operator in instruction.operators
            if operator.family in _COUNTED
        )
        for rank_program in program.classes
    ]
    return sum(per_class[index] * count for index, count in Counter(program.class_of_rank).items())


def _computed(stream: Stream, num_ranks: int) -> Iterator[tuple[Compute, float]]:
    """Yield what a rank computes and how often, of shared portions its part if all do equally many."""
    for instruction, times in stream.counts:
        if isinstance(instruction, Compute):
            yield instruction, times
        elif isinstance(instruction, Portions):
            yield from ((work, times * instruction.portions / num_ranks) for work in instruction.work)
