"""What a framework's host thread does for a kernel: as the scenario says, or as its system does."""

from __future__ import annotations

from simdml.costs.dispatch import DISPATCHES, Dispatch
from simdml.scenario.choices import Choices
from simdml.scenario.loading import Scenario
from simdml.scenario.plans import PYTORCH, Plans
from simdml.scenario.schema.training import DispatchName


def chosen_dispatch(scenario: Scenario, plans: Plans, choices: Choices) -> Dispatch:
    """Return the dispatch of the scenario on the processor it was measured on."""
    asked = scenario.spec.training.dispatch
    return DISPATCHES[choices.given_or(asked, "training.dispatch", _default(plans), plans.system)]


def _default(plans: Plans) -> DispatchName:
    if plans.parameter_server is not None:
        return "graph"
    return "megatron" if plans.by_megatron else "pytorch" if plans.system == PYTORCH else "graph"
