"""Transfers whose begin and end are known ahead of time: links that are kept for them from the one to the other.

Streams that run ahead of the clock know when their transfers will begin. One that finds room on its links from begin to
end, beside all others that are reserved, has one entry on SimPy's heap, for its end, and is not seen by the solver.
"""

from __future__ import annotations

from collections.abc import Sequence

from simdml.engine.abreast import Rows, UnderWay
from simdml.engine.bundles import MOST, Bundle
from simdml.engine.transfers import Booking


class Reservations:
    """Reserved transfers by link: begin, end, load (parts of the link), and the transfer itself; ``num`` of them.

    ``rows`` has those that are abreast.
    """

    def __init__(self, num_links: int) -> None:
        self.num = 0
        self.rows = Rows(num_links)
        self._on_link: list[dict[Booking, tuple[float, float, int]]] = [{} for _ in range(num_links)]

    def fit(self, bundle: Bundle, begins: float, ends: float) -> bool:
        """Whether the links of ``bundle`` have room for another transfer, all going as fast as if alone."""
        on_link, row_of_link = self._on_link, self.rows.of_link
        for link, load in bundle.loads:
            reserved, row = on_link[link], row_of_link[link]
            if row:
                load += sum(its for other, its in row.items() if other.on(link, begins, ends))  # noqa: PLW2901
                if load > MOST:
                    return False
            if reserved:
                for begin, end, other in reserved.values():
                    if begin < ends and end > begins:
                        load += other  # noqa: PLW2901 - a sum
                if load > MOST:
                    return False
        return True

    def fit_abreast(self, those: UnderWay) -> bool:
        """Whether links have room for transfers abreast, all going as fast as if alone."""
        if not self.rows.fit(those, MOST):
            return False
        if not any(map(self._on_link.__getitem__, those.transfers.place)):
            return True
        each = zip(those.transfers.bundles, those.begins, those.ends, strict=True)
        return all(self.fit(bundle, begin, end) for bundle, begin, end in each)

    def add(self, booking: Booking, ends: float) -> None:
        """Reserve the links of ``booking`` until ``ends``."""
        self.num += 1
        booking.reserved = True
        begins, on_link = booking.begins, self._on_link
        for link, load in booking.bundle.loads:
            on_link[link][booking] = begins, ends, load

    def remove(self, booking: Booking) -> None:
        """Give the links of ``booking`` free."""
        self.num -= 1
        booking.reserved = False
        on_link = self._on_link
        for link in booking.bundle.links:
            del on_link[link][booking]

    def clear(self) -> None:
        """Forget all transfers."""
        self.num = 0
        self.rows.clear()
        for reserved in self._on_link:
            reserved.clear()

    def on(self, links: Sequence[int]) -> list[Booking]:
        """Return the transfers for which some of ``links`` are reserved, each once, in the order they came."""
        return list(dict.fromkeys(booking for link in links for booking in self._on_link[link]))
