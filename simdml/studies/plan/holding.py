"""Least memory of a layout: a share of the training state, and micro-batches in flight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from simdml.costs.activations import Keeping
from simdml.scenario.building import Built
from simdml.strategies import tensor_parallel
from simdml.strategies.job import Job
from simdml.studies.plan.blocks import Cuts, Floats
from simdml.studies.plan.layout import Layout
from simdml.studies.plan.schedules import Order
from simdml.workload.model import Block
from simdml.workload.optimizer import optimizer_state_bytes_per_parameter

SLACK: Final = 1 - 1e-9
_SHARDED: Final = {
    "distributed_optimizer": (False, False),
    "zero1": (False, False),
    "zero2": (False, True),
    "zero3": (True, True),
    "fsdp1": (True, True),
    "fsdp2": (True, True),
    "hsdp": (True, True),
}
"""Sharding of parameters and of gradients, where the optimizer's state is sharded; the others shard nothing."""


@dataclass(slots=True)
class Holding:
    """What each block of a model takes on a rank: activations kept of one sample, and parameters."""

    job: Job
    kept_bytes: Floats
    elements: Floats
    cuts: Cuts
    allocator_factor: float
    beside_bytes: float
    capacity_bytes: float

    def least_bytes(self, layout: Layout, order: Order | None) -> float | None:
        """Return what the fullest of some devices needs at least, None if the model cannot be cut so."""
        if order is None:
            alone = float(layout.microbatch * self.kept_bytes.sum())
            return self._total(alone, float(self.elements.sum()) * self._state_bytes(layout))
        begins = self.cuts.begins(order.placement.num_stages, layout.balance)
        if begins is None:
            return None
        kept = layout.microbatch * np.add.reduceat(self.kept_bytes, begins)
        elements = np.add.reduceat(self.elements, begins)
        state = self._state_bytes(layout)
        return max(
            self._total(max(float(np.dot(peak, kept[stages])) for peak in peaks), float(elements[stages].sum()) * state)
            for stages, peaks in order.in_flight
        )

    def _total(self, kept: float, state: float) -> float:
        return SLACK * (self.allocator_factor * kept + state + self.beside_bytes)

    def _state_bytes(self, layout: Layout) -> float:
        """Return bytes of a parameter, its gradient and optimizer state on a rank, at least."""
        training, shards = self.job.training, layout.dp * layout.cp
        state = optimizer_state_bytes_per_parameter(training.optimizer, training.state_precision)
        if layout.sharding not in _SHARDED:
            return training.weight_bytes + training.gradient_bytes + state
        parameters, gradients = _SHARDED[layout.sharding]
        whole = (0 if parameters else training.weight_bytes) + (0 if gradients else min(training.gradient_bytes, 2))
        return whole + state / shards


def holding_of(built: Built) -> Holding:
    """Return what the blocks of a job take that is built."""
    job, memory = built.job, built.profile.memory
    model = job.build(1)
    keeping = Keeping(job.mesh.size("tp"), job.training.recompute, job.spread.sequence_parallel)
    inputs = [0.0, *(block.output_bytes for block in model.blocks[:-1])]
    kept = [keeping.microbatch_bytes((block,), nbytes) for block, nbytes in zip(model.blocks, inputs, strict=True)]
    known = {id(block): _elements(job, block) for block in model.blocks}
    return Holding(
        job,
        np.array(kept),
        np.array([float(known[id(block)]) for block in model.blocks]),
        Cuts(model),
        memory.allocator_factor,
        memory.context_bytes + memory.workspace_bytes,
        max(device.memory_bytes for device in job.cluster.devices(job.mesh.num_ranks)),
    )


def _elements(job: Job, block: Block) -> int:
    tp, ep = job.mesh.size("tp"), job.spread.ep
    return sum(sum(tensor_parallel.parameters_on_rank(layer, tp, ep)) for layer in block.layers)
