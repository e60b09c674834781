"""Transfers abreast: as many as a crew has members, alike, each on links of its own.

They are under way together and have one entry on SimPy's heap, for the end of the last one. Links that are used abreast
make a row, and on a row they are reserved once for all. Where anything else comes upon one of the links, they go on one
by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from simdml.engine.bundles import Bundle
from simdml.engine.transfers import Callbacks


class Owner(Protocol):
    """Who has transfers abreast under way."""

    def arrived(self) -> None:
        """All are through."""

    def part(self) -> None:
        """Go on one by one."""


class Abreast:
    """Transfers of ``payload_bytes`` that take ``solo_s`` each where nothing is in their way.

    ``rows`` have, by row of links, what is under way there, with the parts of a link that each of them asks for;
    ``loads`` is what each of these transfers asks for. ``place`` is whose link it is.
    """

    __slots__ = ("bundles", "loads", "payload_bytes", "place", "rows", "solo_s")

    def __init__(self, bundles: Sequence[Bundle], payload_bytes: float, rows: Sequence[dict[UnderWay, int]]) -> None:
        self.bundles = bundles
        self.payload_bytes = payload_bytes
        self.rows = rows
        self.loads = [load for _, load in bundles[0].loads]
        self.place = {link: number for number, bundle in enumerate(bundles) for link in bundle.links}
        _, self.solo_s = bundles[0].time_alone(payload_bytes)


class UnderWay:
    """Transfers abreast that are reserved: when each begins and ends. Once not ``pending``, they are over or parted."""

    __slots__ = ("begins", "callbacks", "ends", "first", "last", "owner", "pending", "transfers")
    _ok = True

    def __init__(self, callbacks: Callbacks, transfers: Abreast, begins: Sequence[float], owner: Owner) -> None:
        self.callbacks: Callbacks | None = callbacks
        self.transfers = transfers
        self.begins = begins
        self.ends = [begin + transfers.solo_s for begin in begins]
        self.first = min(begins)
        self.last = max(self.ends)
        self.owner = owner
        self.pending = True

    def on(self, link: int, begins: float, ends: float) -> bool:
        """Whether one of them is on ``link`` between two times."""
        number = self.transfers.place[link]
        return self.begins[number] < ends and self.ends[number] > begins


class Rows:
    """Rows of links, and what is under way on them; ``num`` of these."""

    def __init__(self, num_links: int) -> None:
        self.num = 0
        self.of_link: list[dict[UnderWay, int]] = [{}] * num_links
        self._known: dict[int, tuple[int, ...]] = {}

    def row(self, links: Sequence[int]) -> dict[UnderWay, int] | None:
        """Return the row that ``links`` make, None if some of them are of another row."""
        known = {self._known.get(link) for link in links}
        if known == {None}:
            row: dict[UnderWay, int] = {}
            for link in links:
                self._known[link], self.of_link[link] = tuple(sorted(links)), row
        elif known != {tuple(sorted(links))}:
            return None
        return self.of_link[links[0]]

    def fit(self, those: UnderWay, most: int) -> bool:
        """Whether rows have room for transfers abreast beside all others that are."""
        begins, ends = those.first, those.last
        for row, load in zip(those.transfers.rows, those.transfers.loads, strict=True):
            for other, its in row.items():
                if other.first < ends and other.last > begins:
                    load += its  # noqa: PLW2901 - a sum
            if load > most:
                return False
        return True

    def add(self, those: UnderWay) -> None:
        """Reserve rows for transfers abreast."""
        self.num += 1
        for row, load in zip(those.transfers.rows, those.transfers.loads, strict=True):
            row[those] = load

    def remove(self, those: UnderWay) -> None:
        """Give their rows free."""
        self.num -= 1
        those.pending = False
        for row in those.transfers.rows:
            del row[those]

    def on(self, links: Sequence[int]) -> list[UnderWay]:
        """Return what is under way on some of ``links``, each once."""
        return list(dict.fromkeys(those for link in links for those in self.of_link[link]))

    def clear(self) -> None:
        """Forget all transfers."""
        self.num = 0
        for row in self.of_link:
            row.clear()
