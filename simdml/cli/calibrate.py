"""``simdml calibrate``: measurements to named fits, and what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from simdml.cli.console import show, table
from simdml.cli.writing import PicturePath, write_text, write_whole
from simdml.errors import InfeasibleError, UsageError

if TYPE_CHECKING:
    from simdml.calibration.fitting.listing import FitListing
    from simdml.cluster.cluster import Cluster
    from simdml.costs.fitting.named_fit import Quality

QUALITY_COLUMNS = ("readings of", "fitted", "tested", "median error", "worst", "spread", "tested on")
_File = click.Path(path_type=Path)
_cluster = click.option("--cluster", metavar="NAME|FILE", help="The cluster that logs of NCCL were measured on.")
_nccl = click.option("--nccl", "version", default="", metavar="VERSION", help="NCCL's version, for logs without it.")
_device = click.option("--device", default="", metavar="NAME|FILE", help="The device, where the readings' is unknown.")


@click.group("calibrate")
def command() -> None:
    """Turn measurements of a machine into a named profile or communication fit, and look at one."""


@command.command("fit")
@click.argument("readings", nargs=-1, required=True, type=_File)
@click.option("--name", required=True, help="What the fit is called.")
@click.option("--out", type=_File, metavar="FILE", help="Where it is written; NAME.yaml here by default.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@_cluster
@_nccl
@_device
def fit(
    readings: Sequence[Path],
    name: str,
    out: Path | None,
    force: bool,
    cluster: str | None,
    version: str,
    device: str,
) -> None:
    """Fit READINGS: files of calibrate/compute.py or collectives.py, logs of nccl-tests, OSU or gloo's benchmark.

    Kernels become a profile (on a CPU with the device beside it), collectives a communication fit.
    """
    from simdml.costs.fitting.named_fit import load_all, make_fit

    if not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise UsageError(f"{name!r} is no name", hint="letters, digits, _, - and . alone")
    target = out or Path(f"{name}.yaml")
    made = make_fit(name, load_all(readings), cluster=_load(cluster, readings), nccl=version, device=device)
    # A device is named after its file, and the profile names it: --out moves the profile alone.
    paths = {
        target if suffix == ".yaml" else target.with_name(name + suffix): text for suffix, text in made.files.items()
    }
    taken = [str(path) for path in paths if path.exists() and not force]
    if taken:
        raise UsageError(f"{', '.join(taken)} is there already", hint="--force replaces it, or give another --name")
    for path, text in paths.items():
        write_text(path, text)
    show(_quality_table(made.qualities, f"{made.kind} {name}"))
    for note in made.notes:
        click.echo(note, err=True)
    click.echo(f"wrote {', '.join(map(str, paths))}", err=True)


@command.command("show")
@click.argument("name")
@click.argument("readings", nargs=-1, type=_File)
@click.option("--draw", type=PicturePath(), metavar="FILE", help="Draw predictions over READINGS (.png, .svg or .pdf).")
@_cluster
@_nccl
@_device
def show_fit(
    name: str, readings: Sequence[Path], draw: Path | None, cluster: str | None, version: str, device: str
) -> None:
    """Print the coefficients of the profile or fit NAME, and how it predicts READINGS."""
    from simdml.calibration.fitting.listing import list_fit

    listing = list_fit(name)
    rows = [(row.path, row.value, row.mark, row.source) for row in listing.rows]
    show(
        table(("", ""), list(listing.about.items()), title=f"{listing.kind} {listing.name}"),
        table(("coefficient", "value", "mark", "source"), rows),
    )
    if draw is not None and not readings:
        raise UsageError("--draw needs readings to draw the fit against", hint="simdml calibrate show NAME FILE --draw")
    if readings:
        _show_against(listing, readings, draw, _load(cluster, readings), version, device)


def _show_against(
    listing: FitListing,
    readings: Sequence[Path],
    draw: Path | None,
    cluster: Cluster | None,
    version: str,
    device: str,
) -> None:
    from simdml.costs.fitting.named_fit import qualities_of

    groups = _pairs(listing, readings, cluster, version, device)
    if not groups:
        raise InfeasibleError(
            f"{listing.name} says nothing of these readings",
            hint="a profile predicts kernels; a communication fit collectives, NCCL's with --cluster",
        )
    show(_quality_table(qualities_of(groups), "against the readings"))
    if draw is not None:
        # matplotlib is loaded for pictures alone.
        from simdml.reporting.calibration_figure import save_fit_figure

        write_whole(draw, lambda part: save_fit_figure(part, f"{listing.name} against readings", groups))
        click.echo(f"drew {draw}", err=True)


def _pairs(
    listing: FitListing, readings: Sequence[Path], cluster: Cluster | None, version: str, device: str
) -> dict[str, list[tuple[float, float]]]:
    from simdml.calibration.communication_file import load_gloo_fit, load_nccl_fit
    from simdml.calibration.profile_file import read_profile
    from simdml.cluster.device import find_device
    from simdml.costs.fitting.named_fit import kernel_pairs, load_all, log_pairs

    measurements = load_all(readings)
    if listing.kind == "profile":
        profile = read_profile(listing.path)
        beside = listing.path.with_name(f"{profile.device}.yaml")
        found = find_device(device or (str(beside) if beside.is_file() else profile.device))
        return kernel_pairs(profile, found, measurements.kernels)
    load = load_gloo_fit if listing.about["library"] == "gloo" else load_nccl_fit
    made = load(str(listing.path))
    groups: dict[str, list[tuple[float, float]]] = {}
    for log in measurements.logs:
        if pairs := log_pairs(made, log, cluster, version):
            groups.setdefault(f"{log.collective}, {log.ranks} ranks", []).extend(pairs)
    return groups


@command.command("diff")
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """Print the coefficients of two profiles, or two communication fits, side by side."""
    from simdml.calibration.fitting.listing import compare, list_fit

    one, other = list_fit(first), list_fit(second)
    if one.kind != other.kind:
        raise UsageError(f"{one.name} is a {one.kind} and {other.name} a {other.kind}", hint="compare two of a kind")
    show(table(("coefficient", one.name, other.name, "difference"), compare(one, other)))


def _load(cluster: str | None, readings: Sequence[Path]) -> Cluster | None:
    """The cluster, with as many nodes as the logs of ``readings`` need where its file has fewer."""
    if cluster is None:
        return None
    from simdml.cluster.loading import load_cluster
    from simdml.costs.fitting.named_fit import load_all

    loaded = load_cluster(cluster)
    per_node = max(len(loaded.gpus_of(0)), 1)
    needed = [max(log.nodes, -(-log.ranks // per_node)) for log in load_all(readings).logs]
    most = max(needed, default=1)
    return loaded if most <= loaded.num_nodes else load_cluster(cluster, {"nodes": most})


def _quality_table(qualities: Iterable[Quality], title: str) -> Table:
    rows = [
        (
            quality.group,
            str(quality.fitted or ""),
            str(quality.tested),
            f"{quality.median:.1%}",
            f"{quality.worst:.1%}",
            f"{quality.spread:.3f}",
            quality.basis,
        )
        for quality in qualities
    ]
    return table(QUALITY_COLUMNS, rows, title=title)
