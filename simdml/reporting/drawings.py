"""Figures as SVG to stand inside a page: small, with ids of their own, and nothing that a browser would load."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from simdml.reporting.report import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TAG: Final = re.compile(r"<[^>]*>")
_NUMBER: Final = re.compile(r"-?\d+\.\d{2,}")
_GROUP: Final = re.compile(r'<g id="[^"]*">')
_ID: Final = re.compile(r'(\bid="|url\(#|href="#)([^")]*)')
_ASIDE: Final = re.compile(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", re.DOTALL)
_FAMILY: Final = re.compile(r"font-family: [^;\"]*(; )?")
_PATH: Final = re.compile(r'<path d="([^"]*)"([^>]*)/>')
_SAME_PATHS: Final = re.compile(r'(?:<path d="[^"]*"([^>]*)/>\s*)(?:<path d="[^"]*"\1/>\s*)+')
_LOOK: Final = "font-family=\"'DejaVu Sans', Verdana, Arial, sans-serif\""
_COORDINATE: Final = r"(-?[\d.]+)"
_RECTANGLE: Final = re.compile(
    rf"M{_COORDINATE} {_COORDINATE}L{_COORDINATE} \2L\3 {_COORDINATE}L\1 \4(?:L\1 \2)?z",
)


def picture(name: str, draw: Callable[[], Figure], alt: str, caption: str = "") -> Picture:
    """Return what ``draw`` draws as a picture called ``name``; equal figures, equal bytes."""
    # matplotlib is slow to load.
    from simdml.reporting.saving import drawing_bytes

    return Picture(name, compact_svg(drawing_bytes(draw, "svg").decode(), name), alt, caption)


def compact_svg(svg: str, name: str) -> str:
    """Return matplotlib's SVG from its root element on: coordinates to 0.1 point, ids of ``name`` and a number.

    Matplotlib's own ids are digests of unrounded coordinates, whose last bits can differ between equal figures. Fonts
    are named once, and neighbouring shapes of one look become one path.
    """
    svg = _ASIDE.sub("", svg[svg.index("<svg") :])
    svg = _FAMILY.sub("", _GROUP.sub("<g>", _TAG.sub(_rounded_tag, svg)))
    svg = svg.replace("<svg", f"<svg {_LOOK}", 1)
    numbers: dict[str, int] = {}
    svg = _ID.sub(lambda match: f"{match[1]}{name}-{numbers.setdefault(match[2], len(numbers))}", svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg).strip()
    svg = _PATH.sub(lambda match: f'<path d="{_short(match[1])}"{match[2]}/>', svg)
    return _SAME_PATHS.sub(_joined, svg)


def _rounded_tag(match: re.Match[str]) -> str:
    return _NUMBER.sub(_rounded, match[0])


def _rounded(match: re.Match[str]) -> str:
    value = float(match.group())
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if text not in {"-0.00", "0.00"} else "0"


def _short(path: str) -> str:
    return _RECTANGLE.sub(r"M\1 \2H\3V\4H\1z", re.sub(r"\s*\n?([MLHVCQz])\s*", r"\1", path))


def _joined(match: re.Match[str]) -> str:
    shapes = "".join(shape[1] for shape in _PATH.finditer(match[0]))
    return f'<path d="{shapes}"{match[1]}/>\n'
