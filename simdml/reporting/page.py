"""A report as one HTML file: for screens, phones and paper; it asks nothing of any other host."""

from __future__ import annotations

from functools import cache
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from simdml.reporting.report import Picture, Report
from simdml.resources import data_dir

MARK: Final = "simdml report"
"""Stands at the head of every report, so that a report is never mistaken for another file."""


@cache
def templates() -> Environment:
    """Return the templates of pages and fragments."""
    loader = FileSystemLoader(data_dir("reports") / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.tests["kind"] = lambda block, name: type(block).__name__ == name
    made.filters |= {"inline": inline_svg, "anchor": anchor}
    return made


def page(report: Report) -> str:
    """Return the report as a page; equal reports, equal bytes."""
    return templates().get_template("report.html.j2").render(report=report, sections=report.ordered(), mark=MARK)


def inline_svg(picture: Picture) -> Markup:
    """Return the picture to stand inside a page: named, described, and without the names of XML's own spaces."""
    svg = picture.svg
    for space in ('xmlns="http://www.w3.org/2000/svg"', 'xmlns:xlink="http://www.w3.org/1999/xlink"'):
        svg = svg.replace(f" {space}", "", 1)
    label = Markup(' role="img" aria-label="{}"').format(picture.alt)
    return Markup(svg.replace("<svg", f"<svg{label}", 1))


def anchor(title: str) -> str:
    """Return the id of a section."""
    return "".join(char if char.isalnum() else "-" for char in title.lower())
