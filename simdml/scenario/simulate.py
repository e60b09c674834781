"""From a scenario to a Result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from simdml.engine.simulator import simulate as simulate_program
from simdml.results.analysis import analyse
from simdml.results.result import Result
from simdml.scenario.building import Built, build
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import Scenario, load_scenario
from simdml.scenario.places import located
from simdml.scenario.plans import STRATEGY


def simulate(scenario: Scenario) -> Result:
    """Return the prediction of ``scenario``; memory is checked before anything is simulated.

    Raises:
        SimdmlError: as :func:`~simdml.scenario.building.build`, and
        DoesNotFitError: the job needs more device memory than there is.
    """
    return simulate_built(build(scenario))


def simulate_built(built: Built) -> Result:
    """Return the prediction of a job that is built; raises as :func:`simulate`."""
    scenario, memory, program = built.scenario, built.fitting_memory(), built.program()
    with located(scenario.document, STRATEGY):
        recording = simulate_program(
            program,
            built.job.cluster,
            built.costs,
            build_conditions(scenario, built.job.cluster),
            half_width=scenario.spec.simulate.half_width,
            steps=scenario.spec.simulate.steps,
            folded=scenario.spec.simulate.fold,
        )
    return analyse(recording, built.job, memory, inputs=built.inputs, notes=built.notes)


def run(source: str | os.PathLike[str] | Mapping[str, Any], **overrides: Any) -> Result:
    """Return the prediction of a scenario: a file, a bundled name or a mapping.

    ``overrides`` are merged over it; keys may be dotted, ``run("x.yaml", **{"training.batch_per_gpu": 64})``.

    Raises:
        SimdmlError: anything wrong with the scenario; its text is what the command line prints.
    """
    return simulate(load_scenario(source, changes=overrides))
