"""``sensitivity``: every knob of a job turned both ways, one at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simdml.errors import SimdmlError
from simdml.results.record import record
from simdml.results.result import Result
from simdml.results.saved import Predicted, read_saved
from simdml.scenario.building import build
from simdml.scenario.loading import Scenario, load_scenario
from simdml.scenario.simulate import simulate, simulate_built
from simdml.studies.sensitivity.knobs import BETTER, BY_KEY, KNOBS, WORSE, Knob
from simdml.studies.sweep.workers import local_processes, num_cores, starting_processes, this_process

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FELT = 0.02
"""A gain below this share of the step is called none."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Step times with one knob twice and half as good; None where the job cannot run so, ``reason`` says why."""

    knob: Knob
    better_s: float | None
    worse_s: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """A job's step and what changes it, what helps most first."""

    result: Predicted
    effects: tuple[Effect, ...]

    @property
    def step_time_s(self) -> float:
        """The step as it is."""
        return self.result.step_time_s

    def gain(self, effect: Effect) -> float:
        """Return the share of the step that twice as good a knob saves."""
        return 0.0 if effect.better_s is None else 1 - effect.better_s / self.step_time_s

    def loss(self, effect: Effect) -> float:
        """Return the share that half as good a knob adds."""
        return 0.0 if effect.worse_s is None else effect.worse_s / self.step_time_s - 1

    def in_words(self) -> str:
        """Return the binding constraint in a sentence or two."""
        account, seconds = max(self.result.breakdown.items(), key=lambda item: item[1])
        most = f"The largest part of a step is {account}, {100 * seconds / self.step_time_s:.0f} %."
        felt = [effect for effect in self.effects if self.gain(effect) >= FELT]
        if not felt:
            return f"Nothing alone makes a step {100 * FELT:.0f} % shorter. {most}"
        first, *others = felt
        text = f"{self.result.name} is bound most by {first.knob.bound}: with {first.knob.better} "
        text += f"a step is {_percent(self.gain(first))} shorter."
        if others:
            more = "; ".join(f"{effect.knob.better}, {_percent(self.gain(effect))}" for effect in others[:2])
            text += f" Next: {more}."
        return f"{text} {most}"

    def to_dict(self) -> dict[str, Any]:
        """Return the sensitivities as plain data."""
        data = {
            "name": self.result.name,
            "step_time_s": self.step_time_s,
            "binding_constraint": self.in_words(),
            "knobs": [
                {
                    "knob": effect.knob.key,
                    "better": effect.knob.better,
                    "better_s": effect.better_s,
                    "worse": effect.knob.worse,
                    "worse_s": effect.worse_s,
                    "reason": effect.reason,
                }
                for effect in self.effects
            ],
            "result": self.result.to_dict(),
        }
        return record("sensitivity", data)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a knob: step times and the share of the step saved and added."""
        import pandas as pd

        rows = [(e.knob.key, e.better_s, e.worse_s, self.gain(e), self.loss(e), e.reason) for e in self.effects]
        return pd.DataFrame(rows, columns=["knob", "better_s", "worse_s", "gain", "loss", "reason"])

    def plot(self) -> Figure:
        """Return a tornado."""
        from simdml.studies.sensitivity.figure import tornado_figure

        return tornado_figure(self)


def sensitivity(
    source: str | os.PathLike[str] | Mapping[str, Any], assignments: Sequence[str] = (), *, jobs: int | None = None
) -> Sensitivity:
    """Return what would make the job of a scenario faster: a file, a bundled name or a mapping.

    Each part of it is made twice and half as good, on its own; the other parts stay. ``jobs`` processes simulate, as
    many as this machine has cores by default.

    Raises:
        SimdmlError: anything wrong with the scenario as it is.
    """
    scenario = load_scenario(source, assignments)
    return turn_each(scenario, simulate(scenario), jobs=jobs)


def turn_each(scenario: Scenario, result: Result, *, jobs: int | None = None) -> Sensitivity:
    """Return what would make the job of ``scenario``, which was simulated with ``result``, faster."""
    built = build(scenario)
    turned = [(knob, factor) for knob in KNOBS for factor in (BETTER, WORSE) if _has(built, knob, factor)]
    answers = dict(zip([(knob.key, factor) for knob, factor in turned], _ask(scenario, turned, jobs), strict=True))
    effects = [_effect(knob, answers) for knob in KNOBS if {(knob.key, BETTER), (knob.key, WORSE)} & answers.keys()]
    found = Sensitivity(result, ())
    order = sorted(effects, key=lambda effect: (-found.gain(effect), -found.loss(effect)))
    return Sensitivity(result, tuple(order))


def read_sensitivity(data: Mapping[str, Any]) -> Sensitivity:
    """Return the study that :meth:`Sensitivity.to_dict` wrote; raises KeyError and the like for anything else."""
    effects = (Effect(BY_KEY[k["knob"]], k["better_s"], k["worse_s"], k["reason"]) for k in data["knobs"])
    return Sensitivity(read_saved(data["result"]), tuple(effects))


Answer = tuple[float | None, str]


def ask(scenario: Scenario, key: str, factor: float) -> Answer:
    """Return the step time with one knob turned, or why there is none."""
    try:
        changed = BY_KEY[key].turn(build(scenario), factor)
        assert changed is not None
        return simulate_built(changed).step_time_s, ""
    except SimdmlError as error:
        return None, error.message


def _ask(scenario: Scenario, turned: Sequence[tuple[Knob, float]], jobs: int | None) -> list[Answer]:
    processes = min(jobs or num_cores(), len(turned))
    with this_process() if processes <= 1 else local_processes(processes) as workers, starting_processes():
        asked = [workers.executor.submit(ask, scenario, knob.key, factor) for knob, factor in turned]
        return [future.result() for future in asked]


def _has(built: Any, knob: Knob, factor: float) -> bool:
    try:
        return knob.turn(built, factor) is not None
    except SimdmlError:
        return True


def _effect(knob: Knob, answers: Mapping[tuple[str, float], Answer]) -> Effect:
    better, worse = (answers.get((knob.key, factor), (None, "")) for factor in (BETTER, WORSE))
    return Effect(knob, better[0], worse[0], better[1] or worse[1])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
