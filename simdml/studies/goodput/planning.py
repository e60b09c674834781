"""From a scenario's ``goodput`` section to a campaign."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf

from simdml.calibration.failure_rates import FailureMode, Unit, find_failure_record
from simdml.errors import DocumentError, InfeasibleError, UsageError
from simdml.scenario.building import Built
from simdml.scenario.clusters import worker_nodes
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located
from simdml.scenario.schema.goodput import CheckpointSpec, FailureModeSpec, GoodputSpec
from simdml.strategies.job import Job
from simdml.studies.cost.target import steps_to_target
from simdml.studies.goodput.campaign import Campaign, Checkpointing, Interruption, SlowNodes
from simdml.studies.goodput.checkpoint_size import CheckpointSize, checkpoint_size
from simdml.studies.goodput.intervals import optimal, slowdown
from simdml.units import format_time

GOODPUT = "goodput"
HOPELESS = 20.0
"""A job that takes so many times as long as without failures is refused rather than simulated."""
MOST_INTERRUPTIONS = 50_000
"""A run of more is refused: a thousand of them take a minute."""
_EXAMPLE = "goodput: {failures: llama3_2024, checkpoint: {every: optimal, to: 40 GB/s}, period: 30 d}"


@dataclass(frozen=True, slots=True)
class Planned:
    """A campaign, and what it was made of."""

    campaign: Campaign
    size: CheckpointSize
    interval_steps: int
    step_time_s: float
    source: str
    assumptions: tuple[str, ...]


def goodput_section(scenario: Scenario) -> GoodputSpec:
    """Return the section; raises UsageError where the scenario has none."""
    if scenario.spec.goodput is None:
        raise UsageError(f"{scenario.name} has no goodput section", hint=f"add for example {_EXAMPLE}")
    return scenario.spec.goodput


def plan_campaign(scenario: Scenario, built: Built, step_time_s: float, mean_staleness: float = 0.0) -> Planned:
    """Return the campaign of a job whose step takes ``step_time_s``, with gradients so many updates old.

    Raises:
        UnknownNameError: no such record of failures.
        InfeasibleError: no target, checkpoints more often than they can be written, a deadline that cannot be met, or
            failures so often that training does not advance.
    """
    spec = goodput_section(scenario)
    interruptions, source = _interruptions(scenario, spec, built.job)
    size = checkpoint_size(built, spec.checkpoint.size)
    stall_s, write_s = _stalls(spec.checkpoint, size)
    load_s = size.load_s(spec.checkpoint.reading or spec.checkpoint.to, spec.checkpoint.per_node)
    mtbf_s = _mtbf_s(interruptions)
    work_s = _work_s(scenario, built.job, step_time_s, mean_staleness)
    least_s = max(write_s - stall_s, 0.0)
    steps = _interval_steps(scenario, spec.checkpoint, step_time_s, (stall_s, mtbf_s, least_s, work_s))
    nodes = len(worker_nodes(built.job.cluster, built.job.mesh.num_ranks))
    campaign = Campaign(
        work_s,
        Checkpointing(steps * step_time_s, stall_s, write_s, load_s),
        interruptions,
        period_s=spec.period or inf,
        scheduling_s=spec.restart.scheduling,
        warm_up_s=spec.restart.warm_up,
        spares=spec.spares,
        repair_s=spec.repair,
        slow=_slow(spec, nodes),
    )
    _refuse_hopeless(scenario, campaign)
    _refuse_endless(scenario, campaign)
    _refuse_early_deadline(scenario, spec, campaign)
    return Planned(campaign, size, steps, step_time_s, source, tuple(_assumptions(spec, campaign)))


def _interruptions(scenario: Scenario, spec: GoodputSpec, job: Job) -> tuple[tuple[Interruption, ...], str]:
    found: list[Interruption] = []
    sources: list[str] = []
    one = isinstance(spec.failures, str)
    for index, each in enumerate([spec.failures] if isinstance(spec.failures, str) else spec.failures):
        if isinstance(each, str):
            with located(scenario.document, GOODPUT, "failures", *(() if one else (index,))):
                record = find_failure_record(each)
            found += [_interruption(mode, job, spec) for mode in record.modes]
            sources.append(f"{record.meaning} ({record.source})")
        else:
            found.append(_given(each, job, spec))
            sources.append(f"{each.component} as given")
    return tuple(found), "; ".join(sources) or "none"


def _given(each: FailureModeSpec, job: Job, spec: GoodputSpec) -> Interruption:
    found = _interruption(FailureMode(each.component, each.of, each.mtbf, each.replaced), job, spec)
    if each.planned:
        return replace(found, planned=True, detection_s=each.detection or 0.0)
    return found if each.detection is None else replace(found, detection_s=each.detection)


def _interruption(mode: FailureMode, job: Job, spec: GoodputSpec) -> Interruption:
    rate = _units(mode.unit, job) * spec.failure_scale / mode.mtbf_s
    return Interruption(mode.name, rate, spec.detection, mode.replaced, events=mode.events)


def _units(unit: Unit, job: Job) -> int:
    nodes = worker_nodes(job.cluster, job.mesh.num_ranks)
    match unit:
        case "gpu":
            return job.mesh.num_ranks
        case "node":
            return len(nodes)
        case "nic":
            return sum(len(job.cluster.template(node).nics) for node in nodes)
        case "job":
            return 1


def _mtbf_s(interruptions: tuple[Interruption, ...]) -> float:
    rate = sum(each.rate_per_s for each in interruptions if not each.planned)
    return 1 / rate if rate else inf


def _stalls(spec: CheckpointSpec, size: CheckpointSize) -> tuple[float, float]:
    """Return what training waits for a checkpoint, and how long it is written beside."""
    write_s = size.write_s(spec.to, spec.per_node)
    return (size.copy_s, write_s) if spec.mode == "asynchronous" else (write_s, 0.0)


def _work_s(scenario: Scenario, job: Job, step_time_s: float, mean_staleness: float) -> float:
    """Return what is to be trained in seconds at the rated speed; infinite for a period."""
    if goodput_section(scenario).period is not None:
        return inf
    target = scenario.spec.target
    if target is None:
        place = scenario.document.place((GOODPUT,))
        raise DocumentError("nothing says how much is trained", place=place, hint="add target: {steps: 100 k}")
    with located(scenario.document, "target"):
        tokens = job.build(job.training.microbatch).tokens_per_sample
        steps = steps_to_target(
            target,
            samples_per_step=job.samples_per_step,
            tokens_per_sample=tokens if tokens > 1 else None,
            mean_staleness=mean_staleness,
        )
    return ceil(steps) * step_time_s


def _interval_steps(
    scenario: Scenario, spec: CheckpointSpec, step_time_s: float, times: tuple[float, float, float, float]
) -> int:
    """Return steps between checkpoints: as given, or the best that are not begun before the last is written."""
    stall_s, mtbf_s, least_s, work_s = times
    fewest = max(ceil(least_s / step_time_s), 1)
    if spec.every_steps is not None or spec.every != "optimal":
        steps = spec.every_steps or max(round(float(spec.every) / step_time_s), 1)
        if steps < fewest:
            key = "every" if spec.every_steps is None else "every_steps"
            raise InfeasibleError(
                f"a checkpoint every {format_time(steps * step_time_s)} is begun before the last one is written",
                place=scenario.document.place((GOODPUT, "checkpoint", key)),
                hint=f"the nearest that can be: every {format_time(fewest * step_time_s)}, {fewest:,} steps",
            )
        return steps
    best_s = optimal(stall_s, mtbf_s)
    if best_s == inf:
        return max(ceil(min(work_s, 365 * 86_400.0) / step_time_s), 1)
    below = max(int(best_s / step_time_s), fewest)
    return min((below, below + 1), key=lambda steps: slowdown(steps * step_time_s, stall_s, mtbf_s))


def _slow(spec: GoodputSpec, nodes: int) -> SlowNodes | None:
    slow = spec.slow_nodes
    return None if slow is None else SlowNodes(nodes / slow.mtbf, slow.by, slow.found_after)


def _refuse_hopeless(scenario: Scenario, campaign: Campaign) -> None:
    try:
        factor = campaign.closed_form_slowdown()
    except OverflowError:
        factor = inf
    if factor > HOPELESS:
        raise InfeasibleError(
            f"training hardly advances: a failure every {format_time(campaign.mtbf_s)} on average, while a restart "
            f"takes {format_time(campaign.restart_s)} and a checkpoint comes every "
            f"{format_time(campaign.checkpoints.interval_s + campaign.checkpoints.stall_s)}",
            place=scenario.document.place((GOODPUT,)),
            hint="write checkpoints more often, restart faster, or train on fewer nodes",
        )


def _refuse_endless(scenario: Scenario, campaign: Campaign) -> None:
    """Refuse a campaign with more interruptions than can be simulated."""
    rate = sum(each.rate_per_s for each in campaign.interruptions)
    rate += campaign.slow.rate_per_s if campaign.slow is not None else 0.0
    wall_s = campaign.period_s if campaign.work_s == inf else campaign.work_s * campaign.closed_form_slowdown()
    if rate * wall_s > MOST_INTERRUPTIONS:
        raise InfeasibleError(
            f"{rate * wall_s:,.0f} interruptions are to be expected in every run of {format_time(wall_s)}, "
            f"more than the {MOST_INTERRUPTIONS:,} that are simulated",
            place=scenario.document.place((GOODPUT,)),
            hint="watch a shorter period, or train less",
        )


def _refuse_early_deadline(scenario: Scenario, spec: GoodputSpec, campaign: Campaign) -> None:
    if spec.finish_within is None:
        return
    place = scenario.document.place((GOODPUT, "finish_within"))
    if campaign.work_s == inf:
        raise InfeasibleError(
            "a period has no end to finish within",
            place=place,
            hint="leave period out, and say how much is trained: target: {steps: 100 k}",
        )
    if spec.finish_within < campaign.undisturbed_s:
        raise InfeasibleError(
            f"training takes {format_time(campaign.undisturbed_s)} even without a failure, "
            f"more than {format_time(spec.finish_within)}",
            place=place,
            hint=f"the nearest that can be: {format_time(campaign.undisturbed_s)}; more GPUs make it shorter",
        )


def _assumptions(spec: GoodputSpec, campaign: Campaign) -> list[str]:
    """Return what the section left open and a reader should know."""
    given, restart = spec.model_fields_set, spec.restart.model_fields_set
    named = (
        [spec.failures] if isinstance(spec.failures, str) else [each for each in spec.failures if isinstance(each, str)]
    )
    found = [f"{name} does not claim {find_failure_record(name).does_not_claim}" for name in named]
    if "detection" not in given:
        found.append(
            f"failures are found after {format_time(spec.detection)} (MegaScale, arXiv 2402.15627: under 10 min)"
        )
    if "scheduling" not in restart:
        found.append(f"processes run again {format_time(spec.restart.scheduling)} later (MegaScale: 15 min in all)")
    if spec.spares is None:
        found.append("a healthy node is always at hand")
    elif "repair" not in given:
        found.append(f"a node is repaired in {format_time(spec.repair)}, which is a guess")
    if campaign.slow is None:
        found.append("no node gets slow")
    if spec.checkpoint.reading is None:
        found.append("storage is read as fast as it is written")
    return found
