"""Where a scenario's seconds come from: its profile, its communication library and its servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from simdml.calibration.communication import CommunicationFit
from simdml.calibration.communication_file import load_gloo_fit, load_nccl_fit
from simdml.calibration.profile import Profile, default_profile, load_profile
from simdml.cluster.cluster import Cluster
from simdml.cluster.device import Device
from simdml.costs.collectives.by_name import UNFORCED, Forcing
from simdml.costs.collectives.direct import HostCopies, PeerCopies
from simdml.costs.collectives.fits import default_fit_names
from simdml.costs.collectives.nccl import nccl_cost
from simdml.costs.collectives.nccl_tables import DEFAULT_VERSION
from simdml.costs.collectives.plan import CollectiveCost
from simdml.costs.collectives.rooted import HierarchicalCopies, RootCopies
from simdml.costs.collectives.simple import IdealRing
from simdml.costs.compute import roofline
from simdml.costs.dispatch import NOTHING, THREAD_SPEED, Dispatch
from simdml.costs.host import HostCost
from simdml.costs.interference import Interference
from simdml.costs.messages import MessageCost
from simdml.costs.model import CostModel, ServerCost
from simdml.errors import InfeasibleError
from simdml.program.instructions import (
    GRPC_RING,
    HIERARCHICAL_COPIES,
    HOST_COPIES,
    HOST_PARTS,
    PEER_COPIES,
    ROOT_COPIES,
)
from simdml.scenario.choices import Choices
from simdml.scenario.clusters import CLUSTER, relative
from simdml.scenario.forcing import build_forcing
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located, written
from simdml.scenario.schema.costs import CommunicationSpec, ProfileSpec

if TYPE_CHECKING:
    from simdml.scenario.schema.parameter_server import ParameterServerSpec

PROFILE, COMMUNICATION = "profile", "communication"
GRPC_STEP_S, GRPC_BYTES_PER_S = 2e-4, 1.25e9
"""A step of TensorFlow's ring and its fastest connection: estimates (a call takes 0.1 to 0.5 ms)."""


@dataclass(frozen=True, slots=True)
class Library:
    """A collective library: its costs, the names of the fits that correct it, and NCCL's fit itself."""

    cost: CollectiveCost
    names: tuple[str, ...]
    fit: CommunicationFit | None = None
    forced: Forcing = UNFORCED


@dataclass(frozen=True, slots=True)
class Priced:
    """The costs of a job, the profile of each device, and the communication library."""

    costs: CostModel
    profiles: dict[str, Profile]
    library: Library

    @property
    def profile(self) -> Profile:
        """The profile of the first device."""
        return next(iter(self.profiles.values()))


def build_costs(
    scenario: Scenario,
    cluster: Cluster,
    gpus: int,
    servers: ParameterServerSpec | None,
    choices: Choices,
    dispatch: Dispatch = NOTHING,
) -> Priced:
    """Return the costs of the scenario on the first ``gpus`` GPUs of ``cluster``.

    ``dispatch`` is what a framework's host thread does on the processor it was measured on. A profile of kernels that
    take no time to launch is that of a CPU: its kernels were timed with all that a framework does.

    Raises:
        UnknownNameError: no such profile or fit, or no profile for a device.
        InfeasibleError: a precision that a device does not compute in.
    """
    precision = scenario.spec.training.precision
    devices = {device.name: device for device in cluster.devices(gpus)}
    profiles = {name: _profile(scenario, name, choices) for name in devices}
    for device in devices.values():
        if precision not in device.peak_flops:
            raise InfeasibleError(
                f"{device.name} does not compute in {precision}",
                place=scenario.document.place(written(scenario.document, ("training", "precision"))),
                hint=f"precisions it has: {', '.join(sorted(device.peak_flops))}",
            )
    library = _library(scenario, cluster, choices)
    launch_s = next(iter(profiles.values())).host_launch_s
    thread_speed = THREAD_SPEED.get(cluster.template(cluster.node_of(0)).cpu.generation, 1.0)
    costs = CostModel(
        compute={name: roofline(profiles[name], device) for name, device in devices.items()},
        collectives=library.cost,
        messages=_messages(cluster, servers),
        precision=precision,
        host_launch_s=launch_s,
        server=ServerCost() if servers is None else ServerCost(servers.server_rate, servers.server_per_message),
        transports=_transports(cluster, servers),
        host=_host(cluster, gpus),
        forced=library.forced,
        interference=_interference(scenario, devices),
        dispatch=dispatch.times(1 / thread_speed) if launch_s else NOTHING,
    )
    return Priced(costs, profiles, library)


