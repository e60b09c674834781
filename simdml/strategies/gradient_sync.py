"""How a stage's gradients meet those of the other replicas: all-reduced in buckets or in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Instruction, Record, Wait
from simdml.strategies.ddp import assign_buckets
from simdml.strategies.job import DataParallelPlan
from simdml.strategies.stage_code import StageCode
from simdml.workload.operators import Family, Operator, Phase, memory_bound

GROUP = "dp"


@dataclass(slots=True)
class GradientSync:
    """All-reduces of the gradients of one rank's chunks; ``stream`` collects what the communication stream does."""

    plan: DataParallelPlan
    gradient_bytes: int
    stream: list[Instruction] = field(default_factory=list)
    _awaited: list[str] = field(default_factory=list)

    def last_backward(self, code: StageCode, name: str) -> Iterator[Instruction]:
        """Yield the backward after which the gradients of chunk ``name`` are complete, and start their reduction."""
        gradients = [elements * self.gradient_bytes for elements in code.gradients()]
        if not self.plan.overlap:
            yield from code.backward()
            yield Record(f"gradients of {name}")
            self._reduce(f"gradients of {name}", sum(gradients))
            return
        buckets = assign_buckets(gradients, self.plan.bucket_cap_bytes, first_iteration=self.plan.first_iteration)
        launched = copied = 0

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal launched, copied
            if not self.plan.gradient_as_bucket_view and count > copied:
                yield _copies(f"gradients into buckets of {name}", gradients[copied:count])
                copied = count
            while launched < len(buckets) and buckets[launched].parameters[-1] < count:
                event = f"bucket {launched} of {name}"
                yield Record(event)
                self._reduce(event, buckets[launched].payload_bytes)
                launched += 1

        yield from code.backward_by_layer(gradient_ready)

    def finish(self) -> Iterator[Instruction]:
        """Yield the compute stream's wait for all reductions."""
        for event in self._awaited:
            yield Wait(f"{event} reduced")

    def _reduce(self, event: str, payload_bytes: int) -> None:
        self.stream += [
            Wait(event),
            Collective(event, CollectiveKind.ALL_REDUCE, GROUP, float(payload_bytes)),
            Record(f"{event} reduced"),
        ]
        self._awaited.append(event)


def _copies(label: str, gradients: list[int]) -> Compute:
    operators: list[Operator] = [
        memory_bound(
            "copy gradient",
            Family.COPY,
            read_bytes=nbytes,
            written_bytes=nbytes,
            element_bytes=4,
            phase=Phase.WEIGHT_GRADIENT,
        )
        for nbytes in gradients
    ]
    return Compute(label, Activity.CAST, tuple(operators))
