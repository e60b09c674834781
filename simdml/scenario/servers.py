"""The ``strategy.parameter_server`` section into a plan, settings of its preset filled in."""

from __future__ import annotations

from simdml.cluster.cluster import Cluster
from simdml.errors import InfeasibleError, UnknownNameError
from simdml.scenario.choices import Choices
from simdml.scenario.clusters import server_nodes, worker_nodes
from simdml.scenario.loading import Scenario
from simdml.scenario.schema.parameter_server import ParameterServerSpec
from simdml.scenario.schema.strategy import StrategySpec
from simdml.scenario.server_checks import SECTION, check_servers, refusal
from simdml.strategies.parameter_server.compression import COMPRESSIONS
from simdml.strategies.parameter_server.partition import Partition
from simdml.strategies.parameter_server.plan import Aggregation, ParameterServerPlan
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS

PATH = "strategy.parameter_server"
PIECE_BYTES = {"min_size": 256 * 1024.0, "max_size": 64 * 1024 * 1024.0, "slices": 4_096_000.0}
"""Sizes that partitions cut by unless told otherwise: TensorFlow's, TensorFlow's and BytePS's."""


def with_preset(scenario: Scenario, section: StrategySpec) -> StrategySpec:
    """Return ``section`` with what a preset of its parameter server stands for; raises UnknownNameError."""
    servers = section.parameter_server
    if servers is None or servers.preset is None:
        return section
    if servers.preset not in SYSTEMS:
        place = scenario.document.place((*SECTION, "preset"))
        raise UnknownNameError("preset", servers.preset, SYSTEMS, place=place)
    given = {key: getattr(servers, key) for key in servers.model_fields_set}
    resolved = ParameterServerSpec(**SYSTEMS[servers.preset].settings).model_copy(update=given)
    return section.model_copy(update={"parameter_server": resolved})


def note_preset(scenario: Scenario, choices: Choices) -> None:
    """Note what is taken from a preset."""
    section = scenario.spec.strategy
    if isinstance(section, str):
        name, given = section, frozenset[str]()
    else:
        servers = section.parameter_server
        name = (servers and servers.preset) or ""
        given = frozenset(servers.model_fields_set) if servers else frozenset()
    for key, value in SYSTEMS[name].settings.items() if name in SYSTEMS else ():
        if key not in given:
            choices.note(f"{PATH}.{key}", value, name)


def build_servers(
    scenario: Scenario, section: ParameterServerSpec, cluster: Cluster, gpus: int, choices: Choices
) -> ParameterServerPlan:
    """Return the plan of ``section`` for the first ``gpus`` GPUs of ``cluster``.

    Raises:
        InfeasibleError: more servers than nodes, or settings that do not go together, with what would work.
    """
    check_servers(scenario, section, gpus)
    nodes, extra = _nodes(scenario, section, cluster, gpus, choices)
    return ParameterServerPlan(
        nodes=nodes,
        consistency=section.consistency,
        staleness=section.staleness or 0,
        delay=section.delay or 0,
        backup_workers=section.backup_workers or 0,
        extra_servers=extra,
        partition=_partition(section, len(nodes), choices),
        partition_at=section.partition_at,
        placement=section.placement,
        big_array=section.big_array,
        messages=section.messages,
        local_aggregation=_aggregation(section),
        overlap=section.overlap,
        update=section.update,
        fetch=section.fetch,
        barrier=section.barrier,
        priority=section.priority,
        credit=section.credit,
        push_every=section.push_every,
        pull_every=section.pull_every,
        portions=section.portions,
        send_every=section.send_every,
        duplicates=section.duplicate_stragglers,
        lbfgs_history=section.lbfgs_history,
        compression=COMPRESSIONS[section.compression],
        threads=section.server_threads,
        key_lock=section.key_lock,
    )


def _aggregation(section: ParameterServerSpec) -> Aggregation:
    if isinstance(section.local_aggregation, bool):
        return "device" if section.local_aggregation else "none"
    return section.local_aggregation


def _partition(section: ParameterServerSpec, servers: int, choices: Choices) -> Partition:
    size = section.partition_size
    if section.partition in PIECE_BYTES:
        whose = "BytePS" if section.partition == "slices" else "TensorFlow"
        size = choices.given_or(size, f"{PATH}.partition_size", PIECE_BYTES[section.partition], whose)
    pieces = section.partition_pieces
    if section.partition in {"fixed", "min_size"}:
        pieces = choices.given_or(pieces, f"{PATH}.partition_pieces", servers, "one for each server")
    return Partition(section.partition, size or 0.0, pieces or 1)


def _nodes(
    scenario: Scenario, section: ParameterServerSpec, cluster: Cluster, gpus: int, choices: Choices
) -> tuple[tuple[int, ...], int]:
    """Return the nodes of the servers, and where they are mixed how many of the first ones have no workers."""
    dedicated, workers = server_nodes(cluster), worker_nodes(cluster, gpus)
    location = choices.given_or(
        section.location,
        f"{PATH}.location",
        "dedicated" if dedicated else "colocated",
        "the cluster has server nodes" if dedicated else "the cluster has no server nodes",
    )
    if location == "mixed":
        return _mixed(scenario, section, cluster, dedicated, workers)
    nodes = dedicated if location == "dedicated" else workers
    wanted = choices.given_or(section.servers, f"{PATH}.servers", len(nodes), f"one on each {location} node")
    if wanted > len(nodes) or not nodes:
        kind = "server nodes" if location == "dedicated" else "worker nodes"
        raise InfeasibleError(
            f"{wanted or 'dedicated'} servers need as many {kind}, and {cluster.name} has {len(nodes)}",
            place=scenario.document.place(SECTION),
            hint=f"cluster: {{name: {cluster.name}, servers: {{nodes: {wanted or 1}}}}}, or location: colocated",
        )
    return tuple(nodes[:wanted]), 0


def _mixed(
    scenario: Scenario, section: ParameterServerSpec, cluster: Cluster, dedicated: list[int], workers: list[int]
) -> tuple[tuple[int, ...], int]:
    extra = len(dedicated) if section.servers is None else section.servers - len(workers)
    if not 0 <= extra <= len(dedicated):
        raise refusal(
            scenario,
            "servers",
            f"{section.servers} servers are not one beside each of {len(workers)} worker nodes and up to "
            f"{len(dedicated)} on the server nodes of {cluster.name}",
            f"servers can be {len(workers)} to {len(workers) + len(dedicated)}",
        )
    if extra > len(workers):
        raise refusal(
            scenario,
            "servers",
            f"BytePS permits no more servers without workers ({extra}) than nodes with ({len(workers)})",
            f"servers: {2 * len(workers)}, or location: dedicated",
        )
    return (*dedicated[:extra], *workers), extra
