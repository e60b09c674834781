"""One point: simulated, and what is kept of it - its numbers, or why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

from simdml.documents.document import Document
from simdml.documents.validation import validate
from simdml.errors import (
    DocumentError,
    DoesNotFitError,
    InfeasibleError,
    SimdmlError,
    TopologyError,
    UnknownNameError,
)
from simdml.results.result import Result
from simdml.scenario.loading import Scenario
from simdml.scenario.schema.scenario import ScenarioSpec
from simdml.scenario.simulate import simulate
from simdml.studies.sweep.grid import Point

OK: Final = "ok"
DEFECT: Final = "internal error"
DIED: Final = "died"
_STATUSES: Final[tuple[tuple[type[SimdmlError], str], ...]] = (
    (DoesNotFitError, "does not fit"),
    (InfeasibleError, "infeasible"),
    (TopologyError, "topology"),
    (UnknownNameError, "unknown name"),
    (DocumentError, "refused"),
    (SimdmlError, DEFECT),
)
NUMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "num_gpus": "GPUs of the job",
        "step_time_s": "seconds of one step",
        "half_width_s": "of its 95 % confidence interval: 0 where it is exact, none where too few steps were simulated",
        "samples_per_step": "global batch",
        "samples_per_s": "throughput of the whole job",
        "tokens_per_s": "the same in tokens; none for images",
        "model_flops_per_s_per_gpu": "model FLOP/s of a GPU",
        "mfu": "the same over its peak",
        "peak_memory_bytes": "device memory of the fullest rank class",
        "memory_capacity_bytes": "what its device has",
        "busiest_link_utilisation": "share of the step in which the busiest link is busy",
    }
)
"""What a row says about a point that ran, beside seconds by account on the rank that ends the step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a point: ``status`` is "ok", or the kind of failure, of which ``reason`` is the message.

    ``numbers`` are those of :data:`NUMBERS`, ``account_s`` the seconds of a step by account.
    """

    status: str
    reason: str = ""
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    account_s: Mapping[str, float] = field(default_factory=dict)
    busiest_link: str = ""

    @property
    def exit_code(self) -> int:
        """What the command line ends with if no point does better."""
        return next((kind.exit_code for kind, status in _STATUSES if status == self.status), 0 if self.ok else 70)

    @property
    def ok(self) -> bool:
        """Whether there are numbers."""
        return self.status == OK

    def plain(self) -> dict[str, Any]:
        """Return plain data, from which :func:`outcome_from` makes the same outcome."""
        if not self.ok:
            return {"status": self.status, "reason": self.reason}
        return {
            "status": OK,
            "numbers": dict(self.numbers),
            "account_s": dict(self.account_s),
            "busiest_link": self.busiest_link,
        }


def outcome_from(plain: Mapping[str, Any]) -> Outcome:
    """Return the outcome that :meth:`Outcome.plain` wrote."""
    return Outcome(**plain)


def evaluate(base: Document, name: str, point: Point) -> Outcome:
    """Return what becomes of ``point`` of the sweep of ``base``; never raises what a scenario can cause."""
    return attempted(lambda: summarise(simulate(scenario_of(base, name, point))))


def attempted(make: Callable[[], Outcome]) -> Outcome:
    """Return what ``make`` gives, or why it gives nothing; never raises what a scenario can cause."""
    try:
        return make()
    except SimdmlError as error:
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        return Outcome(status, _one_line(error.message))
    except Exception as error:
        return Outcome(DEFECT, _one_line(f"{type(error).__name__}: {error}"))


def scenario_of(base: Document, name: str, point: Point) -> Scenario:
    """Return the scenario of ``point``; raises DocumentError."""
    document = point.document(base)
    return Scenario(name, document, validate(document, ScenarioSpec))


def summarise(result: Result) -> Outcome:
    """Return what a sweep keeps of a result."""
    fullest = max(result.memory, key=lambda estimate: estimate.total / estimate.capacity, default=None)
    busiest = result.links[0] if result.links else None
    numbers = {
        "num_gpus": result.num_gpus,
        "step_time_s": result.step_time_s,
        "half_width_s": _half_width_s(result),
        "samples_per_step": result.samples_per_step,
        "samples_per_s": result.samples_per_s,
        "tokens_per_s": result.tokens_per_s,
        "model_flops_per_s_per_gpu": result.model_flops_per_s_per_gpu,
        "mfu": result.mfu,
        "peak_memory_bytes": None if fullest is None else fullest.total,
        "memory_capacity_bytes": None if fullest is None else fullest.capacity,
        "busiest_link_utilisation": None if busiest is None else busiest.utilisation,
    }
    return Outcome(OK, "", numbers, dict(result.breakdown), "" if busiest is None else busiest.kind)


def _half_width_s(result: Result) -> float | None:
    width_s = result.half_width_s or 0.0
    return width_s if isfinite(width_s) else None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
