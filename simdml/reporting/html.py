"""A Result as HTML: a fragment for notebooks, without anything from elsewhere."""

from __future__ import annotations

from typing import Any

from simdml.reporting.headline import headline, share_or_dash, shares, subject
from simdml.reporting.page import templates
from simdml.reporting.palette import ordered, style_of
from simdml.results.result import Result
from simdml.units import format_time


def result_html(result: Result) -> str:
    """Return a fragment: the headline, and where the step goes as a bar and a table."""
    last = result.breakdowns[0]
    members = f"{last.rank_class}, {last.num_ranks} of {result.num_gpus} ranks"
    who = members if len(result.breakdowns) > 1 else "every rank alike"
    return (
        templates()
        .get_template("fragment.html.j2")
        .render(
            name=result.name,
            subject=subject(result),
            headline=headline(result),
            where=f"rank {last.representative}: {who}",
            pieces=_pieces(result),
            notes=result.notes,
        )
    )


def _pieces(result: Result) -> list[dict[str, Any]]:
    mine = shares(result.breakdown)
    return [
        {
            "account": name,
            "time": format_time(result.breakdown[name]),
            "share": share_or_dash(mine[name]),
            "width": f"{100 * mine[name]:.3f}",
            "color": style_of(name).color,
            "moving": name.startswith("exposed "),
        }
        for name in ordered(mine)
    ]
