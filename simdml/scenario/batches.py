"""How many samples a micro-batch has, and how many micro-batches a replica trains in a step."""

from __future__ import annotations

from dataclasses import dataclass

from simdml.errors import DocumentError, InfeasibleError, listed
from simdml.scenario.degrees import divisors
from simdml.scenario.loading import Scenario
from simdml.scenario.places import written

TRAINING = "training"
MICROBATCH = ("strategy", "pipeline", "microbatch")


@dataclass(frozen=True, slots=True)
class Batch:
    """``num_microbatches`` of ``microbatch`` samples on each replica."""

    microbatch: int
    num_microbatches: int


def split_batch(scenario: Scenario, *, replicas: int, gpus_per_replica: int, pipelined: bool) -> Batch:
    """Return the micro-batches of one replica.

    Without a pipeline a replica's samples are one micro-batch unless ``microbatch`` says otherwise (gradient
    accumulation); a pipeline needs to be told, as Megatron-LM's ``--micro-batch-size``.

    Raises:
        InfeasibleError: sizes that do not divide, with those that do.
        DocumentError: a pipeline without a micro-batch, or two different ones.
    """
    samples = _samples_per_replica(scenario, replicas, gpus_per_replica)
    microbatch = _microbatch(scenario)
    if microbatch is None:
        if pipelined:
            raise DocumentError(
                "a pipeline needs to know its micro-batch",
                place=scenario.document.place(written(scenario.document, MICROBATCH[:2])),
                hint="add microbatch: to strategy.pipeline or training, the samples of one micro-batch",
            )
        return Batch(samples, 1)
    if samples % microbatch:
        where = MICROBATCH if MICROBATCH in scenario.document.value_places else (TRAINING, "microbatch")
        raise InfeasibleError(
            f"a replica trains {samples} samples a step, which do not divide into micro-batches of {microbatch}",
            place=scenario.document.place(where),
            hint=f"a micro-batch can have {listed(map(str, divisors(samples)))} samples",
        )
    return Batch(microbatch, samples // microbatch)


def _samples_per_replica(scenario: Scenario, replicas: int, gpus_per_replica: int) -> int:
    training, document = scenario.spec.training, scenario.document
    if training.batch_per_gpu is not None:
        if gpus_per_replica > 1:
            total = training.batch_per_gpu * replicas
            raise InfeasibleError(
                f"batch_per_gpu has no meaning where a model is spread over {gpus_per_replica} GPUs",
                place=document.key_place((TRAINING, "batch_per_gpu")),
                hint=f"use global_batch, {total} for {training.batch_per_gpu} samples on each of {replicas} replicas",
            )
        return training.batch_per_gpu
    assert training.global_batch is not None
    if training.global_batch % replicas:
        below = training.global_batch // replicas * replicas
        near = [str(size) for size in (below, below + replicas) if size]
        raise InfeasibleError(
            f"a global batch of {training.global_batch} does not divide over {replicas} data-parallel replicas",
            place=document.place((TRAINING, "global_batch")),
            hint=f"use a multiple of {replicas}, such as {' or '.join(near)}",
        )
    return training.global_batch // replicas


def _microbatch(scenario: Scenario) -> int | None:
    strategy = scenario.spec.strategy
    pipeline = None if isinstance(strategy, str) else strategy.pipeline
    of_pipeline = None if pipeline is None else pipeline.microbatch
    of_training = scenario.spec.training.microbatch
    if of_pipeline is not None and of_training is not None and of_pipeline != of_training:
        raise DocumentError(
            f"strategy.pipeline.microbatch is {of_pipeline} and training.microbatch {of_training}",
            place=scenario.document.place(MICROBATCH),
            hint="keep one of the two",
        )
    return of_pipeline or of_training