def _interference(scenario: Scenario, devices: Mapping[str, Device]) -> Mapping[str, Interference]:
    """Return what devices lose to collectives beside their kernels."""
    asked = scenario.spec.communication
    if isinstance(asked, CommunicationSpec) and asked.interference == "none":
        return {}
    return {name: Interference.on(device) for name, device in devices.items() if device.arch != "cpu"}


def _host(cluster: Cluster, gpus: int) -> HostCost:
    """Return what one of the job's ranks on the first node has of its processors."""
    node = cluster.node_of(0)
    return HostCost.share(cluster.template(node).cpu, min(len(cluster.gpus_of(node)), gpus))


def _messages(cluster: Cluster, servers: ParameterServerSpec | None) -> MessageCost:
    if servers is None:
        return MessageCost(cluster)
    return MessageCost(cluster, servers.per_message, servers.connection or inf)


def _transports(cluster: Cluster, servers: ParameterServerSpec | None) -> dict[str, CollectiveCost]:
    """Return the cost models that instructions may name beside the job's library."""
    by_hosts: dict[str, CollectiveCost] = {}
    if servers is not None:
        host_sums = HostCopies(cluster, sum_bytes_per_s=servers.server_rate * servers.host_threads)
        by_hosts = {HOST_COPIES: host_sums, HOST_PARTS: HostCopies(cluster, parts=True)}
    return by_hosts | {
        PEER_COPIES: PeerCopies(cluster),
        ROOT_COPIES: RootCopies(cluster),
        HIERARCHICAL_COPIES: HierarchicalCopies(cluster),
        GRPC_RING: IdealRing(cluster, GRPC_STEP_S, GRPC_BYTES_PER_S),
    }


def _profile(scenario: Scenario, device: str, choices: Choices) -> Profile:
    section = scenario.spec.profile
    asked = section if isinstance(section, ProfileSpec) else ProfileSpec(name=section)
    where = (CLUSTER, "name") if asked.name is None else (PROFILE, "name")
    with located(scenario.document, *where):
        if asked.name is not None:
            profile = load_profile(relative(scenario, asked.name, PROFILE))
        else:
            profile = default_profile(device)
            choices.note(PROFILE, profile.name, f"the default of {device}")
    if not asked.compute_scale:
        return profile
    return profile.scaled({str(family): scale for family, scale in asked.compute_scale.items()})


def _library(scenario: Scenario, cluster: Cluster, choices: Choices) -> Library:
    section = scenario.spec.communication
    asked = CommunicationSpec(library=section) if isinstance(section, str) else section
    node, network = default_fit_names(cluster)
    reason = "measured on the machines most like the cluster"
    forced = build_forcing(scenario, asked, cluster)
    if asked.library == "gloo":
        from simdml.costs.collectives.gloo import GlooCost

        name = choices.given_or(asked.network, "communication.network", "gloo_tcp", "the only fit of gloo")
        with located(scenario.document, COMMUNICATION, "network"):
            return Library(GlooCost(cluster, load_gloo_fit(relative(scenario, name, COMMUNICATION))), (name,))
    node = choices.given_or(asked.node, "communication.node", node, reason)
    if cluster.num_nodes > 1:
        network = choices.given_or(asked.network, "communication.network", network, reason)
    with located(scenario.document, COMMUNICATION, "node"):
        node_fit = load_nccl_fit(relative(scenario, node, COMMUNICATION))
    with located(scenario.document, COMMUNICATION, "network"):
        network_fit = load_nccl_fit(relative(scenario, network, COMMUNICATION))
    with located(scenario.document, COMMUNICATION, "version"):
        fit = CommunicationFit(node_fit, network_fit)
        collnet = asked.collnet or forced.sums_in_switches
        cost = nccl_cost(cluster, fit, asked.version or DEFAULT_VERSION, collnet=collnet, pxn=asked.pxn)
        return Library(cost, (node, network), fit, forced)
