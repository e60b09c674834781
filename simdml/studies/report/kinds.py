"""The table of records that can be reported: a line for each kind of study, whose sections are a file of its own.

A module of the table has ``findings(record)``; one with a ``section`` also has ``study(source, assignments)``, which
runs a scenario that has this section and returns its record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of record: what it is called in a sentence, its module, the section of scenarios that ask for it."""

    noun: str
    module: str
    section: str = ""

    def load(self) -> ModuleType:
        """Import the module."""
        return import_module(self.module)


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "result": Kind("result of a run", "simdml.studies.report.result"),
        "sensitivity": Kind("sensitivity study", "simdml.studies.sensitivity.report"),
        "compare": Kind("comparison", "simdml.studies.compare.report"),
        "sweep": Kind("sweep", "simdml.studies.sweep.report", section="vary"),
        "plan": Kind("plan", "simdml.studies.plan.report", section="plan"),
        "goodput": Kind("goodput study", "simdml.studies.goodput.report", section="goodput"),
        "fleet": Kind("fleet study", "simdml.studies.fleet.report", section="fleet"),
    }
)
"""By the name that a record gives itself; of several sections a scenario has, the last one here is reported."""
