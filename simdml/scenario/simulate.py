"""From a scenario to a Result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import ceil
from typing import Any

from simdml.engine.conditions import Conditions
from simdml.engine.interference import simulate_together
from simdml.engine.simulator import Recording
from simdml.engine.simulator import simulate as simulate_program
from simdml.program.program import Program
from simdml.results.analysis import analyse
from simdml.results.evaluation import Evaluation
from simdml.results.result import Result
from simdml.scenario.building import Built, build
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import Scenario, load_scenario
from simdml.scenario.places import located
from simdml.scenario.plans import STRATEGY
from simdml.scenario.uncertainty import basis_of


def simulate(scenario: Scenario) -> Result:
    """Return the prediction of ``scenario``; memory is checked before anything is simulated.

    Raises:
        SimdmlError: as :func:`~simdml.scenario.building.build`, and
        DoesNotFitError: the job needs more device memory than there is.
    """
    return simulate_built(build(scenario))


def simulate_built(built: Built, *, must_fit: bool = True) -> Result:
    """Return the prediction of a job that is built; raises as :func:`simulate`.

    Without ``must_fit`` a job is simulated whatever memory it needs.
    """
    scenario, memory = built.scenario, built.fitting_memory() if must_fit else built.memory()
    program = built.program()
    with located(scenario.document, STRATEGY):
        recording = _simulated(built, program)
        evaluation = _evaluation(built)
    return analyse(
        recording,
        built.job,
        memory,
        inputs=built.inputs,
        notes=built.notes,
        evaluation=evaluation,
        basis_of=basis_of(built),
    )


def _simulated(built: Built, program: Program) -> Recording:
    asked = built.scenario.spec.simulate

    def simulated(conditions: Conditions) -> Recording:
        return simulate_program(
            program,
            built.job.cluster,
            built.costs,
            conditions,
            half_width=asked.half_width,
            steps=asked.steps,
            folded=asked.fold,
        )

    if built.scenario.spec.faults:
        from simdml.scenario.skew import refuse_skew

        refuse_skew(built.scenario, program)
    return simulate_together(simulated, built.costs, build_conditions(built.scenario, built.job.cluster))


def _evaluation(built: Built) -> Evaluation | None:
    asked = built.scenario.spec.evaluation
    if asked is None:
        return None
    from simdml.strategies.evaluation import compile_evaluation

    passes = ceil(asked.samples / built.job.global_batch)
    passed = _simulated(built, compile_evaluation(built.job))
    return Evaluation(asked.every, asked.samples, passes, passed.end(1) + (passes - 1) * passed.step_time_s)


def run(source: str | os.PathLike[str] | Mapping[str, Any], **overrides: Any) -> Result:
    """Return the prediction of a scenario: a file, a bundled name or a mapping.

    ``overrides`` are merged over it; keys may be dotted, ``run("x.yaml", **{"training.batch_per_gpu": 64})``.

    Raises:
        SimdmlError: anything wrong with the scenario; its text is what the command line prints.
    """
    return simulate(load_scenario(source, changes=overrides))
