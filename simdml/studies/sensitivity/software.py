"""Better and worse kernels, overheads and servers: a job with something in its costs changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from simdml.calibration.communication import CommunicationFit, GlooFit, NcclFit
from simdml.costs.collectives.gloo import GlooCost
from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.collectives.plan import CollectiveCost
from simdml.documents.document import Document, from_mapping
from simdml.documents.overriding import assign
from simdml.documents.validation import validate
from simdml.scenario.building import Built, build
from simdml.scenario.loading import Scenario
from simdml.scenario.plans import STRATEGY, strategy_section
from simdml.scenario.schema.scenario import ScenarioSpec
from simdml.scenario.short_forms import written_out
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS
from simdml.workload.operators import Family

PROFILE, SCALE, SERVERS = "profile", "compute_scale", "parameter_server"
ARITHMETIC = (Family.MATMUL, Family.BATCHED_MATMUL, Family.ATTENTION, Family.CONVOLUTION)
STREAMING = tuple(family for family in Family if family not in ARITHMETIC)


def faster_kernels(families: tuple[Family, ...]) -> Callable[[Built, float], Built | None]:
    """Return what changes the speed of kernels of ``families``."""

    def turn(built: Built, factor: float) -> Built | None:
        profile = built.scenario.spec.profile
        known = {} if profile is None or isinstance(profile, str) else profile.compute_scale
        document = built.scenario.document
        for family in families:
            steps = (PROFILE, SCALE, str(family))
            document = _assigned(document, steps, known.get(family, 1.0) / factor)
        return build(_scenario(built.scenario, document))

    return turn


def shorter_launches(built: Built, factor: float) -> Built | None:
    """Change the time the host takes to launch a kernel."""
    costs = built.costs
    return replace(built, costs=costs.slower_host(1 / factor)) if costs.host_launch_s else None


def shorter_collectives(built: Built, factor: float) -> Built | None:
    """Change what a collective or a message between GPUs takes before its first byte."""
    if built.job.mesh.num_ranks == 1:
        return None
    cost = _shorter(built.costs.collectives, factor)
    return None if cost is None else replace(built, costs=replace(built.costs, collectives=cost))


def _shorter(cost: CollectiveCost, factor: float) -> CollectiveCost | None:
    if isinstance(cost, NcclCost):
        return cost.with_fit(CommunicationFit(_quick(cost.fit.node, factor), _quick(cost.fit.network, factor)))
    return cost.with_fit(_quick_gloo(cost.fit, factor)) if isinstance(cost, GlooCost) else None


def _quick(fit: NcclFit, factor: float) -> NcclFit:
    return replace(fit, overhead_s=fit.overhead_s / factor, latency_scale=fit.latency_scale / factor)


def _quick_gloo(fit: GlooFit, factor: float) -> GlooFit:
    return replace(fit, overhead_s=fit.overhead_s / factor, step_s=fit.step_s / factor)


def more_servers(built: Built, factor: float) -> Built | None:
    """Change the number of parameter servers, and of the machines for them."""
    plan = built.job.parameter_server
    if plan is None:
        return None
    count = max(1, round(len(plan.nodes) * factor))
    scenario = _with_servers(built, {"servers": count})
    cluster = built.job.cluster
    if not cluster.gpus_of(plan.nodes[0]):
        document = _assigned(scenario.document, ("cluster", "servers", "nodes"), count)
        scenario = _scenario(built.scenario, document)
    return build(scenario)


def faster_servers(built: Built, factor: float) -> Built | None:
    """Change how fast servers sum and update."""
    if built.job.parameter_server is None:
        return None
    return build(_with_servers(built, {"server_rate": f"{built.costs.server.bytes_per_s * factor!r} B/s"}))


def shorter_messages(built: Built, factor: float) -> Built | None:
    """Change the fixed costs of pushes and pulls, on workers and servers."""
    section = strategy_section(built.scenario, built.job.mesh.num_ranks).parameter_server
    if section is None or not section.per_message + section.server_per_message:
        return None
    costs = {"per_message": section.per_message, "server_per_message": section.server_per_message}
    return build(_with_servers(built, {key: f"{cost_s / factor!r} s" for key, cost_s in costs.items()}))


def faster_connections(built: Built, factor: float) -> Built | None:
    """Change the most that one worker's connection to one server carries."""
    section = strategy_section(built.scenario, built.job.mesh.num_ranks).parameter_server
    if section is None or section.connection is None:
        return None
    return build(_with_servers(built, {"connection": f"{section.connection * factor!r} B/s"}))


def _with_servers(built: Built, changes: Mapping[str, Any]) -> Scenario:
    document, strategy = built.scenario.document, built.scenario.spec.strategy
    if isinstance(strategy, str):
        section = {"preset": strategy} if strategy in SYSTEMS else {}
        document = _assigned(document, (STRATEGY,), {SERVERS: section})
    for key, value in changes.items():
        document = _assigned(document, (STRATEGY, SERVERS, key), value)
    return _scenario(built.scenario, document)


def _assigned(document: Document, steps: tuple[str, ...], value: Any) -> Document:
    given = from_mapping({"value": value}).part(("value",))
    return assign(written_out(document, steps), steps, given, "sensitivity")


def _scenario(scenario: Scenario, document: Document) -> Scenario:
    return Scenario(scenario.name, document, validate(document, ScenarioSpec))
