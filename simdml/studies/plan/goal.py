"""Targets, and what is best: one order for bounds and for results, in which unmet targets come after met ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simdml.studies.plan.site import Site

Minimise = Literal["time", "cost", "energy", "gpus"]
Rank = tuple[float, float, float]
"""How far the worst target is missed (1: all are met), what is minimised, and the step time."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What training to the target takes: seconds, dollars and mean watts, None where the plan does not ask."""

    seconds: float
    usd: float | None
    power_w: float | None

    @property
    def joules(self) -> float | None:
        """Energy."""
        return None if self.power_w is None else self.power_w * self.seconds


@dataclass(frozen=True, slots=True)
class Goal:
    """What is minimised, and the targets: seconds, dollars and watts; ``once_usd`` is paid for whatever it takes."""

    minimise: Minimise = "time"
    deadline_s: float | None = None
    budget_usd: float | None = None
    power_w: float | None = None
    once_usd: float = 0.0

    def sums(self, site: Site, step_s: float, power_w: float | None) -> Sums:
        """Return what training takes at ``site`` with steps of ``step_s``."""
        seconds = site.steps * step_s
        usd = None if site.usd_per_s is None else site.usd_per_s * seconds + self.once_usd
        return Sums(seconds, usd, power_w)

    def rank(self, site: Site, step_s: float, power_w: float | None) -> Rank:
        """Return the place of a result; of a bound on its step time and power it is a bound on the place.

        Every part grows with time and with power: a smaller bound can never come after what it bounds.
        """
        sums = self.sums(site, step_s, power_w)
        return self.missed_by(sums), self._objective(site, sums), step_s

    def missed_by(self, sums: Sums) -> float:
        """Return by which factor the worst of the targets is missed, 1 if all are met."""
        return max(
            1.0,
            *(
                found / wanted
                for found, wanted in (
                    (sums.seconds, self.deadline_s),
                    (sums.usd, self.budget_usd),
                    (sums.power_w, self.power_w),
                )
                if found is not None and wanted is not None
            ),
            1.0,
        )

    def _objective(self, site: Site, sums: Sums) -> float:
        match self.minimise:
            case "time":
                return sums.seconds
            case "cost":
                return sums.usd or 0.0
            case "energy":
                return sums.joules or 0.0
            case "gpus":
                return float(site.gpus)
