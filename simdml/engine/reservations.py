"""Transfers whose begin and end are known ahead of time: links that are kept for them from the one to the other.

Streams that run ahead of the clock know when their transfers will begin. One that finds room on its links from begin to
end, beside all others that are reserved, has one entry on SimPy's heap, for its end, and is not seen by the solver.
"""

from __future__ import annotations

from collections.abc import Sequence

from simdml.engine.bundles import MOST, Bundle
from simdml.engine.transfers import Booking


class Reservations:
    """Reserved transfers by link: begin, end, load (parts of the link), and the transfer itself; ``num`` of them."""

    def __init__(self, num_links: int) -> None:
        self.num = 0
        self._on_link: list[dict[Booking, tuple[float, float, int]]] = [{} for _ in range(num_links)]

    def fit(self, bundle: Bundle, begins: float, ends: float) -> bool:
        """Whether the links of ``bundle`` have room for another transfer, all going as fast as if alone."""
        on_link = self._on_link
        for link, load in bundle.loads:
            reserved = on_link[link]
            if reserved:
                for begin, end, other in reserved.values():
                    if begin < ends and end > begins:
                        load += other  # noqa: PLW2901 - a sum
                if load > MOST:
                    return False
        return True

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
        for reserved in self._on_link:
            reserved.clear()

    def on(self, links: Sequence[int]) -> list[Booking]:
        """Return the transfers for which some of ``links`` are reserved, each once, in the order they came."""
        return list(dict.fromkeys(booking for link in links for booking in self._on_link[link]))
