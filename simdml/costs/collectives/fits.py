"""Which bundled fit a cluster gets when its profile names none."""

from __future__ import annotations

from simdml.calibration.communication import CommunicationFit
from simdml.calibration.communication_file import load_communication_fit
from simdml.cluster.cluster import Cluster
from simdml.cluster.node import Fabric, NodeTemplate

_NVSWITCH = ((100, "nccl_b200_nvswitch"), (90, "nccl_h100_nvswitch"), (0, "nccl_a100_nvswitch"))
_NETWORK = {"infiniband": "nccl_infiniband", "roce": "nccl_infiniband", "efa": "nccl_efa", "tcp": "nccl_ethernet"}


def default_fit(cluster: Cluster) -> CommunicationFit:
    """Return the fit measured on the machines most like ``cluster``, by its first node's GPUs and its transport.

    RoCE and Omni-Path take the InfiniBand fit, V100 boxes with NVSwitch the A100 one, and an unnamed transport
    InfiniBand's: no measurement of those was at hand.
    """
    return load_communication_fit(*default_fit_names(cluster))


def default_fit_names(cluster: Cluster) -> tuple[str, str]:
    """Return the names of the bundled fits for groups inside a node and across nodes."""
    templates = [group.template for group in cluster.node_groups if group.template.gpus]
    transport = cluster.transport.name if cluster.transport else ""
    node = _node_fit(templates[0]) if templates else "nccl_pcie"
    if cluster.transport and transport == "efa" and not cluster.transport.gpudirect:
        # Staged in host memory, like kernel TCP, and that log is what its fit was made on.
        return node, _NETWORK["tcp"]
    return node, _NETWORK.get(transport, "nccl_infiniband")


def _node_fit(template: NodeTemplate) -> str:
    capability = template.device.compute_capability if template.device else 0
    if template.fabric is Fabric.NVSWITCH:
        return next(name for least, name in _NVSWITCH if capability >= least)
    if template.fabric is Fabric.CUBE_MESH:
        return "nccl_v100_nvlink"
    return "nccl_k80_pcie" if capability < 60 else "nccl_pcie"
