"""The report on one job: what it takes, how sure that is, what binds it, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

from simdml.costs.memory import MemoryEstimate
from simdml.reporting.assumptions import assumption_sections
from simdml.reporting.headline import headline, share, subject
from simdml.reporting.job_sections import job_sections
from simdml.reporting.report import Report, Section, Table, Topic, Words
from simdml.results.result import Result
from simdml.results.saved import Predicted
from simdml.results.uncertainty import Contribution, Uncertainty
from simdml.scenario.building import Built
from simdml.studies.cost.report import cost_part
from simdml.studies.report.scenario_text import scenario_listing
from simdml.studies.sensitivity.report import sensitivity_sections
from simdml.studies.sensitivity.tornado import turn_each
from simdml.units import format_count, format_time

NEARLY_FULL: Final = 0.92
"""Above this share of device memory a job is called at risk: what lies outside tensors is estimated."""
_DECISIVE: Final = 0.001


def job_report(built: Built, result: Result, label: str = "") -> Report:
    """Return the report on the job of ``built``, which was simulated with ``result``; a study calls it ``label``."""
    sure = result.uncertainty
    assert sure is not None
    low, high = sure.interval_90_s
    turned = turn_each(built.scenario, result)
    report, cost = numbers_report(result), cost_part(result, built.scenario, (low, high))
    which = f"{label}: a step" if label else "A step"
    half = " to ".join(map(format_time, sure.interval_50_s))
    interval = f"{which} takes {format_time(low)} to {format_time(high)} with 90 % confidence, {half} with 50 %. "
    return Report(
        title=built.scenario.spec.description or report.title,
        subject=_subject(built),
        answer=f"{report.answer} {cost.answer}".strip(),
        certainty=(interval + _COVERS, *cost.certainty, *report.certainty),
        tiles=(*cost.tiles, *report.tiles),
        warnings=report.warnings,
        sections=(
            *sensitivity_sections(turned),
            *report.sections,
            *cost.sections,
            _certainty_section(sure),
            *assumption_sections(built),
            Section(Topic.REPRODUCTION, "The scenario", (scenario_listing(built.scenario.document),)),
        ),
        version=report.version,
    )


def _subject(built: Built) -> str:
    """Return what the job is: model, cluster and how the work is divided."""
    job = built.job
    degrees = " x ".join(f"{axis} {size}" for axis, size in job.mesh.axes if size > 1)
    facts = f"{job.build(job.training.microbatch).name} on {job.mesh.num_ranks:,} GPUs of {job.cluster.name}"
    facts += f" ({degrees})" if degrees else ""
    return f"{built.scenario.name}: {facts}" if built.scenario.spec.description else facts


_COVERS: Final = (
    "Intervals cover how far single kernels and collectives were from their measurements, and how far whole steps of "
    "published runs were from their predictions: other machines, other software, what the model leaves out. They do "
    "not cover what the scenario assumes, or neighbours on the network."
)


def numbers_report(result: Predicted) -> Report:
    """Return what a report says of ``result`` from its numbers alone."""
    rate = f"{format_count(float(f'{result.samples_per_s:.4g}'))} {result.sample_unit}/s"
    if result.tokens_per_s is not None:
        rate += f" or {format_count(float(f'{result.tokens_per_s:.4g}'))} tokens/s"
    answer = f"A step of {result.samples_per_step:,} {result.sample_unit} takes {format_time(result.step_time_s)} "
    answer += f"on {result.num_gpus:,} GPUs: {rate}, {share(result.mfu)} of the peak."
    return Report(
        title=result.name,
        subject=subject(result),
        answer=answer,
        certainty=tuple(_statistics(result)),
        tiles=tuple(headline(result)),
        warnings=tuple(_warnings(result)),
        sections=tuple(job_sections(result)),
        version=result.version,
    )


def _statistics(result: Predicted) -> list[str]:
    if result.half_width_s is None:
        return []
    if not isfinite(result.half_width_s):
        return ["The job is random, and too few steps were simulated to say how well their mean is known."]
    if result.half_width_s == 0:
        return []
    half = share(result.half_width_s / result.step_time_s)
    return [
        f"The job is random: the mean of the simulated steps is known to ± {half} with 95 % confidence. This says how "
        f"well the simulation knows its own mean ({result.steps_simulated:,} steps), not how good the model is."
    ]


def _warnings(result: Predicted) -> list[str]:
    return [*map(_sentence, result.notes), *_nearly_full(result.memory)]


def _nearly_full(memory: Sequence[MemoryEstimate]) -> list[str]:
    full = [estimate for estimate in memory if estimate.total > NEARLY_FULL * estimate.capacity]
    if not full:
        return []
    fullest = max(full, key=lambda estimate: estimate.total / estimate.capacity)
    others = f" and {len(full) - 1} other kinds of rank fill up to" if len(full) > 1 else " fills"
    whose = "their" if len(full) > 1 else "its"
    text = f"{fullest.rank_class}{others} {share(fullest.total / fullest.capacity)} of {whose} memory; "
    return [_sentence(f"{text}what lies outside tensors is estimated, and the job may not fit")]


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _certainty_section(sure: Uncertainty) -> Section:
    rows = tuple(
        (each.name, share(each.share), f"± {share(each.log_spread)}", f"± {share(each.step_log_spread)}", _why(each))
        for each in sure.contributions
        if each.step_log_spread >= _DECISIVE
    )
    text = (
        "One standard deviation of each group of costs (the residuals of its fits, what whole steps of published runs "
        "add, and more where coefficients were carried over), and how much longer the step is with it."
    )
    columns = ("", "of the step", "spread", "spread of the step", "wider because")
    table = Table("Where the uncertainty comes from", columns, rows, remark_columns=1)
    return Section(Topic.CERTAINTY, "How sure this is", (Words((text,)), table))


def _why(contribution: Contribution) -> str:
    return "; ".join(contribution.reasons) or "-"
