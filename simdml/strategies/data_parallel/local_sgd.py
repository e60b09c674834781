"""Post-local SGD: gradients are averaged in a node, parameters over all replicas every so many steps.

The sources are torch/distributed/algorithms/ddp_comm_hooks/post_localSGD_hook.py and model_averaging/averagers.py and
utils.py (torch 2.13), and Lin et al., "Don't Use Large Mini-Batches, Use Local SGD" (arXiv 1808.07217).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from simdml.program.instructions import Collective, CollectiveKind, Instruction
from simdml.program.mesh import Group
from simdml.program.program import Stream
from simdml.strategies.data_parallel.ddp import DdpReplica
from simdml.strategies.data_parallel.gathering import copy
from simdml.strategies.data_parallel.kind import NODE_AXIS, NODES, PYTORCH, Kind
from simdml.strategies.data_parallel.replica import Replica, ReplicaMemory
from simdml.strategies.job import DataParallelPlan
from simdml.strategies.stage_code import Backward
from simdml.strategies.strategy import Strategy

ALL_REPLICAS: Final = Group("dp_all", NODES)


@dataclass(frozen=True, slots=True)
class LocalSgdPlan:
    """PeriodicModelAverager's ``period`` (4 in its documentation) and PostLocalSGDState's gradient averaging.

    A step of the program is a whole period: ``period`` optimizer steps and one average of the parameters.
    """

    period: int = 4
    post_local_gradient_allreduce: bool = True

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "local_sgd"

    @property
    def local_steps(self) -> int:
        """Optimizer steps in one step of the program."""
        return self.period


@dataclass(slots=True)
class LocalSgdReplica(Replica):
    """A rank that runs a period of DistributedDataParallel within its node, and then averages parameters with all."""

    plan: LocalSgdPlan
    node: DdpReplica = field(init=False)
    _backwards: int = 0

    def __post_init__(self) -> None:
        self.node = DdpReplica(self.job, self.code, DataParallelPlan(), NODE_AXIS)

    def streams(self) -> Iterable[Stream]:
        """Return the stream of the reductions in the node."""
        return self.node.streams()

    def forward(self, chunk: int) -> Iterator[Instruction]:
        """Yield a forward."""
        yield self.code[chunk].forward()

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward; the last one of each local step sums gradients in the node and updates."""
        del last
        self._backwards += 1
        ends = self._backwards % (self.job.training.num_microbatches // self.plan.period) == 0
        sums = self.plan.post_local_gradient_allreduce and self.job.mesh.size(NODE_AXIS) > 1
        yield from self.node.backward(chunk, last=ends and sums, half=half)
        if ends:
            yield from self.node.finish()
            if self.job.training.clip_gradients:
                yield from Replica.clip(self)
            yield self.optimizer(self.elements)

    def clip(self) -> Iterator[Instruction]:
        """Yield nothing: every local step has clipped."""
        yield from ()

    def update(self) -> Iterator[Instruction]:
        """Yield the average of the parameters, joined to one message (average_parameters)."""
        nbytes = float(self.job.training.weight_bytes * self.elements)
        yield copy("parameters together", 2 * nbytes, 2 * nbytes)
        yield Collective("average of parameters", CollectiveKind.ALL_REDUCE, ALL_REPLICAS.name, nbytes)
        yield copy("parameters apart", nbytes, nbytes)

    def memory(self) -> ReplicaMemory:
        """Return the training state, and the joined parameters during the average."""
        return self.node.memory()


STRATEGY = Strategy(
    name="local_sgd",
    system="PyTorch PeriodicModelAverager with post_localSGD_hook",
    meaning="gradients averaged within a node in every step, parameters over all replicas every few steps",
    models=(
        "A period of local steps is one step here: so many times the samples, so many optimizer steps.",
        "DistributedDataParallel's buckets within a node, or no gradient averaging at all.",
        "One all-reduce of all parameters at the end of the period, with its copies.",
    ),
    leaves_out=("The first steps before local SGD begins; broadcast_buffers; hierarchical averaging.",),
    sources=(
        "torch/distributed/algorithms/ddp_comm_hooks/post_localSGD_hook.py, model_averaging/averagers.py, torch 2.13",
        "Lin et al., Don't Use Large Mini-Batches, Use Local SGD, arXiv 1808.07217",
    ),
)
KIND: Final = Kind(STRATEGY, LocalSgdPlan(), LocalSgdReplica, NODES, (), framework=PYTORCH, groups=(ALL_REPLICAS,))
