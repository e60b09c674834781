"""Tensor x pipeline x data parallel training of one model, any degree of which may be 1.

Each pipeline coordinate is one rank class. Its compute stream walks the schedule; sends have a stream a direction and
gradient reductions one of their own, so they overlap with compute unless the plan says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from simdml.program.instructions import (
    Collective,
    CollectiveKind,
    Instruction,
    Record,
    Recv,
    Send,
    StepEnd,
    Synchronise,
    Wait,
)
from simdml.program.mesh import Group
from simdml.program.program import Program, RankProgram, Stream
from simdml.strategies.data_parallel.kinds import make_replica, replica_groups, replica_roles
from simdml.strategies.data_parallel.replica import NORM, Replica
from simdml.strategies.job import Job
from simdml.strategies.layer_pieces import check
from simdml.strategies.overlapped import together
from simdml.strategies.pipeline import EMBEDDING, Hop, Pipeline
from simdml.strategies.schedules import Action
from simdml.strategies.sequence_parallel import replicated_elements
from simdml.strategies.stage_code import Backward, Codes, StageCode, does_something
from simdml.strategies.stages import cut
from simdml.workload.model import Block, Model

_Pairs = dict[tuple[int, ...], tuple[tuple[Instruction, ...], tuple[Instruction, ...]]]
"""By identity, the instructions of a forward and a backward, and what they become together; shared by all devices."""
HALVES = {"B": Backward.WHOLE, "I": Backward.INPUTS, "W": Backward.WEIGHTS}


def compile_hybrid(job: Job, *, evaluates: bool = False) -> Program:
    """Return the program of ``job``, or, if it ``evaluates``, of its forward passes alone.

    Raises:
        InfeasibleError: if the degrees do not divide what they should.
    """
    model = job.build(job.training.microbatch)
    check(model, job.mesh.size("tp"), job.spread)
    pipeline = Pipeline.of(job, model)
    stages = cut(model, pipeline.placement.num_stages, job.pipeline.balance)
    roles = replica_roles(job)
    codes, pairs = Codes(job), _Pairs()
    builders = [
        _StageProgram(job, model, stages, pipeline, device, role, codes, pairs, evaluates)
        for role in range(len(roles))
        for device in range(pipeline.depth)
    ]
    classes = tuple(builder.build() for builder in builders)
    ranks = np.arange(job.mesh.num_ranks, dtype=np.int64)
    groups = [Group("tp", ("tp",)), Group("cp", ("cp",)), *replica_groups(job), *pipeline.groups()]
    if job.training.clip_gradients:
        groups.append(Group(NORM, builders[0].replica.norm_axes()))
    return Program(
        name=job.name,
        mesh=job.mesh,
        classes=classes,
        class_of_rank=tuple((np.minimum(ranks, len(roles) - 1) + job.mesh.coordinates(ranks, "pp")).tolist()),
        groups=tuple(group for group in groups if any(job.mesh.size(axis) > 1 for axis in group.axes)),
    )


@dataclass(frozen=True, slots=True)
class _Messages:
    """What a message is on the compute stream of its receiver and of its sender, and on the sender's ``stream``."""

    stream: str
    receive: tuple[Instruction, ...]
    announce: tuple[Instruction, ...]
    send: tuple[Instruction, ...]


