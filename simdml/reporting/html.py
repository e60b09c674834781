"""A Result as HTML: a fragment for notebooks and a page of its own. Neither asks for anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from simdml.errors import dotted
from simdml.reporting.headline import NETWORK_KINDS, headline, mean_accounts, share, share_or_dash, shares, subject
from simdml.reporting.palette import ordered, style_of
from simdml.resources import data_dir
from simdml.results.plain import MEMORY_PARTS, plain
from simdml.results.result import Result
from simdml.units import format_bandwidth, format_bytes, format_time

ROWS_SHOWN: Final = 12


def result_html(result: Result) -> str:
    """Return a fragment: the headline, and where the step goes as a bar and a table."""
    return _templates().get_template("fragment.html.j2").render(_common(result))


def report_page(result: Result) -> str:
    """Return a whole page in one file: figure, tables, notes and inputs, for screens, phones and paper."""
    # matplotlib is slow to load, and notebooks show the fragment alone.
    from simdml.reporting.figures import figure_bytes

    drawing = figure_bytes(result, "svg").decode()
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            _common(result),
            version=result.version,
            steps=result.steps_simulated,
            several=len(result.breakdowns) > 1,
            step=format_time(result.step_time_s),
            figure=Markup(drawing[drawing.index("<svg") :]),
            memory_parts=MEMORY_PARTS,
            memory=_memory_table(result),
            segments=_longest(result),
            links=_links_table(result),
            inputs=list(_flat(plain(result.inputs))),
        )
    )


@cache
def _templates() -> Environment:
    loader = FileSystemLoader(data_dir("reports") / "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)


def _common(result: Result) -> dict[str, Any]:
    last = result.breakdowns[0]
    members = f"{last.rank_class}, {last.num_ranks} of {result.num_gpus} ranks"
    return {
        "name": result.name,
        "subject": subject(result),
        "headline": headline(result),
        "where": f"rank {last.representative}: {members if len(result.breakdowns) > 1 else 'every rank alike'}",
        "pieces": _pieces(result),
        "notes": result.notes,
    }


def _pieces(result: Result) -> list[dict[str, Any]]:
    mine, mean = shares(result.breakdown), shares(mean_accounts(result))
    path = shares(result.path_accounts())
    return [
        {
            "account": name,
            "time": format_time(result.breakdown[name]) if result.breakdown.get(name) else "-",
            "share": share_or_dash(mine.get(name, 0.0)),
            "mean": share_or_dash(mean.get(name, 0.0)),
            "path": share_or_dash(path.get(name, 0.0)),
            "width": f"{100 * mine.get(name, 0.0):.3f}",
            "color": style_of(name).color,
            "moving": name.startswith("exposed "),
        }
        for name in ordered([*mine, *mean, *path])
    ]


def _memory_table(result: Result) -> list[list[str]]:
    return [
        [
            estimate.rank_class,
            *(format_bytes(getattr(estimate, part)) for part in MEMORY_PARTS),
            format_bytes(estimate.total),
            f"{share(estimate.total / estimate.capacity)} of {format_bytes(estimate.capacity)}",
        ]
        for estimate in result.memory
    ]


def _longest(result: Result) -> list[list[str]]:
    """Return what the critical path spends most on, equal pieces of one track together."""
    totals: dict[tuple[str, str, str], tuple[int, float]] = {}
    for segment in result.critical_path:
        where = f"rank {segment.rank}, {segment.track}" if segment.rank >= 0 else segment.track
        key = (segment.label, where, segment.account)
        count, seconds = totals.get(key, (0, 0.0))
        totals[key] = (count + 1, seconds + segment.seconds)
    longest = sorted(totals.items(), key=lambda item: (-item[1][1], item[0]))[:ROWS_SHOWN]
    return [
        [*key, f"{count}", format_time(seconds), share(seconds / result.step_time_s)]
        for key, (count, seconds) in longest
    ]


def _links_table(result: Result) -> list[list[str]]:
    return [
        [
            load.name,
            load.kind,
            format_bytes(load.bytes_per_step),
            format_bandwidth(load.capacity_bytes_per_s, network=load.kind in NETWORK_KINDS),
            share(load.utilisation),
        ]
        for load in result.links[:ROWS_SHOWN]
    ]


def _flat(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the text of every value in plain data; lists of plain values stay together."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, (*path, key))
    elif isinstance(value, Sequence) and any(isinstance(item, Mapping | list) for item in value if item is not None):
        for index, item in enumerate(value):
            yield from _flat(item, (*path, index))
    else:
        yield dotted(path), ", ".join(map(str, value)) if isinstance(value, list) else str(value)
