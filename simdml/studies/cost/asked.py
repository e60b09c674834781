"""Whether a scenario asks for a statement; what makes one is loaded for those that do."""

from __future__ import annotations

from simdml.scenario.loading import Scenario


def asks_for_statement(scenario: Scenario) -> bool:
    """Whether the scenario says anything about cost, energy or a target."""
    spec = scenario.spec
    return spec.cost is not None or spec.energy is not None or spec.target is not None
