"""How far whole steps are from their predictions beyond what single kernels and collectives say, by group of costs.

Profiles and communication fits know the residuals of their own fits. Other machines of the same kind, other versions of
the same software, and what the model leaves out add to them; that is seen in whole steps alone, and is estimated from
published runs (calibrate/fit_spreads.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt
from pathlib import Path

from simdml.calibration.cost_groups import CostGroup
from simdml.calibration.profile import Mark, Provenance
from simdml.resources import find

DEFAULT = "spreads/published_runs"


@dataclass(frozen=True, slots=True)
class Spread:
    """A number and where it comes from: but for the tail, a standard deviation of ln(measured / predicted)."""

    value: float
    provenance: Provenance

    @property
    def measured(self) -> bool:
        """Whether it was estimated from runs."""
        return self.provenance.mark is Mark.MEASURED


@dataclass(frozen=True, slots=True)
class Spreads:
    """What is added, in quadrature, to the residuals of fits.

    ``groups`` by group of costs; ``step`` is that of the whole step, ``carried_over`` what a group has in addition
    where its coefficients were carried over from elsewhere, ``doubling`` what the step has for every time that its
    ranks double those of the measured collectives. ``tail`` are the degrees of freedom of the joint distribution, a
    multivariate Student t of logarithms: the fewer, the more often a prediction is far off.
    """

    name: str
    groups: Mapping[CostGroup, Spread]
    step: Spread
    carried_over: Spread
    doubling: Spread
    tail: Spread

    def alone(self) -> Spreads:
        """Return those of a cost by itself, whose residuals are all there is: nothing of whole steps, the same tail."""
        groups = {group: replace(spread, value=0.0) for group, spread in self.groups.items()}
        return replace(self, groups=groups, step=replace(self.step, value=0.0))

    def scale_of(self, deviation: float) -> float:
        """Return the scale of the distribution whose standard deviation is ``deviation``: of t, less for its tail.

        A Student t of n > 2 degrees of freedom deviates by sqrt(n / (n - 2)) scales.
        """
        degrees = self.tail.value
        return deviation * sqrt((degrees - 2) / degrees) if degrees > 2 else deviation


@cache
def load_spreads(name: str = DEFAULT) -> Spreads:
    """Return the bundled spreads ``name``, or those in the file at that path; raises DocumentError."""
    # pydantic is loaded for files alone.
    from simdml.calibration.spreads_file import read_spreads

    return read_spreads(Path(find("calibrate", name)))
