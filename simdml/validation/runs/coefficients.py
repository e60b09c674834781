"""Every fitted coefficient: its value, how far what it was fitted on is from it, and what that was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Final

from simdml.calibration.communication import GlooFit, NcclFit, Provenance, Wire
from simdml.calibration.communication_file import load_gloo_fit, load_nccl_fit
from simdml.calibration.profile import Mark, available_profiles, load_profile
from simdml.calibration.spreads import Spread, load_spreads
from simdml.documents.loading import load_document
from simdml.resources import available, find

COLUMNS: Final = ("fit", "coefficient", "value", "spread", "fitted on")
_FITS: Final = "communication/"


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A fitted number of a profile, a communication fit or the spreads of whole steps.

    ``log_spread`` is the standard deviation of ln(measured / predicted) of what it was fitted on; None for a spread.
    """

    fit: str
    name: str
    value: float
    log_spread: float | None
    fitted_on: str


def coefficients() -> tuple[Coefficient, ...]:
    """Return the coefficients of bundled fits that were fitted, not carried over by a rule or printed by a vendor."""
    return (*_of_profiles(), *_of_communication(), *_of_spreads())


def cells(each: Coefficient) -> tuple[str, ...]:
    """Return a coefficient's cells, one for each of ``COLUMNS``."""
    spread = "-" if each.log_spread is None else f"{each.log_spread:.3g}"
    return each.fit, each.name, f"{each.value:.4g}", spread, each.fitted_on


def to_plain(found: Iterable[Coefficient]) -> dict[str, Any]:
    """Return coefficients as plain data."""
    return {"coefficients": list(map(asdict, found))}


def _of_profiles() -> Iterator[Coefficient]:
    for name in available_profiles():
        profile, data = load_profile(name), load_document(find("calibrate", f"profiles/{name}")).data
        for path, provenance in profile.provenance.items():
            family = path.split(".")[1 if path.startswith("streams") else 0]
            if provenance.mark is Mark.MEASURED and not path.startswith("spread."):
                yield Coefficient(name, path, value_at(data, path), profile.spread.get(family), provenance.source)


def value_at(data: Any, path: str) -> float:
    """Return the number at the dotted ``path`` of a profile's document."""
    for step in path.split("."):
        data = data[int(step)] if isinstance(data, list | tuple) else data[step]
    return float(data["value"])


def _of_communication() -> Iterator[Coefficient]:
    for path in available("calibrate"):
        if path.startswith(_FITS):
            name = path.removeprefix(_FITS)
            fit = load_gloo_fit(name) if name.startswith("gloo") else load_nccl_fit(name)
            for coefficient, value in _numbers(fit).items():
                yield Coefficient(name, coefficient, value, fit.provenance.large_log_spread, _told(fit.provenance))


def _numbers(fit: NcclFit | GlooFit) -> Mapping[str, float]:
    values = {field.name: getattr(fit, field.name) for field in fields(fit)}
    for name, wire in [(name, value) for name, value in values.items() if isinstance(value, Wire)]:
        values |= {f"{name}.{part}": value for part, value in asdict(wire).items()}
    return {name: value for name, value in values.items() if isinstance(value, float) and isfinite(value)}


def _told(provenance: Provenance) -> str:
    return f"{provenance.rows} rows: {', '.join(provenance.sources)}"


def _of_spreads() -> Iterator[Coefficient]:
    found = load_spreads()
    named = {"tail": found.tail, "step": found.step, "carried_over": found.carried_over, "doubling": found.doubling}
    every: dict[str, Spread] = {**named, **{f"groups.{group}": spread for group, spread in found.groups.items()}}
    for name, spread in every.items():
        if spread.measured:
            yield Coefficient(found.name, name, spread.value, None, spread.provenance.source)
