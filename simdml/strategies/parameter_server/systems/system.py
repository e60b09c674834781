"""A named parameter-server system: whose it is, its settings as a scenario would write them, what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simdml.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Limit:
    """A setting has to be one of ``values`` because of ``reason``; ``instead`` says what to use for others."""

    values: tuple[object, ...]
    reason: str
    instead: str


@dataclass(frozen=True, slots=True)
class System:
    """A strategy whose defaults are settings of the ``parameter_server`` section, and limits on some of them."""

    strategy: Strategy
    limits: Mapping[str, Limit] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings, as a file would have them."""
        return self.strategy.defaults
