"""``simdml testbed``: a cluster of network namespaces for a user's own programs."""

from __future__ import annotations

import sys

import click

from simdml.cli.validate import parse_rate
from simdml.errors import InfeasibleError
from simdml.validation.live.hosts import burst_bytes, namespaces, sweep, why_not


@click.group("testbed")
def command() -> None:
    """A cluster on this machine: hosts are network namespaces, links are shaped. Linux, root, iproute2."""


@command.command("check")
def check() -> None:
    """Say whether this machine can have one, and if not, why."""
    if reason := why_not():
        raise InfeasibleError(f"no testbed here: {reason}")
    click.echo("this machine can have a testbed")


@command.command("sweep")
def clean() -> None:
    """Remove what killed runs left behind."""
    for name in sweep():
        click.echo(f"removed {name}")


@command.command("exec", context_settings={"ignore_unknown_options": True})
@click.option("--hosts", type=click.IntRange(1, 16), default=4, show_default=True, help="How many.")
@click.option("--rate", metavar="RATE", default="400mbit", show_default=True, help="Rate of every link.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(hosts: int, rate: str, program: tuple[str, ...]) -> None:
    """Run PROGRAM on every host, with RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT and the NIC's name set.

    The hosts are removed when all have ended; the exit code is the largest of theirs.
    """
    from simdml.validation.live.commands import run_everywhere

    bits_per_s = parse_rate(rate)
    with namespaces(hosts) as testbed:
        testbed.set_rate(bits_per_s)
        click.echo(f"{hosts} hosts, bucket {burst_bytes(bits_per_s) / 1e3:.0f} kB a link", err=True)
        code = run_everywhere(testbed, program)
    sys.exit(code)
