"""DeepSpeed ZeRO stage 3: parameters, gradients and optimizer state in parts, gathered module by module.

The sources are deepspeed/runtime/zero/stage3.py, partitioned_param_coordinator.py and config.py of DeepSpeed 0.16.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from simdml.program.instructions import Collective, CollectiveKind, HostCopy, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies import tensor_parallel
from simdml.strategies.data_parallel.gathering import STEP_BEGINS, copy
from simdml.strategies.data_parallel.kind import PYTORCH, Kind
from simdml.strategies.data_parallel.offload import Offload, ToHost
from simdml.strategies.data_parallel.replica import CommunicationStream, Replica, ReplicaMemory
from simdml.strategies.data_parallel.units import padded
from simdml.strategies.data_parallel.zero import GROUP, fill_buckets
from simdml.strategies.data_parallel.zero3_trace import Coordinator, Limits, ModuleFetch, ShardedParameter
from simdml.strategies.job import gradient_ranks
from simdml.strategies.stage_code import Backward, Step
from simdml.strategies.strategy import Strategy
from simdml.workload.optimizer import optimizer_state_bytes_per_parameter


@dataclass(frozen=True, slots=True)
class Zero3Plan:
    """The ``zero_optimization`` section of DeepSpeed's configuration for stage 3, with its defaults, in elements."""

    overlap_comm: bool = True
    reduce_bucket_size: int = 500_000_000
    stage3_prefetch_bucket_size: int = 50_000_000
    stage3_param_persistence_threshold: int = 100_000
    stage3_max_live_parameters: int = 1_000_000_000
    stage3_max_reuse_distance: int = 1_000_000_000
    offload_optimizer: Offload = "none"
    offload_param: Offload = "none"

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "zero3"

    @property
    def limits(self) -> Limits:
        """What the coordinator goes by."""
        return Limits(
            self.stage3_prefetch_bucket_size,
            self.stage3_param_persistence_threshold,
            self.stage3_max_live_parameters,
            self.stage3_max_reuse_distance,
        )


