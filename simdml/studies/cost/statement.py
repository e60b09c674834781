"""``statement``: what a result costs and draws, for a step and for the target of its scenario."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from simdml.cluster.cluster import Cluster
from simdml.cluster.device import find_device
from simdml.errors import InfeasibleError
from simdml.results.result import Result
from simdml.scenario.clusters import relative, server_nodes, worker_nodes
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located
from simdml.scenario.schema.cost import CostSpec, EnergySpec
from simdml.studies.cost.power import PowerModel, power_model, refuse_unknown_power
from simdml.studies.cost.prices import price_file, price_of, read_prices
from simdml.studies.cost.target import steps_to_target

JOULES_A_KWH = 3.6e6
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rented:
    """GPUs of one type that are paid for, those of whole nodes, and the price that holds."""

    gpu: str
    count: int
    usd_per_gpu_hour: float
    price: str


@dataclass(frozen=True, slots=True)
class Target:
    """What reaching the target takes; ``evaluation_s`` of the seconds are evaluation, at the power of training."""

    steps: float
    seconds: float
    usd: float | None = None
    kwh: float | None = None
    kg_co2e: float | None = None
    evaluation_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Statement:
    """Cost and energy of a job; what was not asked for is None.

    ``power_w`` is the mean over a step, of the whole job with its hosts and ``pue``.
    """

    rented: tuple[Rented, ...] = ()
    usd_per_hour: float | None = None
    usd_per_step: float | None = None
    usd_per_sample: float | None = None
    usd_per_million_tokens: float | None = None
    power_w: float | None = None
    pue: float | None = None
    kwh_per_step: float | None = None
    kwh_per_sample: float | None = None
    kg_co2e_per_step: float | None = None
    target: Target | None = None

    def plain(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {"rented": [asdict(entry) for entry in self.rented]}


def statement(result: Result, scenario: Scenario) -> Statement:
    """Return what ``result`` of ``scenario`` costs and draws, as far as the scenario asks.

    Raises:
        InfeasibleError: a price, a rating or a unit that is missing, with what to add.
        DocumentError: a price file that cannot be accepted.
    """
    cluster = result.recording.execution.cluster
    cost, rented = scenario.spec.cost, tuple[Rented, ...]()
    usd_per_s: float | None = None
    if cost is not None:
        rented, usd_per_s = _rent(scenario, cost, cluster, result.num_gpus)
    energy = scenario.spec.energy
    power_w = None if energy is None else _power_w(scenario, energy, result)
    step_s, samples = result.step_time_s, result.samples_per_step
    tokens = None if result.tokens_per_s is None else result.tokens_per_s * step_s
    usd_per_step = None if usd_per_s is None else usd_per_s * step_s
    kwh_per_step = None if power_w is None else power_w * step_s / JOULES_A_KWH
    return Statement(
        rented=rented,
        usd_per_hour=None if usd_per_s is None else usd_per_s * HOUR_S,
        usd_per_step=usd_per_step,
        usd_per_sample=None if usd_per_step is None else usd_per_step / samples,
        usd_per_million_tokens=None if usd_per_step is None or tokens is None else usd_per_step / tokens * 1e6,
        power_w=power_w,
        pue=None if energy is None else energy.pue,
        kwh_per_step=kwh_per_step,
        kwh_per_sample=None if kwh_per_step is None else kwh_per_step / samples,
        kg_co2e_per_step=_carbon(energy, kwh_per_step),
        target=_target(result, scenario, tokens, usd_per_step, kwh_per_step),
    )


def _target(
    result: Result, scenario: Scenario, tokens: float | None, usd_per_step: float | None, kwh_per_step: float | None
) -> Target | None:
    spec, cost = scenario.spec.target, scenario.spec.cost
    if spec is None:
        return None
    with located(scenario.document, "target"):
        steps = steps_to_target(
            spec,
            samples_per_step=result.samples_per_step,
            tokens_per_sample=None if tokens is None else round(tokens / result.samples_per_step),
            mean_staleness=0.0 if result.servers is None else result.servers.mean_staleness,
        )
    seconds, whole = steps * result.step_time_s, steps
    if result.evaluation is not None:
        whole = steps / (1 - result.evaluation.share(result.step_time_s))
    once = 0.0 if cost is None or cost.traffic is None else cost.traffic.size * cost.traffic.price
    kwh = None if kwh_per_step is None else kwh_per_step * whole
    return Target(
        steps=steps,
        seconds=whole * result.step_time_s,
        usd=None if usd_per_step is None else usd_per_step * whole + once,
        kwh=kwh,
        kg_co2e=_carbon(scenario.spec.energy, kwh),
        evaluation_s=whole * result.step_time_s - seconds,
    )


def _carbon(energy: EnergySpec | None, kwh: float | None) -> float | None:
    return None if energy is None or energy.carbon is None or kwh is None else energy.carbon * kwh * JOULES_A_KWH


def rent(scenario: Scenario, cluster: Cluster, gpus: int) -> float:
    """Return dollars a second for the nodes of the first ``gpus`` GPUs of ``cluster``; raises as :func:`statement`."""
    return _rent(scenario, scenario.spec.cost or CostSpec(), cluster, gpus)[1]


def _rent(scenario: Scenario, spec: CostSpec, cluster: Cluster, gpus: int) -> tuple[tuple[Rented, ...], float]:
    """Return the GPUs paid for, and dollars a second for them, servers and storage."""
    counts = Counter(cluster.device(gpu).name for node in worker_nodes(cluster, gpus) for gpu in cluster.gpus_of(node))
    with located(scenario.document, "cost"):
        rented = tuple(_rented(scenario, spec, gpu, count) for gpu, count in counts.items())
        usd_per_s = sum(entry.count * entry.usd_per_gpu_hour / HOUR_S for entry in rented)
        servers = len(server_nodes(cluster))
        if servers and spec.server_hour is None:
            raise InfeasibleError(
                f"the cluster has {servers} nodes without GPUs, and no price for them",
                hint="add cost: {server_hour: ... USD/h}, for each",
            )
    usd_per_s += servers * (spec.server_hour or 0.0)
    return rented, usd_per_s + (0.0 if spec.storage is None else spec.storage.size * spec.storage.price)


def _rented(scenario: Scenario, spec: CostSpec, gpu: str, count: int) -> Rented:
    with located(scenario.document, "cost", "gpu_hour"):
        given = spec.gpu_hour
        if isinstance(given, dict):
            given = {find_device(name).name: price for name, price in given.items()}.get(gpu)
    if given is not None:
        return Rented(gpu, count, given * HOUR_S, "the scenario")
    name = None if spec.prices is None else relative(scenario, spec.prices, "cost", "prices")
    with located(scenario.document, "cost", "prices"):
        prices = read_prices(price_file(name))
    entry = price_of(gpu, spec, prices)
    return Rented(gpu, count, entry.gpu_usd_per_s * HOUR_S, str(entry))


def _power_w(scenario: Scenario, spec: EnergySpec, result: Result) -> float:
    """Return the mean power of a step: GPUs by what they are doing, hosts of their nodes, servers, the building."""
    execution, model = result.recording.execution, power_model(spec)
    cluster = execution.cluster
    with located(scenario.document, "energy"):
        joules = 0.0
        for each in result.breakdowns:
            device = cluster.device(execution.program.device(each.representative))
            refuse_unknown_power(device)
            joules += each.num_ranks * model.gpu_joules(device, each.seconds)
        hosts_w = _hosts_w(model, spec, cluster, result.num_gpus)
    return (joules / result.step_time_s + hosts_w) * (spec.pue or 1.0)


def least_power_w(scenario: Scenario, cluster: Cluster, gpus: int) -> float:
    """Return the mean power that a job cannot stay below: every GPU at its smallest share, and the hosts."""
    spec = scenario.spec.energy or EnergySpec()
    model = power_model(spec)
    with located(scenario.document, "energy"):
        for device in cluster.devices(gpus):
            refuse_unknown_power(device)
        idle_w = model.least_share * sum(cluster.device(gpu).tdp_watts for gpu in range(gpus))
        return (idle_w + _hosts_w(model, spec, cluster, gpus)) * (spec.pue or 1.0)


def _hosts_w(model: PowerModel, spec: EnergySpec, cluster: Cluster, gpus: int) -> float:
    """Return what nodes draw beside the job's GPUs; GPUs of theirs that the job leaves idle are not counted."""
    nodes = worker_nodes(cluster, gpus)
    watts = sum(model.host_of(cluster.device(gpu)) for node in nodes for gpu in cluster.gpus_of(node))
    servers = len(server_nodes(cluster))
    if servers and spec.server is None:
        raise InfeasibleError(
            f"the cluster has {servers} nodes without GPUs, and nothing says what they draw",
            hint="add energy: {server: 400 W}, for each",
        )
    return watts + servers * (spec.server or 0.0)