@dataclass(slots=True)
class _StageProgram:
    """Builds what one pipeline coordinate executes."""

    job: Job
    model: Model
    stages: tuple[tuple[Block, ...], ...]
    pipeline: Pipeline
    device: int
    role: int
    codes: Codes
    pairs: _Pairs
    evaluates: bool = False
    code: list[StageCode] = field(init=False)
    replica: Replica = field(init=False)
    sends: dict[str, list[Instruction]] = field(default_factory=dict)
    messages: dict[Hop, _Messages] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mine = self.pipeline.stages_on(self.device)
        self.code = [self.codes.of(self.stages[stage]) for stage in mine]
        self.replica = make_replica(self.job, self.code, self.role)

    def build(self) -> RankProgram:
        """Return the rank program, empty streams left out."""
        beforehand = () if self.evaluates else tuple(filter(does_something, self._beforehand()))
        sent_before, self.sends = self.sends, {}
        step = filter(does_something, self._forwards() if self.evaluates else self._step())
        compute = (*self.replica.start(), *step, StepEnd())
        streams = [Stream("compute", compute, beforehand)]
        for name, sent in sorted(self.sends.items(), reverse=True):
            streams.append(Stream(name, tuple(sent), tuple(sent_before.get(name, ()))))
        name = replica_roles(self.job)[self.role] or f"stage {self.device}"
        return RankProgram(name, (*streams, *self.replica.streams()))

    def _beforehand(self) -> Iterator[Instruction]:
        for action in self.pipeline.beforehand[self.device]:
            yield from self._run(action, last=False)

    def _forwards(self) -> Iterator[Instruction]:
        """Yield forward of all micro-batches in the order of the schedule."""
        actions = (*self.pipeline.beforehand[self.device], *self.pipeline.actions[self.device])
        forwards = [action for action in actions if action.phase == "F"]
        for action in forwards[: self.job.training.num_microbatches * len(self.code)]:
            yield from self._run(action, last=False)

    def _step(self) -> Iterator[Instruction]:
        """Yield all micro-batches and the update, or the updates, one after each backward."""
        actions, each = self.pipeline.actions[self.device], self.pipeline.update_each
        complete = {action.chunk: position for position, action in enumerate(actions) if action.phase in "BW"}
        position = 0
        while position < len(actions):
            pair = actions[position].with_next and self.job.spread.ep > 1
            position, action = position + pair, actions[position]
            updated = each and action.phase in "BW"
            last = updated or complete.get(actions[position].chunk) == position
            yield from self._run_pair(action, actions[position], last=last) if pair else self._run(action, last=last)
            if updated:
                yield from self._update()
            position += 1
        if not each:
            yield from self._update()

    def _update(self) -> Iterator[Instruction]:
        yield from self.replica.finish()
        yield from self._copies_agree()
        yield from self._replicated_parameters()
        yield from self._tied_embedding()
        if self.job.training.clip_gradients:
            yield from self.replica.clip()
        yield from self.replica.update()

    def _run(self, action: Action, *, last: bool) -> Iterator[Instruction]:
        yield from self._received(action)
        if action.phase == "F":
            yield from self.replica.forward(action.chunk)
        else:
            yield from self.replica.backward(action.chunk, last=last, half=self._half(action))
        yield from self._handed_on(action)

    def _run_pair(self, forward: Action, backward: Action, *, last: bool) -> Iterator[Instruction]:
        """Yield a forward and a backward whose all-to-alls hide behind each other's kernels."""
        yield from self._received(forward)
        yield from self._received(backward)
        made = tuple(self.replica.forward(forward.chunk))
        other = tuple(self.replica.backward(backward.chunk, last=last, half=self._half(backward)))
        both = (*made, *other)
        key = tuple(map(id, both))
        if key not in self.pairs:
            self.pairs[key] = (both, together(made, other))
        yield from self.pairs[key][1]
        yield from self._handed_on(forward)
        yield from self._handed_on(backward)

    def _half(self, action: Action) -> Backward:
        training = self.job.training
        kept = training.recompute == "stage_except_last" and action.microbatch == training.num_microbatches - 1
        return Backward.KEPT if kept and action.phase == "B" else HALVES[action.phase]

    def _received(self, action: Action) -> Iterator[Instruction]:
        """Yield what brings the input of ``action``, if it comes from another device."""
        hop = self.pipeline.hop_before(self.device, action)
        if hop is not None:
            yield from self._messages(hop).receive
        elif self.job.input is not None and action.phase == "F" and not self._stage(action):
            yield from self.job.input.take()

    def _stage(self, action: Action) -> int:
        return self.pipeline.stages_on(self.device)[action.chunk]

    def _handed_on(self, action: Action) -> Iterator[Instruction]:
        """Yield the compute stream's part of sending the output of ``action``; a send stream gets the rest."""
        hop = self.pipeline.hop_after(self.device, action)
        if hop is not None:
            messages = self._messages(hop)
            self.sends.setdefault(messages.stream, []).extend(messages.send)
            yield from messages.announce

    def _messages(self, hop: Hop) -> _Messages:
        found = self.messages.get(hop)
        if found is None:
            found = self.messages[hop] = self._new_messages(hop)
        return found

    def _new_messages(self, hop: Hop) -> _Messages:
        whole = self.stages[hop.boundary][-1].output_bytes
        sharded = self.job.spread.sequence_parallel
        scattered = (self.job.pipeline.scatter_gather or sharded) and self.job.mesh.size("tp") > 1
        ready, sent = f"{hop.channel} ready", f"{hop.channel} sent"
        send = Send(hop.way, "pp", hop.offset, whole / (self.job.mesh.size("tp") if scattered else 1), hop.channel)
        gather = Collective(f"gather {hop.way}", CollectiveKind.ALL_GATHER, "tp", whole)
        blocking = not self.job.pipeline.overlap_p2p
        return _Messages(
            stream=self.pipeline.stream(hop),
            receive=(
                Recv(hop.way, "pp", hop.offset, hop.channel),
                *((Synchronise(),) if blocking else ()),
                *((gather,) if scattered and not sharded else ()),
            ),
            announce=(Record(ready), *((Wait(sent), Synchronise()) if blocking else ())),
            send=(Wait(ready), send, *((Record(sent),) if blocking else ())),
        )

    def _copies_agree(self) -> Iterator[Instruction]:
        """Yield the sum of the gradients of this device's stages over the copies of the model."""
        if (group := self.pipeline.copies_group(self.device)) is not None:
            payload = float(sum(sum(code.gradients()) for code in self.code) * self.job.training.gradient_bytes)
            yield Collective("gradients of both copies", CollectiveKind.ALL_REDUCE, group, payload)

    def _replicated_parameters(self) -> Iterator[Instruction]:
        """Yield the sum of gradients that each tensor-parallel rank has for its own tokens alone (Megatron-LM)."""
        if self.job.spread.sequence_parallel and self.job.mesh.size("tp") > 1:
            layers = [layer for code in self.code for block in code.blocks for layer in block.layers]
            payload = float(replicated_elements(layers) * self.job.training.gradient_bytes)
            # A stage of the embedding alone has none.
            if payload:
                yield Collective("sequence-parallel gradients", CollectiveKind.ALL_REDUCE, "tp", payload)

    def _tied_embedding(self) -> Iterator[Instruction]:
        if self.model.tied and self.device in self.pipeline.tied_devices:
            elements = self.model.tied_parameters // self.job.mesh.size("tp")
            payload = float(elements * self.job.training.gradient_bytes)
            yield Collective("tied embedding gradients", CollectiveKind.ALL_REDUCE, EMBEDDING, payload)
