"""The timeline of a step as a picture: which tracks become rows, and how spans are drawn."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from matplotlib.collections import PolyCollection

from simdml.engine.execution import Kind
from simdml.reporting.headline import alike
from simdml.reporting.palette import ordered, style_of
from simdml.results.result import Result
from simdml.results.timeline import Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Item = TypeVar("Item")

ROWS: Final = 16
SHORT: Final = 1 / 120
"""Spans shorter than this part of the step are drawn with the computation they belong to."""

_NARROWEST: Final = 1 / 1000
_MAJOR: Final = frozenset({"forward", "backward", "optimizer"})
_THIN: Final = 0.6


@dataclass(frozen=True, slots=True)
class Lane:
    """A row: the spans of one or several tracks of a rank; ``height`` is 1 for computation and servers."""

    rank: int
    label: str
    height: float
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A coloured piece of a row, in seconds since the step began."""

    account: str
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_s - self.start_s


def choose_lanes(result: Result, spans: Iterable[Span]) -> list[Lane]:
    """Return at most 16 rows: computation and every kind of stream, or all communication of a rank in one.

    Of ranks that are alike the first is shown, of more ranks than fit those spread evenly from the first to the last.
    """
    tracks: dict[int, dict[str, list[Span]]] = defaultdict(lambda: defaultdict(list))
    for span in spans:
        if span.kind is not Kind.WAIT or span.track == "compute":
            tracks[span.rank][_stem(span.track) if span.rank >= 0 else span.track].append(span)
    groups = alike(result.breakdowns)
    shown = result.breakdowns if result.recording.asynchronous else groups
    names = {each.representative: each.rank_class if len(groups) > 1 else "" for each in shown}
    ranks = sorted(names)
    servers = spread(sorted((rank for rank in tracks if rank < 0), reverse=True), ROWS // 4)
    rows = ROWS - len(servers)
    if sum(len(tracks[rank]) for rank in ranks) <= rows:
        lanes = [lane for rank in ranks for lane in _streams(rank, names[rank], tracks[rank])]
    else:
        lanes = [lane for rank in spread(ranks, rows // 2) for lane in _merged(rank, names[rank], tracks[rank])]
    return lanes + [Lane(rank, name, 1.0, tuple(found)) for rank in servers for name, found in tracks[rank].items()]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most ``most`` of ``items`` in order, evenly spread from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _stem(track: str) -> str:
    """Return "push" for "push to 3": one row for the connections to all servers."""
    return re.sub(r" (to|from) \d+$", "", track)


def _streams(rank: int, rank_class: str, tracks: dict[str, list[Span]]) -> list[Lane]:
    return [
        Lane(rank, _label(rank, rank_class), 1.0, tuple(spans))
        if name == "compute"
        else Lane(rank, name, _THIN, tuple(spans))
        for name, spans in tracks.items()
    ]


def _merged(rank: int, rank_class: str, tracks: dict[str, list[Span]]) -> list[Lane]:
    moving = [span for name, spans in tracks.items() if name != "compute" for span in spans]
    lanes = [Lane(rank, _label(rank, rank_class), 1.0, tuple(tracks.get("compute", [])))]
    return lanes + ([Lane(rank, "communication", _THIN, tuple(moving))] if moving else [])


def _label(rank: int, rank_class: str) -> str:
    return f"{rank_class}, rank {rank}" if rank_class else f"rank {rank}"


def hidden_accounts(lanes: Sequence[Lane], rows: Sequence[Sequence[Block]]) -> list[str]:
    """Return accounts of ``lanes`` that their blocks, ``rows``, show only as part of the computation around them."""
    kinds = {span.account for lane in lanes for span in lane.spans if span.kind is not Kind.WAIT}
    return ordered(kinds - {block.account for blocks in rows for block in blocks})


def draw_lanes(
    axes: Axes, lanes: Sequence[Lane], rows: Sequence[Sequence[Block]], scale: float, length_s: float
) -> set[str]:
    """Draw ``rows`` from top to bottom, seconds multiplied by ``scale``; return the accounts one can see."""
    seen: dict[str, float] = defaultdict(float)
    top, ticks = 0.0, []
    for lane, blocks in zip(lanes, rows, strict=True):
        _draw(axes, blocks, top, lane.height, scale, length_s)
        for block in blocks:
            seen[block.account] += block.seconds
        ticks.append((top + lane.height / 2, lane.label))
        top += lane.height
    axes.set_yticks([place for place, _ in ticks], [label for _, label in ticks])
    for label, lane in zip(axes.get_yticklabels(), lanes, strict=True):
        label.set_fontsize(9.0 if lane.height == 1.0 else 7.0)
    axes.set_ylim(top + 0.1, -0.1)
    axes.set_xlim(0.0, length_s * scale)
    axes.tick_params(axis="y", length=0)
    return {account for account, seconds in seen.items() if seconds > _NARROWEST * length_s}


def _draw(axes: Axes, blocks: Iterable[Block], top: float, height: float, scale: float, length_s: float) -> None:
    low, high = top + 0.06, top + height - 0.06
    by_style: dict[tuple[str, bool], list[list[tuple[float, float]]]] = defaultdict(list)
    for block in blocks:
        left = block.start_s * scale
        # What is too short to be seen in a row of communication is widened until it can be.
        least = _NARROWEST * length_s if height < 1.0 else 0.0
        right = left + max(block.seconds, least) * scale
        corners = [(left, low), (right, low), (right, high), (left, high)]
        by_style[block.account, block.seconds > SHORT * length_s].append(corners)
    for account in ordered(name for name, _ in by_style):
        style = style_of(account)
        for long in (False, True):
            polygons = by_style.get((account, long), [])
            look: dict[str, Any] = {"linewidth": 0.0}
            if long:
                look = {"edgecolor": "white", "linewidth": 0.5, "hatch": style.hatch}
            axes.add_collection(PolyCollection(polygons, facecolor=style.color, **look))


def merge_blocks(spans: Sequence[Span], short_s: float) -> list[Block]:
    """Return blocks to draw for ``spans``, far fewer where spans are fine.

    What takes less than ``short_s`` inside touching computation (recomputation, copies, collectives inside a layer) is
    drawn as that computation. Touching blocks of one account are joined within one operation, or if one is short.
    """
    blocks: list[Block] = []
    operation: tuple[str, int] | None = None
    for span in _absorbed(sorted(spans, key=lambda span: (span.start_s, span.end_s)), short_s):
        here = (span.track, span.operation)
        block = Block(span.account, span.start_s, span.end_s)
        blocks = _appended(blocks, block, joined=here == operation)
        operation = here
    coarse: list[Block] = []
    for block in blocks:
        short = bool(coarse) and min(block.seconds, coarse[-1].seconds) < short_s
        coarse = _appended(coarse, block, joined=short)
    return coarse


def _appended(blocks: list[Block], block: Block, *, joined: bool) -> list[Block]:
    """Append ``block``, or lengthen the last one if they are ``joined``, touch and have the same account."""
    last = blocks[-1] if blocks else None
    if joined and last and last.account == block.account and last.end_s == block.start_s:
        blocks[-1] = Block(last.account, last.start_s, block.end_s)
    else:
        blocks.append(block)
    return blocks


def _absorbed(spans: Sequence[Span], short_s: float) -> list[Span]:
    """Return ``spans`` with short pieces inside computation booked to it.

    A collective belongs to the computation before it, everything else to the one after, if there is one.
    """
    before = _neighbours(spans, short_s)
    after = _neighbours(spans[::-1], short_s)[::-1]
    drawn = []
    for span, earlier, later in zip(spans, before, after, strict=True):
        owner = (earlier or later) if span.kind is Kind.COMMUNICATION else (later or earlier)
        keeps = not _small(span, short_s)
        drawn.append(
            span if keeps or owner is None else replace(span, account=owner.account, operation=owner.operation)
        )
    return drawn


def _small(span: Span, short_s: float) -> bool:
    return span.account not in _MAJOR and span.kind is not Kind.WAIT and span.seconds < short_s


def _neighbours(spans: Sequence[Span], short_s: float) -> list[Span | None]:
    """Return, for every span, the last computation before it with nothing but small touching pieces in between."""
    found: list[Span | None] = []
    major: Span | None = None
    last: Span | None = None
    for span in spans:
        if last is None or (last.end_s != span.start_s and span.end_s != last.start_s):
            major = None
        found.append(major)
        if span.account in _MAJOR:
            major = span
        elif not _small(span, short_s):
            major = None
        last = span
    return found
