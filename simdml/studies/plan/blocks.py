"""Least seconds of a model's blocks on one rank, shared by all layouts that divide blocks in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simdml.costs.bounds import LeastSeconds, Paces
from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective, CollectiveKind, Compute
from simdml.program.mesh import Group
from simdml.scenario.building import Built
from simdml.strategies.job import Job
from simdml.strategies.pieces import Made
from simdml.strategies.stage_code import Backward, StageCode, stage_code
from simdml.strategies.stages import Balance, cut
from simdml.workload.model import Block, Model

GROUPS = ("tp", "cp", "ep")
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds of one micro-batch, forward, backward, and its halves: of each block, or of each stage."""

    forward: Floats
    backward: Floats
    inputs: Floats
    weights: Floats

    @property
    def busy(self) -> Floats:
        """Forward with backward, in one or in halves, whichever is less."""
        total: Floats = self.forward + np.minimum(self.backward, self.inputs + self.weights)
        return total

    def of_stages(self, begins: Indices) -> Seconds:
        """Return the seconds of stages that begin at these blocks."""
        parts = (self.forward, self.backward, self.inputs, self.weights)
        return Seconds(*(np.add.reduceat(part, begins) for part in parts))


@dataclass(frozen=True, slots=True)
class Habits:
    """What the scenario says of pipelines whatever the layout, None where the schedule decides; ``pp_inside_dp``.

    Stages are farthest apart (Megatron-LM) unless ranks of a pipeline lie inside the data-parallel ones.
    """

    overlap_p2p: bool | None = None
    scatter_gather: bool = True
    pp_inside_dp: bool = False


@dataclass(slots=True)
class Cuts:
    """Where the stages of a model begin."""

    model: Model
    _begins: dict[tuple[int, Balance], Indices | None] = field(default_factory=dict)

    def begins(self, num_stages: int, balance: Balance) -> Indices | None:
        """Return where stages begin; None if the model cannot be cut so."""
        key = (num_stages, balance)
        if key not in self._begins:
            try:
                counts = [len(stage) for stage in cut(self.model, num_stages, balance)]
                self._begins[key] = np.cumsum([0, *counts[:-1]], dtype=np.int64)
            except InfeasibleError:
                self._begins[key] = None
        return self._begins[key]


@dataclass(frozen=True, slots=True)
class Row:
    """A model's blocks at one pace: their ``seconds`` with collectives, and those of their ``kernels``."""

    seconds: Seconds
    kernels: Seconds


@dataclass(slots=True)
class Blocks:
    """A model's blocks as a rank has them, a row for each of the job's ``paces``.

    ``bounds`` remembers what was worked out of them.
    """

    job: Job
    model: Model
    least: LeastSeconds
    rows: tuple[Row, ...]
    paces: Paces
    habits: Habits
    cuts: Cuts
    bounds: dict[tuple[object, ...], object] = field(default_factory=dict)

    def stages(self, begins: Indices, *, kernels_alone: bool) -> list[Seconds]:
        """Return the seconds of stages that begin at these blocks, at every pace."""
        return [(row.kernels if kernels_alone else row.seconds).of_stages(begins) for row in self.rows]

    def present(self, distance: int, depth: int) -> NDArray[np.bool_]:
        """Return which paces each pipeline coordinate has, with stages so many ranks from each other."""
        ranks = np.arange(len(self.paces.of_rank))
        return self.paces.present(ranks // distance % depth, depth)

    def hop_s(self, distance: int) -> float:
        """Return the least seconds of handing a micro-batch's activations to the rank so many further."""
        tp, sharded = self.job.mesh.size("tp"), self.job.spread.sequence_parallel
        scattered = tp > 1 and (self.habits.scatter_gather or sharded)
        return self.least.send(distance, self._handed_on() / (tp if scattered else 1))

    def receive_s(self) -> float:
        """Return the least seconds that a stage gathers what it has got, before it goes on."""
        job = self.job
        if job.mesh.size("tp") == 1 or job.spread.sequence_parallel or not self.habits.scatter_gather:
            return 0.0
        return self.least.of(Collective("gather", CollectiveKind.ALL_GATHER, "tp", self._handed_on()))

    def _handed_on(self) -> float:
        return min((block.output_bytes for block in self.model.blocks[:-1]), default=0.0)


def blocks_of(built: Built, habits: Habits, paces: Paces) -> Blocks:
    """Return the blocks of a job that is built, on GPUs of these ``paces``."""
    job = built.job
    model = job.build(job.training.microbatch)
    groups = [Group(axis, (axis,)) for axis in GROUPS]
    every = [LeastSeconds(built.costs, job.cluster, job.mesh, groups, pace) for pace in paces.every]
    rows = tuple(_row(job, model, least) for least in every)
    return Blocks(job, model, every[0], rows, paces, habits, Cuts(model))


def _row(job: Job, model: Model, least: LeastSeconds) -> Row:
    return Row(_seconds(job, model, least.of), _seconds(job, model, lambda made: _kernels(least, made)))


def _kernels(least: LeastSeconds, made: Made) -> float:
    return least.of(made) if isinstance(made, Compute) else sum(map(least.of, getattr(made, "kernels", ())))


_HALVES = (Backward.WHOLE, Backward.INPUTS, Backward.WEIGHTS)


def _seconds(job: Job, model: Model, seconds: Callable[[Made], float]) -> Seconds:
    known: dict[int, tuple[float, ...]] = {}
    for block in model.blocks:
        if id(block) not in known:
            code = stage_code(job, (block,))
            forward = sum(map(seconds, code.forward_block(block)))
            known[id(block)] = (forward, *(_half(code, block, half, seconds) for half in _HALVES))
    return Seconds(*np.array([known[id(block)] for block in model.blocks]).T)


def _half(code: StageCode, block: Block, half: Backward, seconds: Callable[[Made], float]) -> float:
    return sum(map(seconds, code.only(half).backward_block(block)))
