"""The ``strategy.parameter_server`` section into a plan: presets filled in, impossible combinations refused."""

from __future__ import annotations

from simdml.cluster.cluster import Cluster
from simdml.errors import InfeasibleError, UnknownNameError
from simdml.scenario.choices import Choices
from simdml.scenario.clusters import server_nodes, worker_nodes
from simdml.scenario.loading import Scenario
from simdml.scenario.places import written
from simdml.scenario.presets import PRESETS
from simdml.scenario.schema.parameter_server import ParameterServerSpec
from simdml.scenario.schema.strategy import StrategySpec
from simdml.strategies.server_plan import ParameterServerPlan

SECTION = ("strategy", "parameter_server")
BELONGS_TO = {"staleness": "ssp", "delay": "bounded_delay", "backup_workers": "backup"}
"""The consistency each of these keys says something about."""


def with_preset(scenario: Scenario, section: StrategySpec) -> StrategySpec:
    """Return ``section`` with what a preset of its parameter server stands for; raises UnknownNameError."""
    servers = section.parameter_server
    if servers is None or servers.preset is None:
        return section
    if servers.preset not in PRESETS:
        place = scenario.document.place((*SECTION, "preset"))
        raise UnknownNameError("preset", servers.preset, PRESETS, place=place)
    given = {key: getattr(servers, key) for key in servers.model_fields_set}
    resolved = ParameterServerSpec(**PRESETS[servers.preset]).model_copy(update=given)
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
    for key, value in PRESETS.get(name, {}).items():
        if key not in given:
            choices.note(f"strategy.parameter_server.{key}", value, name)


def build_servers(
    scenario: Scenario, section: ParameterServerSpec, cluster: Cluster, gpus: int, choices: Choices
) -> ParameterServerPlan:
    """Return the plan of ``section`` for the first ``gpus`` GPUs of ``cluster``.

    Raises:
        InfeasibleError: more servers than nodes, or settings that do not go together, with what would work.
    """
    _check_consistency(scenario, section)
    return ParameterServerPlan(
        nodes=_nodes(scenario, section, cluster, gpus, choices),
        consistency=section.consistency,
        staleness=section.staleness or 0,
        delay=section.delay or 0,
        backup_workers=section.backup_workers or 0,
        placement=section.placement,
        local_aggregation=section.local_aggregation,
        overlap=section.overlap,
        threads=section.server_threads,
        key_lock=section.key_lock,
    )


def refusal(scenario: Scenario, key: str, message: str, hint: str) -> InfeasibleError:
    """Return the refusal of ``key``, at its place or that of the section."""
    place = scenario.document.place(written(scenario.document, (*SECTION, key)))
    return InfeasibleError(message, place=place, hint=hint)


def _check_consistency(scenario: Scenario, section: ParameterServerSpec) -> None:
    for key, consistency in BELONGS_TO.items():
        if section.consistency == consistency and getattr(section, key) is None:
            raise refusal(scenario, "consistency", f"{consistency} needs to know its {key}", f"add {key}: 1")
        if section.consistency != consistency and getattr(section, key) is not None:
            message = f"{key} says nothing about {section.consistency}"
            raise refusal(scenario, key, message, f"consistency: {consistency}, or leave {key} out")


def _nodes(
    scenario: Scenario, section: ParameterServerSpec, cluster: Cluster, gpus: int, choices: Choices
) -> tuple[int, ...]:
    dedicated, workers = server_nodes(cluster), worker_nodes(cluster, gpus)
    path = "strategy.parameter_server"
    location = choices.given_or(
        section.location,
        f"{path}.location",
        "dedicated" if dedicated else "colocated",
        "the cluster has server nodes" if dedicated else "the cluster has no server nodes",
    )
    nodes = dedicated if location == "dedicated" else workers
    wanted = choices.given_or(section.servers, f"{path}.servers", len(nodes), f"one on each {location} node")
    if wanted > len(nodes) or not nodes:
        kind = "server nodes" if location == "dedicated" else "worker nodes"
        raise InfeasibleError(
            f"{wanted or 'dedicated'} servers need as many {kind}, and {cluster.name} has {len(nodes)}",
            place=scenario.document.place(SECTION),
            hint=f"cluster: {{name: {cluster.name}, servers: {{nodes: {wanted or 1}}}}}, or location: colocated",
        )
    return tuple(nodes[:wanted])
