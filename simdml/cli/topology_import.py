"""``simdml topology import FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simdml.cli.writing import write_text


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there, not to the screen.")
@click.option("--gpu", default="", metavar="NAME", help="The kind of GPU, where the file does not say.")
@click.option("--nic-rate", default="", metavar="RATE", help='Line rate of a NIC, "200 Gbps".')
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(file: Path, out: Path | None, gpu: str, nic_rate: str, force: bool) -> None:
    """Turn the output of nvidia-smi topo -m, or a topology XML of NCCL, into a cluster file."""
    from simdml.cluster.importing.conversion import import_topology
    from simdml.cluster.loading import load_cluster
    from simdml.errors import UsageError
    from simdml.units import parse_bandwidth

    rate_bps = 8.0 * parse_bandwidth(nic_rate) if nic_rate else 0.0
    imported = import_topology(file, gpu=gpu, nic_rate_bps=rate_bps)
    load_cluster(imported.mapping)
    text = imported.text(file.name)
    for note in imported.notes:
        click.echo(f"note: {note}", err=True)
    if out is None:
        click.echo(text, nl=False)
        return
    if out.exists() and not force:
        raise UsageError(f"{out} is there already", hint="--force replaces it")
    write_text(out, text)
    click.echo(f"wrote {out}", err=True)


class TopologyCommand(click.Command):
    """A command on a cluster's name whose first word may be ``import`` instead."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Hand what follows ``import`` to that command."""
        if args[:1] == [command.name]:
            return command.make_context(f"{info_name} {command.name}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say that there is another way to call it."""
        with formatter.section("Commands"):
            formatter.write_dl([(f"{ctx.command_path} {command.name} FILE", command.get_short_help_str(100))])
