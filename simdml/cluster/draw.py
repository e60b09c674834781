"""A picture of a cluster: the network above, one node below. Needs matplotlib, loaded when first drawn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from simdml.cluster.cluster import Cluster
from simdml.cluster.draw_graph import draw_graph
from simdml.cluster.draw_network import draw_network
from simdml.cluster.draw_node import draw_node
from simdml.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


def draw(cluster: Cluster, path: str | os.PathLike[str]) -> Path:
    """Write a picture of ``cluster`` to ``path`` (.png, .svg or .pdf) and return the path.

    Raises:
        OutputError: another suffix, or the file cannot be written.
    """
    file = Path(path)
    if file.suffix not in SUFFIXES:
        raise OutputError(f"cannot draw to {file.name}", hint=f"end the name in {', '.join(SUFFIXES)}")
    try:
        figure(cluster).savefig(file, dpi=130)
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror}") from None
    return file


def figure(cluster: Cluster) -> Figure:
    """Return the picture as a matplotlib Figure that belongs to no display."""
    from matplotlib.figure import Figure

    explicit = not cluster.node_groups[0].template.links
    network = cluster.network is not None and cluster.num_nodes > 1
    made = Figure(figsize=(13, 8.6 if network else 6.2), layout="constrained", facecolor="white")
    made.suptitle(
        ": ".join(filter(None, (cluster.name, cluster.description))), fontsize=13, fontweight="bold", x=0.01, ha="left"
    )
    if explicit:
        draw_graph(cluster, _bare(made.add_subplot()))
    elif network:
        upper, lower = made.subplots(2, 1, height_ratios=(2, 3))
        draw_network(cluster, _bare(upper))
        draw_node(cluster.node_groups[0], _bare(lower))
    else:
        draw_node(cluster.node_groups[0], _bare(made.add_subplot()))
    return made


def _bare(axes: Axes) -> Axes:
    axes.set_axis_off()
    return axes
