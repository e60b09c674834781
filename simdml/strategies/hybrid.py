"""Tensor x pipeline x data parallel training of one model, any degree of which may be 1.

Each pipeline coordinate is one rank class. Its compute stream walks the schedule; sends have a stream a direction and
gradient reductions one of their own, so they overlap with compute unless the plan says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from simdml.program.instructions import (
    Collective,
    CollectiveKind,
    Instruction,
    Record,
    Recv,
    Send,
    StepEnd,
    Wait,
)
from simdml.program.mesh import Group
from simdml.program.program import Program, RankProgram, Stream
from simdml.strategies import tensor_parallel
from simdml.strategies.data_parallel.kinds import make_replica
from simdml.strategies.data_parallel.replica import Replica
from simdml.strategies.job import DATA_AXES, Job
from simdml.strategies.schedules import Action, find_schedule
from simdml.strategies.stage_code import StageCode
from simdml.strategies.stages import cut
from simdml.workload.model import Block, Model

EMBEDDING = "embedding"
"""The group of the first and the last stage, which both hold a tied embedding (Megatron-LM)."""


def compile_hybrid(job: Job) -> Program:
    """Return the program of ``job``.

    Raises:
        InfeasibleError: if the degrees do not divide what they should.
    """
    model = job.build(job.training.microbatch)
    tensor_parallel.check_divisible(model, job.mesh.size("tp"))
    num_stages = job.mesh.size("pp")
    stages = cut(model, num_stages * job.pipeline.chunks, job.pipeline.balance)
    classes = tuple(_StageProgram(job, model, stages, device).build() for device in range(num_stages))
    groups = [Group(axis, (axis,)) for axis in ("tp", *DATA_AXES)]
    if num_stages > 1:
        groups.append(Group(EMBEDDING, ("pp",), only=("pp", (0, num_stages - 1))))
    return Program(
        name=job.name,
        mesh=job.mesh,
        classes=classes,
        class_of_rank=tuple(job.mesh.coordinate(rank, "pp") for rank in range(job.mesh.num_ranks)),
        groups=tuple(group for group in groups if any(job.mesh.size(axis) > 1 for axis in group.axes)),
    )


@dataclass(slots=True)
class _StageProgram:
    """Builds what one pipeline coordinate executes."""

    job: Job
    model: Model
    stages: tuple[tuple[Block, ...], ...]
    device: int
    code: list[StageCode] = field(init=False)
    sends: dict[str, list[Instruction]] = field(init=False)

    def __post_init__(self) -> None:
        depth, tp = self.job.mesh.size("pp"), self.job.mesh.size("tp")
        self.code = [
            StageCode(self.stages[chunk * depth + self.device], tp, self.job.training.recompute)
            for chunk in range(self.job.pipeline.chunks)
        ]
        self.sends = {"send forward": [], "send backward": []}

    def build(self) -> RankProgram:
        """Return the rank program, empty streams left out."""
        replica = make_replica(self.job, self.code)
        compute = [*replica.start(), *self._steps(replica), *replica.finish()]
        compute += [*self._tied_embedding(), *replica.update(), StepEnd()]
        streams = [Stream("compute", tuple(compute))]
        streams += [Stream(name, tuple(sent)) for name, sent in self.sends.items() if sent]
        return RankProgram(f"stage {self.device}", (*streams, *replica.streams()))

    def _steps(self, replica: Replica) -> Iterator[Instruction]:
        schedule = find_schedule(self.job.pipeline.schedule)
        actions = schedule(
            self.device, self.job.mesh.size("pp"), self.job.training.num_microbatches, self.job.pipeline.chunks
        )
        last_backward = {action.chunk: position for position, action in enumerate(actions) if action.phase == "B"}
        for position, action in enumerate(actions):
            stage = action.chunk * self.job.mesh.size("pp") + self.device
            if action.phase == "F":
                yield from self._forward(replica, action, stage)
            else:
                last = last_backward[action.chunk] == position
                yield from self._backward(replica, action, stage, last=last)

    def _forward(self, replica: Replica, action: Action, stage: int) -> Iterator[Instruction]:
        if stage > 0:
            yield from self._receive("forward", stage, -1, self.stages[stage - 1])
        yield from replica.forward(action.chunk)
        if stage < len(self.stages) - 1:
            yield from self._send("forward", stage + 1, +1, self.stages[stage])

    def _backward(self, replica: Replica, action: Action, stage: int, *, last: bool) -> Iterator[Instruction]:
        if stage < len(self.stages) - 1:
            yield from self._receive("backward", stage, +1, self.stages[stage])
        yield from replica.backward(action.chunk, last=last)
        if stage > 0:
            yield from self._send("backward", stage - 1, -1, self.stages[stage - 1])

    def _scattered(self) -> bool:
        return self.job.pipeline.scatter_gather and self.job.mesh.size("tp") > 1

    def _send(self, way: str, into: int, offset: int, boundary: tuple[Block, ...]) -> Iterator[Instruction]:
        """Yield the compute stream's part of sending to stage ``into``; the send stream gets the rest."""
        payload = boundary[-1].output_bytes / (self.job.mesh.size("tp") if self._scattered() else 1)
        ready, sent = f"{way} output for stage {into}", f"{way} sent to stage {into}"
        yield Record(ready)
        stream = self.sends[f"send {way}"]
        stream += [Wait(ready), Send(way, "pp", offset, payload, _channel(way, into))]
        if not self.job.pipeline.overlap_p2p:
            stream.append(Record(sent))
            yield Wait(sent)

    def _receive(self, way: str, stage: int, offset: int, boundary: tuple[Block, ...]) -> Iterator[Instruction]:
        yield Recv(way, "pp", offset, _channel(way, stage))
        if self._scattered():
            yield Collective(f"gather {way}", CollectiveKind.ALL_GATHER, "tp", boundary[-1].output_bytes)

    def _tied_embedding(self) -> Iterator[Instruction]:
        depth = self.job.mesh.size("pp")
        if self.model.tied and depth > 1 and self.device in {0, depth - 1}:
            elements = self.model.tied_parameters // self.job.mesh.size("tp")
            payload = float(elements * self.job.training.gradient_bytes)
            yield Collective("tied embedding gradients", CollectiveKind.ALL_REDUCE, EMBEDDING, payload)


def _channel(way: str, stage: int) -> str:
    return f"{way} into stage {stage}"
