"""A statement as rows of text."""

from __future__ import annotations

from simdml.studies.cost.statement import Statement
from simdml.units import format_count, format_money, format_power, format_time

Row = tuple[str, str]


def rows(found: Statement) -> list[Row]:
    """Return what there is, name and value."""
    made: list[Row] = [
        ("price", f"{entry.count:,} {entry.gpu} at {entry.usd_per_gpu_hour:.4g} USD/h ({entry.price})")
        for entry in found.rented
    ]
    if found.usd_per_hour is not None and found.usd_per_step is not None and found.usd_per_sample is not None:
        made += [("cost", f"{format_money(found.usd_per_hour)} an hour, {format_money(found.usd_per_step)} a step")]
        made += [("cost of training", _per_unit(found, found.usd_per_sample))]
    if found.power_w is not None and found.kwh_per_step is not None:
        building = "of the computers" if found.pue is None else f"with a PUE of {found.pue:g}"
        made += [("power", f"{format_power(found.power_w)} {building}, {found.kwh_per_step:.4g} kWh a step")]
    if found.kg_co2e_per_step is not None:
        made += [("emissions", f"{found.kg_co2e_per_step:.4g} kg CO2e a step")]
    return made + _target_rows(found)


def _per_unit(found: Statement, usd_per_sample: float) -> str:
    if found.usd_per_million_tokens is None:
        return f"{format_money(1000 * usd_per_sample)} for 1,000 samples"
    return f"{format_money(found.usd_per_million_tokens)} for a million tokens"


def _target_rows(found: Statement) -> list[Row]:
    target = found.target
    if target is None:
        return []
    evaluated = f", {format_time(target.evaluation_s)} of them evaluation" if target.evaluation_s else ""
    made = [("to the target", f"{format_count(target.steps)} steps, {format_time(target.seconds)}{evaluated}")]
    if target.usd is not None:
        made.append(("cost of the target", format_money(target.usd)))
    if target.kwh is not None:
        carbon = "" if target.kg_co2e is None else f", {target.kg_co2e:,.0f} kg CO2e"
        made.append(("energy of the target", f"{target.kwh:,.0f} kWh{carbon}"))
    return made
