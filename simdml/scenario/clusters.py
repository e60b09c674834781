"""The ``cluster`` section into a Cluster."""

from __future__ import annotations

from math import ceil
from pathlib import Path

from simdml.cluster.cluster import Cluster
from simdml.cluster.loading import load_cluster, load_cluster_document
from simdml.cluster.merging import excerpt
from simdml.documents.document import Document
from simdml.errors import InfeasibleError
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located

CLUSTER = "cluster"


def build_cluster(scenario: Scenario) -> Cluster:
    """Return the scenario's cluster; a file is found relative to the scenario.

    Raises:
        UnknownNameError: no such cluster or GPU.
        DocumentError: a value that cannot be accepted.
        TopologyError: a GPU that cannot be reached.
    """
    with located(scenario.document, CLUSTER, "name"):
        return load_cluster(_source(scenario))


def cluster_document(scenario: Scenario) -> Document:
    """Return the scenario's cluster as one document, the file it names with its changes; raises as build_cluster."""
    with located(scenario.document, CLUSTER, "name"):
        return load_cluster_document(_source(scenario))


def _source(scenario: Scenario) -> str | Document:
    if isinstance(scenario.spec.cluster, str):
        return relative(scenario, scenario.spec.cluster, CLUSTER)
    return excerpt(scenario.document, (CLUSTER,))


def relative(scenario: Scenario, name: str, *path: str | int) -> str:
    """Return a name, or the file beside the scenario that it stands for: one that starts with ``.`` or exists there."""
    beside = scenario.document.folder(path) / name
    if not Path(name).is_absolute() and (name.startswith(".") or beside.is_file()):
        return str(beside)
    return name


def num_gpus(scenario: Scenario, cluster: Cluster) -> int:
    """Return how many GPUs of ``cluster`` the job uses.

    Raises:
        InfeasibleError: more than there are.
    """
    wanted = scenario.spec.gpus
    if wanted is not None and wanted > cluster.num_gpus:
        raise InfeasibleError(
            f"the job wants {wanted} GPUs and {cluster.name} has {cluster.num_gpus}",
            place=scenario.document.place(("gpus",)),
            hint="use more nodes: cluster: {name: ..., nodes: ...}",
        )
    return wanted or cluster.num_gpus


def server_nodes(cluster: Cluster) -> list[int]:
    """Return the nodes without GPUs."""
    return [node for node in range(cluster.num_nodes) if not cluster.gpus_of(node)]


def worker_nodes(cluster: Cluster, gpus: int) -> list[int]:
    """Return the nodes of the first ``gpus`` GPUs."""
    nodes: list[int] = []
    for group in cluster.node_groups:
        if group.template.gpus and group.first_gpu < gpus:
            used = min(group.num_nodes, ceil((gpus - group.first_gpu) / group.template.gpus))
            nodes += range(group.first_node, group.first_node + used)
    return nodes
