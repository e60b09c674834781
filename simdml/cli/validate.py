"""``simdml validate``: predictions against runs on this machine, or against tables of measured runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from simdml.cli import options
from simdml.cli.console import show, table
from simdml.cli.validate_runs import runs
from simdml.cli.writing import PicturePath, json_text, write_whole
from simdml.errors import InfeasibleError, UsageError
from simdml.units import parse_bandwidth

if TYPE_CHECKING:
    from simdml.validation.live.jobs import LiveJob

DEFAULT_HOSTS, DEFAULT_RATE = 4, "400 Mbps"
_TC_UNITS = {"kbit": "kbps", "mbit": "Mbps", "gbit": "Gbps"}


class _Validations(click.Group):
    """What is no command is a table of runs: ``simdml validate TABLE`` is ``simdml validate runs TABLE``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Turn to ``runs`` unless another command is named."""
        if not args or args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = ["runs", *args]
        return super().parse_args(ctx, args)


@click.group("validate", cls=_Validations)
def command() -> None:
    """Compare predictions with measured runs: live, cpu, or the tables that are given."""


command.add_command(runs)


@command.command("live")
@click.option("--hosts", type=click.IntRange(2, 16), help=f"Hosts of each job; with --rate alone, {DEFAULT_HOSTS}.")
@click.option("--rate", metavar="RATE", help="Rate of every link, as 400mbit or 400Mbps; with --hosts alone, 400 Mbps.")
@click.option(
    "--strategy",
    "strategies",
    metavar="NAMES",
    help="Strategies, separated by commas: ddp, layer_placement, gpipe, 1f1b, ps_sync, ps_async, ps_ssp; "
    "pipeline and ps are all of theirs.",
)
@click.option("--quick", is_flag=True, help="One short job of each family.")
@options.as_json()
@click.option("--draw", type=PicturePath(), metavar="FILE", help="Draw predicted against measured.")
def live(
    hosts: int | None, rate: str | None, strategies: str | None, quick: bool, as_json: bool, draw: Path | None
) -> None:
    """Run real PyTorch jobs on this machine and compare their step times with predictions.

    As root the jobs run in network namespaces with shaped links, made for the purpose and removed at the end; without,
    as processes over loopback. PyTorch is needed (pip install "simdml[calibrate]").
    """
    _need_torch()
    from simdml.validation.live.study import choose_setting, to_dict, validate_live

    jobs = _jobs(hosts, rate, strategies, quick=quick)
    setting = choose_setting()
    if setting.reason:
        _say(f"loopback instead of network namespaces: {setting.reason}")
    validation = validate_live(jobs, setting, quick=quick, progress=_say)
    if as_json:
        click.echo(json_text(to_dict(validation)), nl=False)
    else:
        from simdml.validation.live.table import COLUMNS, cells, summary

        show(table(COLUMNS, map(cells, validation.rows)), *summary(validation))
    if draw is not None:
        from simdml.validation.live.figure import save_live_figure

        write_whole(draw, lambda part: save_live_figure(validation, part))
        _say(f"drew {draw}")


@command.command("cpu")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads that compute.")
@click.option("--quick", is_flag=True, help="Fewer kernels and two networks, in half a minute.")
@options.out("Keep readings and the profile there.")
@options.as_json()
def cpu(threads: int, quick: bool, out: Path | None, as_json: bool) -> None:
    """Fit a profile to this CPU's kernels, and predict training steps of networks with it.

    PyTorch is needed (pip install "simdml[calibrate]"). With --out an interrupted validation goes on where it was.
    """
    _need_torch()
    from tempfile import TemporaryDirectory

    from simdml.validation.cpu.study import to_dict, validate_cpu
    from simdml.validation.cpu.table import COLUMNS, cells, summary

    with TemporaryDirectory() as scratch:
        folder = out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        validation = validate_cpu(folder, threads=threads, quick=quick, progress=_say)
    if as_json:
        click.echo(json_text(to_dict(validation)), nl=False)
    else:
        show(table(COLUMNS, map(cells, validation.rows)), *summary(validation))


def _jobs(hosts: int | None, rate: str | None, strategies: str | None, *, quick: bool) -> tuple[LiveJob, ...]:
    from simdml.validation.live.selection import find_strategies, jobs_for, quick_jobs, standard_jobs

    chosen = find_strategies([name.strip() for name in (strategies or "all").split(",")])
    if hosts is not None or rate is not None:
        return jobs_for(chosen, hosts or DEFAULT_HOSTS, parse_rate(rate or DEFAULT_RATE))
    jobs = tuple(job for job in (quick_jobs() if quick else standard_jobs()) if job.strategy in chosen)
    if not jobs:
        raise UsageError("no quick job has that strategy", hint="leave --quick out, or add --hosts and --rate")
    return jobs


def parse_rate(text: str) -> float:
    """Return bits/s of ``400mbit``, as tc writes it, or ``400 Mbps``; raises UnitError."""
    for unit, symbol in _TC_UNITS.items():
        if text.endswith(unit):
            text = text.removesuffix(unit) + symbol
    return parse_bandwidth(text) * 8


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise InfeasibleError("PyTorch is not installed", hint='pip install torch, or simdml with "[calibrate]"')


def _say(message: str) -> None:
    click.echo(message, err=True)
