"""A cluster with better or worse links inside its nodes."""

from __future__ import annotations

from dataclasses import replace

from simdml.cluster.cluster import Cluster, NodeGroup
from simdml.cluster.node import NodeTemplate
from simdml.cluster.structured import build_structured

NVLINK = "nvlink"


def with_nvlink_scaled(cluster: Cluster, factor: float) -> Cluster | None:
    """Return ``cluster`` with NVLinks of ``factor`` times the rate; None if it has none, or is an explicit graph."""
    if cluster.transport is None or not any(group.template.nvlink_bytes_per_s for group in cluster.node_groups):
        return None
    kinds = [(group.name, group.num_nodes, _scaled(group, factor)) for group in cluster.node_groups]
    return build_structured(cluster.name, cluster.description, kinds, cluster.network, cluster.transport)


def _scaled(group: NodeGroup, factor: float) -> NodeTemplate:
    template = group.template
    if template.device is None or not template.nvlink_bytes_per_s:
        return template
    links = tuple(
        replace(link, capacity_bytes_per_s=link.capacity_bytes_per_s * factor) if link.kind == NVLINK else link
        for link in template.links
    )
    rate = template.device.nvlink_link_bytes_per_s * factor
    device = replace(template.device, nvlink_link_bytes_per_s=rate)
    nvlink = template.nvlink_bytes_per_s * factor
    return replace(template, device=device, nvlink_bytes_per_s=nvlink, links=links)
