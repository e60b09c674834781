"""``simdml topology NAME``."""

from __future__ import annotations

from pathlib import Path

import click

from simdml.cli.console import show, table
from simdml.cli.topology_import import TopologyCommand
from simdml.cli.writing import PicturePath, write_whole
from simdml.cluster.describe import LINK_COLUMNS, fact_rows, link_rows
from simdml.cluster.loading import load_cluster


@click.command("topology", cls=TopologyCommand)
@click.argument("name")
@click.option("--nodes", type=click.IntRange(min=1), help="How many nodes; the cluster's own number by default.")
@click.option("--draw", type=PicturePath(), metavar="FILE", help="Draw it to FILE (.png, .svg or .pdf).")
def command(name: str, nodes: int | None, draw: Path | None) -> None:
    """Print the cluster NAME, bundled or a file: its nodes, devices and links."""
    cluster = load_cluster(name, None if nodes is None else {"nodes": nodes})
    show(table(("", ""), fact_rows(cluster)), table(LINK_COLUMNS, [row.cells() for row in link_rows(cluster)]))
    if draw is not None:
        # matplotlib is loaded for pictures alone.
        from simdml.cluster.draw import draw as draw_cluster

        write_whole(draw, lambda part: draw_cluster(cluster, part))
        click.echo(f"drew {draw}", err=True)
