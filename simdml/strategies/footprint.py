"""Peak memory of every rank class of a job, and the refusal of jobs that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simdml.calibration.profile import MemoryCoefficients
from simdml.cluster.device import Device
from simdml.costs.activations import Keeping
from simdml.costs.collectives.placement import node_channels
from simdml.costs.memory import MemoryEstimate, cached_bytes, communicator_bytes, further_communicators
from simdml.errors import DoesNotFitError
from simdml.strategies.batch_shares import jobs_by_share
from simdml.strategies.data_parallel.kinds import replica_memory, replica_roles
from simdml.strategies.job import Job
from simdml.strategies.pipeline import Pipeline
from simdml.strategies.schedules import Action
from simdml.strategies.stage_code import Codes
from simdml.strategies.stages import cut
from simdml.units import format_bytes
from simdml.workload.model import Block


def footprint(job: Job, coefficients: MemoryCoefficients) -> list[MemoryEstimate]:
    """Return the peak memory of each pipeline coordinate and size of micro-batch, or of a parameter-server worker.

    Of GPUs of several kinds the one with the least memory counts.
    """
    return [
        estimate
        for each, ranks in jobs_by_share(job)
        for estimate in _of_equal_batches(each, np.array(ranks, dtype=np.int64), coefficients)
    ]


def _of_equal_batches(job: Job, ranks: NDArray[np.int64], coefficients: MemoryCoefficients) -> Iterator[MemoryEstimate]:
    model = job.build(job.training.microbatch)
    pipeline = Pipeline.of(job, model)
    stages = cut(model, pipeline.placement.num_stages, job.pipeline.balance)
    codes = Codes(job)
    alike = len(ranks) == job.mesh.num_ranks
    for role in range(len(replica_roles(job))):
        for device in range(pipeline.depth):
            gpu = _least(job, ranks[ranks // job.mesh.strides.get("pp", 1) % job.mesh.size("pp") == device])
            estimate = _device(job, stages, pipeline, codes, (device, role), coefficients, gpu)
            name = estimate.rank_class if alike else f"micro-batch of {job.training.microbatch}"
            yield replace(estimate, rank_class=name)


def _least(job: Job, ranks: NDArray[np.int64]) -> Device:
    """Return the device of ``ranks`` that has the least memory."""
    _, first = np.unique(job.cluster.device_kinds(ranks), return_index=True)
    return min((job.cluster.device(int(ranks[each])) for each in first), key=lambda device: device.memory_bytes)


def refuse_what_does_not_fit(estimates: Sequence[MemoryEstimate]) -> None:
    """Refuse the job if a rank class needs more memory than its device has.

    Raises:
        DoesNotFitError: for the class that needs most, with by how much and what takes it.
    """
    worst = max(estimates, key=lambda estimate: estimate.total)
    if worst.fits:
        return
    parts = ("parameters", "gradients", "optimizer", "activations", "buckets", "overhead")
    listed = ", ".join(f"{part} {format_bytes(getattr(worst, part))}" for part in parts)
    raise DoesNotFitError(
        f"the job does not fit: {worst.rank_class} needs {format_bytes(worst.total)} and its device has "
        f"{format_bytes(worst.capacity)}, {format_bytes(worst.total - worst.capacity)} too much ({listed})",
        needed_bytes=worst.total,
        available_bytes=worst.capacity,
        where=worst.rank_class,
        hint="use a smaller micro-batch, recompute: full, more tp or pp, or a device with more memory",
    )


def _device(
    job: Job,
    stages: tuple[tuple[Block, ...], ...],
    pipeline: Pipeline,
    codes: Codes,
    place: tuple[int, int],
    coefficients: MemoryCoefficients,
    gpu: Device,
) -> MemoryEstimate:
    """Return the peak of the rank at ``place``, its pipeline coordinate and its role, on ``gpu``."""
    device, role = place
    mine = pipeline.stages_on(device)
    replica = replica_memory(job, [codes.of(stages[stage]) for stage in mine], role)
    keeping = Keeping(job.mesh.size("tp"), job.training.recompute, job.spread.sequence_parallel)
    kept = [
        keeping.microbatch_bytes(stages[stage], stages[stage - 1][-1].output_bytes if stage else 0.0) for stage in mine
    ]
    servers = job.parameter_server
    working = max(keeping.working_set_bytes(stages[stage]) for stage in mine)
    peak = peak_kept((*pipeline.beforehand[device], *pipeline.actions[device]), kept) + working
    later = max(0.0, max(map(sum, replica.after_backward), default=0.0) - peak)
    tensors = {
        "parameters": replica.parameters * pipeline.weight_versions(device),
        "gradients": replica.gradients,
        "optimizer": replica.optimizer if servers is None or servers.workers_update else 0.0,
        "activations": peak if replica.activations is None else replica.activations,
        "buckets": replica.buffers + later if servers is None else 0.0,
    }
    overhead = coefficients.context_bytes + coefficients.workspace_bytes
    if job.mesh.num_ranks > 1:
        overhead += coefficients.communicator_bytes
    if further := further_communicators(job.mesh.sizes.values()):
        overhead += further * communicator_bytes(node_channels(job.cluster, gpu.name))
    overhead += (coefficients.allocator_factor - 1) * tensors["activations"]
    return MemoryEstimate(
        rank_class=replica_roles(job)[role] or (f"stage {device}" if pipeline.depth > 1 else "every rank"),
        **{name: float(nbytes) for name, nbytes in tensors.items()},
        overhead=overhead,
        capacity=gpu.memory_bytes,
        host=replica.host,
        cached=max(0.0, cached_bytes(replica.after_backward) - later) if servers is None else 0.0,
    )


def peak_kept(actions: Sequence[Action], kept_by_chunk: Sequence[float]) -> float:
    """Return the most bytes alive at once when forward of a chunk adds its share and backward frees it.

    Of a backward in halves the weight gradients free it. That is an upper bound: what only the input gradients need
    could go before (M_B and M_W of arXiv 2401.10241, section 3.1).
    """
    alive = peak = 0.0
    for action in actions:
        if action.phase == "F":
            alive += kept_by_chunk[action.chunk]
        elif action.phase in "BW":
            alive -= kept_by_chunk[action.chunk]
        peak = max(peak, alive)
    return peak
