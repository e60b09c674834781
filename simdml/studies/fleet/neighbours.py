"""From the ``beside`` list of a scenario to jobs on nodes of its cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from simdml.cluster.cluster import Cluster
from simdml.errors import InfeasibleError
from simdml.program.program import Program
from simdml.scenario.building import Built, build
from simdml.scenario.clusters import num_gpus, relative, server_nodes
from simdml.scenario.loading import Scenario, load_scenario
from simdml.scenario.places import located
from simdml.scenario.schema.fleet import BesideSpec, FleetSpec
from simdml.studies.fleet.planning import FLEET
from simdml.studies.fleet.sharing import PlacedJob, deal, nodes_for, own_server_nodes, placed

BESIDE = "beside"


def build_jobs(spec: FleetSpec, scenario: Scenario, cluster: Cluster) -> list[PlacedJob]:
    """Return the scenario's own job and those beside it, on nodes of their own.

    Raises:
        InfeasibleError: jobs that want more nodes than there are, nodes of several kinds, or parameter servers.
        SimdmlError: as building any of them.
    """
    _refuse_several_kinds(scenario, cluster)
    built = list(_built(spec, scenario, cluster))
    wanted = [nodes_for(each.job.mesh.num_ranks, cluster) for _, each in built]
    with located(scenario.document, FLEET, BESIDE):
        nodes = deal([node for node in range(cluster.num_nodes) if cluster.gpus_of(node)], wanted, spec.layout)
        servers = _deal_servers([each.program() for _, each in built], cluster)
    return [
        placed(name, each.program(), each.costs, cluster, mine, own)
        for (name, each), mine, own in zip(built, nodes, servers, strict=True)
    ]


def _deal_servers(programs: Sequence[Program], cluster: Cluster) -> list[tuple[int, ...]]:
    """Return nodes for the parameter servers of each program that want some of their own."""
    wanted = [len(own_server_nodes(program, cluster)) for program in programs]
    free = server_nodes(cluster)
    if sum(wanted) > len(free):
        raise InfeasibleError(
            f"the jobs want {sum(wanted):,} nodes for parameter servers and the cluster has {len(free):,}",
            hint="use more: cluster: {name: ..., servers: {nodes: ...}}",
        )
    return deal(free, wanted, "packed")


def _built(spec: FleetSpec, scenario: Scenario, cluster: Cluster) -> Iterator[tuple[str, Built]]:
    gpus = num_gpus(scenario, cluster)
    yield scenario.name, _ready(scenario, cluster, gpus, scenario)
    for index, each in enumerate(spec.beside):
        other = _scenario(each, scenario, index)
        built = _ready(other, cluster, each.gpus or gpus, scenario, index)
        name = each.name or other.name
        taken = each.copies > 1 or name == scenario.name
        for copy in range(each.copies):
            yield f"{name} {copy + 1 + (name == scenario.name)}" if taken else name, built


def _scenario(spec: BesideSpec, scenario: Scenario, index: int) -> Scenario:
    if spec.scenario is None:
        return scenario
    with located(scenario.document, FLEET, BESIDE, index, "scenario"):
        return load_scenario(relative(scenario, spec.scenario, FLEET, BESIDE, index, "scenario"))


def _ready(scenario: Scenario, cluster: Cluster, gpus: int, asking: Scenario, *index: int) -> Built:
    """Return the job of ``scenario`` on so many GPUs of ``cluster``, if it fits and can be put beside others."""
    path: tuple[str | int, ...] = (FLEET, BESIDE, *index) if index else (FLEET,)
    if gpus > cluster.num_gpus:
        raise InfeasibleError(
            f"{scenario.name} wants {gpus:,} GPUs and {cluster.name} has {cluster.num_gpus:,}",
            place=asking.document.place((*path, "gpus")),
        )
    built = build(replace(scenario, spec=scenario.spec.model_copy(update={"gpus": gpus})), cluster)
    built.fitting_memory()
    return built


def _refuse_several_kinds(scenario: Scenario, cluster: Cluster) -> None:
    groups = [group for group in cluster.node_groups if group.template.gpus]
    kinds = {(group.template.gpus, group.template.device.name if group.template.device else "") for group in groups}
    if len(kinds) != 1:
        raise InfeasibleError(
            f"{cluster.name} has nodes of {len(kinds)} kinds: jobs are put on nodes that are alike",
            place=scenario.document.place(("cluster",)),
            hint="use a cluster of nodes of one kind",
        )
