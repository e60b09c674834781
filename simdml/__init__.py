"""Predict how fast a distributed training job will run on a cluster, before anyone rents it.

>>> import simdml
>>> result = simdml.run("quickstart")          # a bundled scenario, a file or a mapping
>>> result.step_time_s, result.samples_per_s   # doctest: +SKIP

Names are imported when they are first used, so that starting costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simdml.errors import SimdmlError
    from simdml.results.result import Result
    from simdml.scenario.loading import Scenario, load_scenario
    from simdml.scenario.simulate import run, simulate
    from simdml.studies.compare.comparison import compare
    from simdml.studies.fleet.fleet import fleet
    from simdml.studies.goodput.goodput import goodput
    from simdml.studies.plan.planning import plan
    from simdml.studies.sensitivity.tornado import sensitivity
    from simdml.studies.sweep.verb import sweep

__version__ = "0.1.0"
__all__ = [
    "Result",
    "Scenario",
    "SimdmlError",
    "__version__",
    "compare",
    "fleet",
    "goodput",
    "load_scenario",
    "plan",
    "run",
    "sensitivity",
    "simulate",
    "sweep",
]

_HOMES = {
    "Result": "simdml.results.result",
    "Scenario": "simdml.scenario.loading",
    "SimdmlError": "simdml.errors",
    "compare": "simdml.studies.compare.comparison",
    "fleet": "simdml.studies.fleet.fleet",
    "goodput": "simdml.studies.goodput.goodput",
    "load_scenario": "simdml.scenario.loading",
    "plan": "simdml.studies.plan.planning",
    "run": "simdml.scenario.simulate",
    "sensitivity": "simdml.studies.sensitivity.tornado",
    "simulate": "simdml.scenario.simulate",
    "sweep": "simdml.studies.sweep.verb",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'simdml' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