@dataclass(slots=True)
class Zero3Replica(Replica):
    """A rank that holds a part of every parameter and gathers modules when they run, and some ahead.

    All-gathers and reduce-scatters share a communicator and run in the order they are issued.
    """

    plan: Zero3Plan
    partitions: CommunicationStream = field(default_factory=lambda: CommunicationStream("partitions"))
    to_host: ToHost = field(default_factory=ToHost)
    _fetches: Sequence[ModuleFetch] = ()
    _next: int = 0
    _arrivals: dict[str, str] = field(default_factory=dict)
    _awaited: set[str] = field(default_factory=set)
    _issued: int = 0
    _reduced: str | None = None
    _kept: bool = False

    def start(self) -> Iterator[Instruction]:
        """Yield the mark that parameters are those of this step."""
        yield Record(STEP_BEGINS)

    def forward(self, chunk: int) -> Iterator[Instruction]:
        """Yield a forward, every module's parameters gathered before it."""
        self._next = 0
        for step in self.code[chunk].forward_steps():
            yield from self._module(step)

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward, every module's parameters gathered before it and its gradients put into buckets after."""
        del last, half
        code = self.code[chunk]
        elements = code.gradients()
        buckets = fill_buckets(elements, self.plan.reduce_bucket_size)
        ready = full = 0
        for step in code.backward_steps():
            yield from self._module(step)
            ready += step.gradients
            while full < len(buckets) - 1 and buckets[full + 1][0] < ready:
                yield from self._reduce(sum(elements[index] for index in buckets[full]))
                full += 1
        for bucket in buckets[full:]:
            yield from self._reduce(sum(elements[index] for index in bucket))
        self._kept = True

    def finish(self) -> Iterator[Instruction]:
        """Yield the compute stream's wait for the last reduction."""
        if self._reduced is not None:
            yield Wait(self._reduced)

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step over a part of every parameter; those that persist are gathered again.

        Offloaded, the step waits for the gradients on the host, and parts that live on the device come back.
        """
        yield from self.to_host.wait()
        part = self._part(self._parameters())
        yield self.optimizer(part, on_host=self._offloads(), fused=self._offloads())
        if self._offloads() and self.plan.offload_param == "none":
            nbytes = float(self.job.training.weight_bytes * part)
            yield HostCopy("updated parameters", nbytes, to_host=False)
        persistent = [p for p in self._parameters() if p.elements <= self.plan.stage3_param_persistence_threshold]
        if persistent:
            payload = float(self.job.training.weight_bytes * self._part(persistent) * self._ranks())
            yield Collective("persistent parameters", CollectiveKind.ALL_GATHER, GROUP, payload)

    def streams(self) -> Iterable[Stream]:
        """Return the communicator's stream, and that of copies to the host."""
        return (*self.partitions.stream(), *self.to_host.streams())

    def clipped(self) -> tuple[int, int]:
        """Return the part of the gradients that this rank owns."""
        return self._part(self._parameters()), self.job.training.gradient_bytes

    def norm_axes(self) -> tuple[str, ...]:
        """Return the axes along which ranks own different parts."""
        return ("tp", "pp", "cp", GROUP)

    def _offloads(self) -> bool:
        return self.plan.offload_optimizer == "cpu"

    def memory(self) -> ReplicaMemory:
        """Return 16/N bytes a parameter for Adam in half precision, and what is whole at a time.

        Whole are the parameters that persist, those live at most at once, and a bucket of gradients (arXiv 1910.02054,
        section 5; stage3.py, __ipg_bucket_flat_buffer).
        """
        training, part = self.job.training, self._part(self._parameters())
        state = optimizer_state_bytes_per_parameter(training.optimizer, training.precision)
        live = max((fetch.live_elements for fetch in self._trace()), default=0)
        threshold = self.plan.stage3_param_persistence_threshold
        persistent = sum(p.elements for p in self._parameters() if p.elements <= threshold)
        weights, moments = training.weight_bytes * part, (training.gradient_bytes + state) * part
        stays, leaves = self.plan.offload_param == "none", self._offloads()
        return ReplicaMemory(
            parameters=float(weights if stays else 0),
            gradients=float(0 if leaves else training.gradient_bytes * part),
            optimizer=float(0 if leaves else state * part),
            host=float((0 if stays else weights) + (moments if leaves else 0)),
            buffers=float(
                training.weight_bytes * (live + persistent) + training.gradient_bytes * self.plan.reduce_bucket_size
            ),
        )

    def _ranks(self) -> int:
        return gradient_ranks(self.job.mesh)

    def _part(self, parameters: Sequence[ShardedParameter]) -> int:
        return sum(padded(parameter.elements, self._ranks()) for parameter in parameters) // self._ranks()

    def _parameters(self) -> tuple[ShardedParameter, ...]:
        found = {p.name: p for step in self.code[0].forward_steps() for p in self._of(step)}
        return tuple(found.values())

    def _of(self, step: Step) -> tuple[ShardedParameter, ...]:
        counts = tensor_parallel.parameters_on_rank(step.layer, self.code[0].tp)
        return tuple(
            ShardedParameter(f"{step.block_index}.{step.layer.name}.{p.name}", count)
            for p, count in zip(step.layer.parameters, counts, strict=True)
        )

    def _trace(self) -> Sequence[ModuleFetch]:
        """Return what happens at each module that has parameters, forward and backward of one micro-batch."""
        if not self._fetches:
            steps = (*self.code[0].forward_steps(), *self.code[0].backward_steps())
            trace = [self._of(step) for step in steps if step.layer.parameters]
            self._fetches = tuple(Coordinator(trace, self.plan.limits).walk())
        return self._fetches

    def _module(self, step: Step) -> Iterator[Instruction]:
        if step.layer.parameters:
            fetch = self._trace()[self._next]
            self._next += 1
            self._gather(fetch.fetched)
            for parameter in self._of(step):
                event = self._arrivals.get(parameter.name)
                if event is not None and event not in self._awaited:
                    self._awaited.add(event)
                    yield Wait(event)
            self._gather(fetch.prefetched)
        yield from step.instructions

    def _gather(self, parameters: Sequence[ShardedParameter]) -> None:
        """Issue one all-gather of ``parameters``, whose parts are then joined to whole ones on the same stream."""
        if not parameters:
            return
        payload = float(self.job.training.weight_bytes * self._part(parameters) * self._ranks())
        if not self._issued:
            self.partitions.instructions.append(Wait(STEP_BEGINS))
        if self.plan.offload_param == "cpu":
            self.partitions.instructions.append(HostCopy("parameters", payload / self._ranks(), to_host=False))
        self.partitions.run(Collective("parameters", CollectiveKind.ALL_GATHER, GROUP, payload))
        self._issued += 1
        event = f"gathered {self._issued}"
        self.partitions.instructions += [copy("gathered parameters", payload, payload), Record(event)]
        self._arrivals.update({parameter.name: event for parameter in parameters})

    def _reduce(self, elements: int) -> Iterator[Instruction]:
        """Yield the compute stream's part of reducing a bucket: its mark, or the wait without overlap."""
        self._issued += 1
        ready, self._reduced = f"bucket {self._issued}", f"reduced {self._issued}"
        yield Record(ready)
        nbytes = float(self.job.training.gradient_bytes * elements)
        self.partitions.instructions += [Wait(ready), copy("gradients into a bucket", nbytes, nbytes)]
        self.partitions.run(Collective("gradients", CollectiveKind.REDUCE_SCATTER, GROUP, nbytes))
        if self._kept:
            part = nbytes / self._ranks()
            self.partitions.instructions.append(copy("part of gradients", 2 * part, part))
        self.partitions.instructions.append(Record(self._reduced))
        if self._offloads():
            self.to_host.copy(nbytes / self._ranks(), self._reduced)
        if not self.plan.overlap_comm:
            yield Wait(self._reduced)
            self._reduced = None


