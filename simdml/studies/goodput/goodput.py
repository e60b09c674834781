"""``goodput``: how long training takes with failures, and where the time goes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import inf, sqrt
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from simdml.results.plain import plain
from simdml.results.record import record
from simdml.results.uncertainty import NORMAL_95, QUANTILES
from simdml.scenario.building import Built, build
from simdml.scenario.loading import Scenario, load_scenario
from simdml.scenario.schema.goodput import GoodputSpec
from simdml.scenario.simulate import simulate_built
from simdml.studies.goodput.intervals import daly, optimal, young
from simdml.studies.goodput.planning import Planned, goodput_section, plan_campaign
from simdml.studies.goodput.timeline import LOSSES, Runs, simulate_campaign

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over all runs: its mean with the 95 % half width, and quantiles by :data:`QUANTILES`."""

    mean: float
    half_width: float
    quantiles: tuple[float, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """Return the spread of ``values``, one a run."""
        deviation = float(values.std(ddof=1)) / sqrt(len(values))
        return cls(float(values.mean()), NORMAL_95 * deviation, tuple(np.quantile(values, QUANTILES).tolist()))

    @property
    def median(self) -> float:
        """What half of the runs are below."""
        return self.quantiles[2]

    def to_dict(self) -> dict[str, float]:
        """Return it as plain data."""
        named = {f"p{round(100 * q)}": value for q, value in zip(QUANTILES, self.quantiles, strict=True)}
        return {"mean": self.mean, "half_width_95": self.half_width, **named}


@dataclass(frozen=True)
class Goodput:
    """What became of many runs of one campaign.

    ``effective`` is the effective training time ratio: training at the rated speed that was kept, over wall time.
    """

    name: str
    num_gpus: int
    scenario: Scenario
    planned: Planned
    runs: Runs
    seed: int
    start: date | None = None
    finish_within_s: float | None = None

    @property
    def wall_s(self) -> Spread:
        """Wall time of a run: to the end of training, or the period that is watched."""
        return Spread.of(self.runs.wall_s)

    @property
    def effective(self) -> Spread:
        """Effective training time ratio of a run."""
        return Spread.of(self.runs.productive_s / self.runs.wall_s)

    @property
    def interruptions(self) -> Spread:
        """Interruptions of a run: failures, planned ones, slow nodes that were replaced."""
        return Spread.of(self.runs.count.sum(axis=1).astype(np.float64))

    @property
    def account_s(self) -> dict[str, float]:
        """Mean seconds of a run by what they went to; they add up to the mean wall time."""
        runs = self.runs
        losses = dict(zip(LOSSES, runs.losses.sum(axis=2).mean(axis=1).tolist(), strict=True))
        checkpoints, slow = float(runs.checkpoint_s.mean()), float(runs.slow_s.mean())
        return {"training": float(runs.productive_s.mean()), "checkpoints": checkpoints, **losses, "slow nodes": slow}

    @property
    def causes(self) -> list[tuple[str, float, dict[str, float]]]:
        """Cause, mean interruptions of a run, and mean seconds lost by kind; what costs most first."""
        lost, count = self.runs.losses.mean(axis=1), self.runs.count.mean(axis=0)
        rows = [
            (cause, float(count[index]), dict(zip(LOSSES, lost[:, index].tolist(), strict=True)))
            for index, cause in enumerate(self.planned.campaign.causes)
        ]
        return sorted(rows, key=lambda row: (-sum(row[2].values()), row[0]))

    @property
    def closed_form_wall_s(self) -> float | None:
        """What Daly's closed form expects, which knows no slow nodes, spares or plans; None for a period."""
        campaign = self.planned.campaign
        return None if campaign.work_s == inf else campaign.closed_form_wall_s()

    @property
    def in_time(self) -> float | None:
        """The share of runs that finish within what was asked for."""
        return None if self.finish_within_s is None else float((self.runs.wall_s <= self.finish_within_s).mean())

    def end_date(self, wall_s: float) -> date | None:
        """Return the day on which training ends if it takes so long."""
        return None if self.start is None else self.start + timedelta(seconds=wall_s)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single runs as plain data."""
        planned, campaign = self.planned, self.planned.campaign
        checkpoints, mtbf_s = campaign.checkpoints, campaign.mtbf_s
        data = {
            "name": self.name,
            "scenario": plain(self.scenario.document.data),
            "num_gpus": self.num_gpus,
            "num_runs": len(self.runs.wall_s),
            "seed": self.seed,
            "step_time_s": planned.step_time_s,
            "work_s": _finite(campaign.work_s),
            "mtbf_s": _finite(mtbf_s),
            "checkpoint": {
                "size_bytes": planned.size.total_bytes,
                "interval_steps": planned.interval_steps,
                "interval_s": checkpoints.interval_s,
                "stall_s": checkpoints.stall_s,
                "write_beside_s": checkpoints.write_s,
                "load_s": checkpoints.load_s,
                "young_interval_s": _finite(young(checkpoints.stall_s, mtbf_s)),
                "daly_interval_s": _finite(daly(checkpoints.stall_s, mtbf_s)) if mtbf_s != inf else None,
                "optimal_interval_s": _finite(optimal(checkpoints.stall_s, mtbf_s)),
            },
            "wall_s": self.wall_s.to_dict(),
            "effective_time": self.effective.to_dict(),
            "interruptions": self.interruptions.to_dict(),
            "closed_form_wall_s": self.closed_form_wall_s,
            "account_s": self.account_s,
            "causes": [{"cause": cause, "interruptions": count, "lost_s": lost} for cause, count, lost in self.causes],
            "finish_within_s": self.finish_within_s,
            "share_in_time": self.in_time,
            "end_date": None if self.start is None else str(self.end_date(self.wall_s.median)),
            "failures": planned.source,
            "assumptions": list(planned.assumptions),
        }
        return record("goodput", data)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a run: its wall time, seconds by account, interruptions."""
        import pandas as pd

        losses = self.runs.losses.sum(axis=2)
        columns = {
            "wall_s": self.runs.wall_s,
            "training_s": self.runs.productive_s,
            "checkpoints_s": self.runs.checkpoint_s,
            **{f"{kind.replace(' ', '_')}_s": losses[index] for index, kind in enumerate(LOSSES)},
            "slow_nodes_s": self.runs.slow_s,
            "interruptions": self.runs.count.sum(axis=1),
        }
        return pd.DataFrame(columns).rename_axis("run")

    def plot(self) -> Figure:
        """Return a figure: when training ends, and what is lost to which cause."""
        from simdml.studies.goodput.figure import goodput_figure

        return goodput_figure(self)


def goodput(
    source: str | os.PathLike[str] | Mapping[str, Any], assignments: Sequence[str] = (), *, runs: int | None = None
) -> Goodput:
    """Return what weeks of training with failures come to: a scenario with a goodput section, as a file or a mapping.

    ``runs`` is how often it is simulated, as the section says by default. The step time is simulated unless the section
    gives one.

    Raises:
        SimdmlError: anything wrong with the scenario; its text is what the command line prints.
    """
    scenario = load_scenario(source, assignments)
    spec, built = goodput_section(scenario), build(scenario)
    built.fitting_memory()
    step_time_s, staleness = _step(spec, built)
    planned = plan_campaign(scenario, built, step_time_s, staleness)
    seed = scenario.spec.simulate.seed
    simulated = simulate_campaign(planned.campaign, runs or spec.runs, seed)
    gpus = built.job.mesh.num_ranks
    return Goodput(scenario.name, gpus, scenario, planned, simulated, seed, spec.start, spec.finish_within)


def _step(spec: GoodputSpec, built: Built) -> tuple[float, float]:
    """Return the step time as given or simulated, and how many updates old gradients are on average."""
    if spec.step_time is not None:
        return spec.step_time, 0.0
    result = simulate_built(built)
    return result.step_time_s, 0.0 if result.servers is None else result.servers.mean_staleness


def _finite(value: float) -> float | None:
    return None if value == inf else value
