"""What one GPU does: train, and exchange gradients and parameters with the servers, alone or with its node.

As each gradient becomes ready it is summed in the node, copied to the host and pushed to its shard; as soon as a shard
has what the worker may read, it is pulled and copied to the devices. Every worker has one connection to each shard:
pushes to one shard go in order, those to different shards side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from simdml.program.instructions import Activity, Compute, Instruction, Portions, Pull, Push, Record, StepEnd, Wait
from simdml.program.program import RankProgram, Stream, written_out
from simdml.strategies.job import Training
from simdml.strategies.parameter_server.aggregation import Node
from simdml.strategies.parameter_server.compression import compress, decompress
from simdml.strategies.parameter_server.keys import Key, Part
from simdml.strategies.parameter_server.plan import ParameterServerPlan
from simdml.strategies.parameter_server.replica import WHOLE_MODEL, ReplicaPart
from simdml.strategies.stage_code import StageCode, does_something
from simdml.workload.optimizer import optimizer_operators

STEP: Final = "step began"
PARAMETERS: Final = "parameters"


@dataclass(slots=True)
class Worker:
    """Builds the streams of a GPU that talks to the servers, or of one that has another do it.

    ``keys`` are in the order their gradients become ready; ``part`` is the GPU's place in a replica of several.
    ``portions`` of work are shared by all workers, 0 if each has its own.
    """

    code: StageCode
    keys: list[Key]
    plan: ParameterServerPlan
    training: Training
    node: Node
    part: ReplicaPart = WHOLE_MODEL
    portions: int = 0
    urgent: list[Key] = field(init=False)

    def __post_init__(self) -> None:
        self.urgent = sorted(self.keys, key=lambda key: key.layer)

    def build(self, name: str) -> RankProgram:
        """Return the rank program, empty streams left out."""
        streams = [Stream("compute", tuple(filter(does_something, self._compute())))]
        streams += self.part.streams(self.training.num_microbatches)
        if self._in_turn:
            return RankProgram(name, tuple(streams))
        streams += self._outward()
        if self.node.leads:
            streams += [*self._pushes(), *self._pulls()]
        streams += self._inward()
        return RankProgram(name, tuple(stream for stream in streams if stream.instructions))

    @property
    def _at_start(self) -> bool:
        return self.plan.fetch == "at_start"

    @property
    def _by_key(self) -> bool:
        """Whether the compute stream waits for single keys, not for all at once."""
        return self.plan.priority != "none" or not self.plan.barrier

    @property
    def _in_turn(self) -> bool:
        """Whether nothing can happen side by side: one message, sent and fetched while the GPU waits."""
        plan = self.plan
        whole = plan.barrier and not plan.delay and plan.priority == "none" and self.node.gpus == 1
        return whole and len(self.keys) == len(self.keys[0].parts) == 1

    def _compute(self) -> Iterator[Instruction]:
        if self._at_start and not self._in_turn:
            yield Record(STEP)
        if self.portions:
            yield from self._parameters(0)
            yield self._shared_portions()
            yield from self._gradients()
        for number in range(0 if self.portions else self.training.num_microbatches):
            yield from self.part.before_forward()
            yield from self._first_forward() if number == 0 else [self.code.forward()]
            yield from self.part.before_backward()
            if number < self.training.num_microbatches - 1:
                yield self.code.backward()
            else:
                yield from self._last_backward()
            yield from self.part.after_backward()
        yield from self._end_of_step()

    def _first_forward(self) -> Iterator[Instruction]:
        if self.plan.barrier:
            if self._at_start:
                yield from self._parameters(0)
            yield self.code.forward()
            return
        lag = 0 if self._at_start else 1 + self.plan.delay
        for number, step in enumerate(self.code.forward_steps()):
            mine = [key for key in self.keys if key.layer == number]
            yield from (Wait(f"{PARAMETERS} {key.name}", lag) for key in mine)
            yield from self._update(sum(parameter.elements for parameter in step.layer.parameters))
            yield from step.instructions

    def _last_backward(self) -> Iterator[Instruction]:
        announced = 0

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal announced
            while self.plan.overlap and announced < len(self.keys) and self.keys[announced].after <= count:
                yield Record(f"gradient {self.keys[announced].name}")
                announced += 1

        if self._in_turn:
            yield self.code.backward()
            return
        yield from self.code.backward_by_layer(gradient_ready)
        yield from self._gradients(announced)

    def _gradients(self, announced: int = 0) -> Iterator[Instruction]:
        """Yield the announcement of the gradients after so many that are announced."""
        if not self._in_turn:
            yield from (Record(f"gradient {key.name}") for key in self.keys[announced:])

    def _shared_portions(self) -> Portions:
        work = [*written_out(self.code.forward()), *written_out(self.code.backward())]
        return Portions(
            "portions",
            "portions",
            self.portions,
            tuple(each for each in work if isinstance(each, Compute)),
            tuple(self._push(part) for key in self.keys for part in key.parts),
            self.plan.send_every,
            self.plan.duplicates,
        )

    def _end_of_step(self) -> Iterator[Instruction]:
        if self._in_turn:
            yield from self._to_host(self.keys[0])
            yield self._push(self.keys[0].parts[0])
        elif self._at_start and self.node.leads:
            yield from (Wait(f"pushed {part.name}") for key in self.keys for part in key.parts)
        if self.plan.barrier and not self._at_start:
            yield from self._parameters(self.plan.delay)
        yield StepEnd()

    def _parameters(self, lag: int) -> Iterator[Instruction]:
        """Yield the wait for all parameters, those of ``lag`` steps before, and the update if workers make it."""
        if self._in_turn:
            yield self._pull(self.keys[0].parts[0])
            yield from self._to_device(self.keys[0])
        elif self._by_key:
            yield from (Wait(f"{PARAMETERS} {key.name}", lag) for key in self.keys)
        else:
            yield Wait(PARAMETERS, lag)
        yield from self._update(sum(self.code.gradients()))

    def _update(self, elements: int) -> Iterator[Instruction]:
        """Yield the optimizer: for what was pulled, or between fetches for the worker's own copy."""
        if elements and self.plan.workers_update:
            training = self.training
            operators = optimizer_operators(
                training.optimizer, elements, training.precision, fused=training.fused_optimizer
            )
            yield Compute("optimizer", Activity.OPTIMIZER, operators)

    def _outward(self) -> Iterator[Stream]:
        reducing = self.plan.priority == "reduce"
        credit = self.plan.credit or 1
        if self.node.gpus > 1:
            yield self._tasks("sum in node", "gradient", "summed", self.node.summed, credit, urgent=reducing)
        before = "summed" if self.node.gpus > 1 else "gradient"
        lanes = 1 if self.node.gpus > 1 else credit
        yield self._tasks("to host", before, "host", self._to_host, lanes, urgent=reducing)

    def _to_host(self, key: Key) -> Iterator[Instruction]:
        compression = compress(key.name, key.payload_bytes, self.plan.compression)
        return self.node.to_host(key, self.plan.compression.push, self.plan.push_every, compression)

    def _inward(self) -> Iterator[Stream]:
        urgent = self.plan.priority != "none"
        spread = self.node.kind == "nccl"
        # A member that does not pull is ready for a key's parameters once it has given its gradient.
        before = "pulled" if self.node.leads else "gradient" if urgent else ""
        after = "spread" if spread else PARAMETERS
        yield self._tasks("to device", before, after, self._to_device, 1, urgent=urgent)
        if spread:
            yield self._tasks("gather in node", after, PARAMETERS, self.node.gathered, 1, urgent=urgent)

    def _to_device(self, key: Key) -> Iterator[Instruction]:
        yield from self.node.to_device(key, self.plan.compression.pull, self.plan.pull_every)
        kernel = decompress(key.name, key.payload_bytes, self.plan.compression)
        if kernel is not None and self.node.gpus == 1:
            yield kernel

    def _tasks(
        self,
        name: str,
        before: str,
        after: str,
        work: Callable[[Key], Iterable[Instruction]],
        lanes: int,
        *,
        urgent: bool,
    ) -> Stream:
        """Return the stream that does ``work`` for each key after one event of it, and records another.

        ``urgent`` takes keys as they become ready, what forward needs first before others, on so many ``lanes``; a GPU
        that follows another's order has one for each key.
        """
        instructions: list[Instruction] = []
        for key in self.urgent if urgent else self.keys:
            if before:
                instructions += (Wait(f"{before} {name}") for name in _names(key, before))
            instructions += work(key)
            if after != PARAMETERS or self._by_key:
                instructions += (Record(f"{after} {name}") for name in _names(key, after))
        if after == PARAMETERS and not self._by_key:
            instructions.append(Record(PARAMETERS))
        if not urgent:
            return Stream(name, tuple(instructions))
        return Stream(name, tuple(instructions), lanes=lanes if self.node.leads else len(self.keys))

    def _pushes(self) -> Iterator[Stream]:
        urgent = self.plan.priority != "none"
        parts = [part for key in (self.urgent if urgent else self.keys) for part in key.parts]
        if self.plan.priority == "push" and self.plan.credit is not None:
            yield Stream("push", tuple(self._pushed(parts)), lanes=self.plan.credit)
            return
        for server, mine in _by_server(parts):
            yield Stream(f"push to {server}", tuple(self._pushed(mine)), lanes=int(urgent))

    def _pushed(self, parts: Iterable[Part]) -> Iterator[Instruction]:
        for part in parts:
            yield Wait(f"host {part.name}")
            yield self._push(part)
            yield Record(f"pushed {part.name}")

    def _push(self, part: Part) -> Push:
        payload = part.payload_bytes / self.plan.compression.push
        return Push(part.name, part.server, part.name, payload, every=self.plan.push_every)

    def _pull(self, part: Part) -> Pull:
        payload, behind = part.payload_bytes / self.plan.compression.pull, int(self._at_start)
        return Pull(part.name, part.server, part.name, payload, behind, every=self.plan.pull_every)

    def _pulls(self) -> Iterator[Stream]:
        if self.plan.priority != "none":
            parts = [part for key in self.urgent for part in key.parts]
            yield Stream("pull", tuple(self._pulled(parts)), lanes=len(parts))
            return
        parts = [part for key in (self.urgent if self._at_start else self.keys) for part in key.parts]
        for server, mine in _by_server(parts):
            instructions = ([Wait(STEP)] if self._at_start else []) + [*self._pulled(mine)]
            yield Stream(f"pull from {server}", tuple(instructions))

    def _pulled(self, parts: Iterable[Part]) -> Iterator[Instruction]:
        for part in parts:
            if not self._at_start:
                yield Wait(f"pushed {part.name}")
            yield self._pull(part)
            yield Record(f"pulled {part.name}")


def _names(key: Key, event: str) -> list[str]:
    """Return whose ``event`` it is: the key's, or that of each part where servers come in."""
    return [part.name for part in key.parts] if event in {"host", "pushed", "pulled"} else [key.name]


def _by_server(parts: list[Part]) -> list[tuple[int, list[Part]]]:
    servers = sorted({part.server for part in parts})
    return [(server, [part for part in parts if part.server == server]) for server in servers]