STRATEGY = Strategy(
    name="zero3",
    system="DeepSpeed ZeRO stage 3",
    meaning="parameters, gradients and the optimizer's state in parts; modules are gathered when they run",
    models=(
        "DeepSpeed's parameter coordinator module by module: what is fetched, prefetched up to "
        "stage3_prefetch_bucket_size ahead, kept for reuse within stage3_max_reuse_distance, and how many live.",
        "Parameters of at most stage3_param_persistence_threshold elements stay whole and are gathered after the step.",
        "Gradients reduce-scattered in buckets of 5e8 elements on the communicator of the all-gathers; copies between "
        "parts and whole tensors.",
        "With cp, parts lie on the ranks that share sequences too (DeepSpeed-Ulysses).",
        "offload_optimizer: cpu; offload_param: cpu, by which every part comes from the host before it is gathered.",
    ),
    leaves_out=(
        "The host's work in hooks: it is as far ahead as it likes, so that gathers never wait for it.",
        "Communication of quantized values (ZeRO++).",
        "The first step, in which the trace is not known and nothing is prefetched.",
    ),
    sources=(
        "microsoft/DeepSpeed v0.16.4, deepspeed/runtime/zero/partitioned_param_coordinator.py, stage3.py, config.py",
        "Rajbhandari et al., ZeRO, arXiv 1910.02054",
    ),
)
KIND: Final = Kind(
    STRATEGY,
    Zero3Plan(),
    Zero3Replica,
    combines=("tp", "cp"),
    lacks=("pp", "ep"),
    instead="zero1",
    framework=PYTORCH,
    accumulates=False,
)
