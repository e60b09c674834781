"""torch.nn.DataParallel: one process drives all GPUs of a machine, and device 0 holds what is shared.

The sources are torch/nn/parallel/data_parallel.py, replicate.py, scatter_gather.py and _functions.py and
torch/csrc/cuda/comm.cpp, torch 2.11. Every forward copies the model from device 0 to all; nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from simdml.errors import InfeasibleError
from simdml.program.instructions import ROOT_COPIES, Activity, Collective, CollectiveKind, Compute, Instruction
from simdml.strategies.data_parallel.buckets import assign_buckets
from simdml.strategies.data_parallel.gathering import copy
from simdml.strategies.data_parallel.kind import DP, PYTORCH, Kind
from simdml.strategies.data_parallel.replica import Replica, ReplicaMemory
from simdml.strategies.stage_code import Backward, StageCode
from simdml.strategies.strategy import Strategy
from simdml.workload.model import Layer
from simdml.workload.operators import Family, Operator

GROUP: Final = "dp"
COALESCED_BYTES: Final = 10 * 1024 * 1024
"""Tensors that go together (torch/nn/parallel/comm.py, buffer_size)."""
ROLES: Final = ("device 0", "other devices")


@dataclass(frozen=True, slots=True)
class DataParallelModulePlan:
    """torch.nn.DataParallel over all GPUs of one machine; it has no options that matter for time.

    One process launches the kernels of all of them, one at a time (the interpreter's lock).
    """

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "dataparallel"


@dataclass(slots=True)
class DataParallelReplica(Replica):
    """Device 0, which has role 0, or one of the others."""

    plan: DataParallelModulePlan
    role: int

    def __post_init__(self) -> None:
        cluster, last = self.job.cluster, self.job.mesh.num_ranks - 1
        if cluster.node_of(0) != cluster.node_of(last):
            raise InfeasibleError(
                f"dataparallel is one process, and {last + 1} GPUs are on several machines",
                hint=f"gpus: {len(cluster.gpus_of(cluster.node_of(0)))}, or strategy: ddp",
            )

    def forward(self, chunk: int) -> Iterator[Instruction]:
        """Yield scatter of the inputs, broadcast of the model, forward, gather of the outputs, and the loss."""
        yield self._rooted("inputs", CollectiveKind.SCATTER, self._ranks() * _input_bytes(self.code[chunk]))
        for number, nbytes in enumerate(self._coalesced(self._state_bytes())):
            if self.role == 0:
                yield copy("parameters together", nbytes, nbytes)
            yield Collective(f"parameters {number}", CollectiveKind.BROADCAST, GROUP, nbytes)
        yield from self._layers(chunk, Activity.FORWARD)
        yield self._rooted("outputs", CollectiveKind.GATHER, self._outputs(chunk))
        yield from self._loss(chunk, Activity.FORWARD)

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield the loss's gradient, its scatter, backward, and then the sum of all gradients on device 0."""
        del last, half
        yield from self._loss(chunk, Activity.BACKWARD)
        yield self._rooted("gradients of outputs", CollectiveKind.SCATTER, self._outputs(chunk))
        yield from self._layers(chunk, Activity.BACKWARD)
        gradients = [count * self.job.training.gradient_bytes for count in self.code[chunk].gradients()]
        for number, nbytes in enumerate(self._coalesced(gradients)):
            yield copy("gradients together", nbytes, nbytes)
            yield Collective(f"gradients {number}", CollectiveKind.REDUCE, GROUP, nbytes)

    def clipped(self) -> tuple[int, int]:
        """Return all gradients on device 0, none on the others."""
        return self.elements if self.role == 0 else 0, self.job.training.gradient_bytes

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step, on device 0 alone."""
        if self.role == 0:
            yield self.optimizer(self.elements)

    def memory(self) -> ReplicaMemory:
        """Return the training state and all outputs with their gradients on device 0, a replica and its gradients else.

        Device 0 has the gradients twice, summed and those of its own replica, until they are added.
        """
        state = Replica.memory(self)
        if self.role > 0:
            return replace(state, optimizer=0.0, buffers=float(COALESCED_BYTES))
        outputs = 2 * self._outputs(0)
        return replace(state, buffers=state.gradients + outputs + COALESCED_BYTES)

    def _ranks(self) -> int:
        return self.job.mesh.size(GROUP)

    def _rooted(self, label: str, kind: CollectiveKind, payload_bytes: float) -> Collective:
        return Collective(label, kind, GROUP, payload_bytes, ROOT_COPIES)

    def _state_bytes(self) -> list[int]:
        """Return the bytes of every parameter and buffer, which all are broadcast."""
        weight, state = self.job.training.weight_bytes, list[int]()
        for code in self.code:
            state += [weight * count for count in reversed(code.gradients())]
            state += [b.bytes for block in code.blocks for layer in block.layers for b in layer.buffers]
        return state

    @staticmethod
    def _coalesced(sizes: Sequence[int]) -> list[float]:
        """Return messages of at least 10 MiB, the last one with the rest (torch/csrc/utils/tensor_flatten.cpp)."""
        return [float(bucket.payload_bytes) for bucket in assign_buckets(sizes, COALESCED_BYTES)]

    def _outputs(self, chunk: int) -> float:
        """Return the bytes of the outputs of all devices: what the last kernel before the loss writes."""
        written = [op for layer in _layers(self.code[chunk]) if not _is_loss(layer) for op in layer.forward]
        return self._ranks() * (written[-1].written_bytes if written else 0.0)

    def _layers(self, chunk: int, activity: Activity) -> Iterator[Instruction]:
        """Yield a device's own layers."""
        code = self.code[chunk]
        steps = code.forward_steps() if activity is Activity.FORWARD else code.backward_steps()
        for step in steps:
            if not _is_loss(step.layer):
                yield from step.instructions

    def _loss(self, chunk: int, activity: Activity) -> Iterator[Instruction]:
        """Yield the loss of the whole batch, on device 0 alone."""
        for layer in _layers(self.code[chunk]) if self.role == 0 else ():
            if _is_loss(layer):
                operators = layer.forward if activity is Activity.FORWARD else layer.backward
                yield Compute(layer.name, activity, tuple(_of_all(op, self._ranks()) for op in operators))


def _layers(code: StageCode) -> list[Layer]:
    return [layer for block in code.blocks for layer in block.layers]


def _is_loss(layer: Layer) -> bool:
    return any(operator.family is Family.LOSS for operator in layer.forward)


def _input_bytes(code: StageCode) -> float:
    """Return the bytes of a device's inputs: what the first layer that keeps anything keeps first."""
    kept = [activation.bytes for layer in _layers(code) for activation in layer.activations]
    return kept[0] if kept else 0.0


def _of_all(operator: Operator, ranks: int) -> Operator:
    return replace(
        operator,
        flops=operator.flops * ranks,
        read_bytes=operator.read_bytes * ranks,
        written_bytes=operator.written_bytes * ranks,
    )


STRATEGY = Strategy(
    name="dataparallel",
    system="PyTorch nn.DataParallel",
    meaning="one process over the GPUs of a machine: the model is copied from device 0 in every forward",
    models=(
        "Scatter of inputs, broadcast of parameters and buffers in messages of 10 MiB, forward, gather of outputs.",
        "The loss of the whole batch, and the optimizer step, on device 0; its memory.",
        "Scatter of the outputs' gradients, backward, and only then the sum of gradients to device 0.",
        "One host thread's worth of kernel launches for all devices: the interpreter's lock.",
    ),
    leaves_out=("The host's work of copying modules for every replica; inputs that come from the host.",),
    sources=(
        "torch/nn/parallel/data_parallel.py, replicate.py, parallel_apply.py, _functions.py, torch 2.11",
        "torch/csrc/cuda/comm.cpp (broadcast_coalesced, scatter, gather, reduce_add)",
    ),
)
KIND: Final = Kind(STRATEGY, DataParallelModulePlan(), DataParallelReplica, DP, (), framework=PYTORCH, roles=ROLES)
