"""What the network puts on SimPy's heap: transfers that will depart or end, and wake-ups of those that share links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from simdml.engine.bundles import Bundle


class Carrier(Protocol):
    """A network, as its events see it."""

    def depart(self, bundle: Bundle, payload_bytes: float, done: Callable[[], None]) -> None:
        """Begin to move a payload."""

    def end(self, booking: Booking) -> None:
        """A booked transfer is through."""

    def complete(self, wakeup: Wakeup) -> None:
        """Some transfers of the bundles of ``wakeup`` may be through."""


class Departure:
    """A transfer whose latency is running; how it will go is seen when it begins."""

    __slots__ = ("bundle", "callbacks", "done", "network", "payload_bytes")
    _ok = True

    def __init__(self, network: Carrier, bundle: Bundle, payload_bytes: float, done: Callable[[], None]) -> None:
        self.network = network
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.done = done
        self.callbacks: list[Callable[[Any], None]] | None = _DEPART


class Booking:
    """A transfer that begins at a known time and will be through at another, unless others come in its way before.

    Its load counts from the moment it is booked. Once it is not ``pending``, it is over or goes on in another way.
    """

    __slots__ = ("begins", "bundle", "callbacks", "done", "network", "payload_bytes", "pending")
    _ok = True

    def __init__(
        self, network: Carrier, bundle: Bundle, payload_bytes: float, begins: float, done: Callable[[], None]
    ) -> None:
        self.network = network
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.begins = begins
        self.done = done
        self.pending = True
        self.callbacks: list[Callable[[Any], None]] | None = _END


class Wakeup:
    """The one pending completion event of bundles; it may be cancelled."""

    __slots__ = ("bundles", "callbacks", "network", "pending")
    _ok = True

    def __init__(self, network: Carrier, bundles: list[Bundle]) -> None:
        self.network = network
        self.bundles = bundles
        self.pending = True
        self.callbacks: list[Callable[[Any], None]] | None = _COMPLETE


def _depart(departure: Departure) -> None:
    departure.network.depart(departure.bundle, departure.payload_bytes, departure.done)


def _end(booking: Booking) -> None:
    if booking.pending:
        booking.network.end(booking)


def _complete(wakeup: Wakeup) -> None:
    if wakeup.pending:
        wakeup.network.complete(wakeup)


_DEPART: list[Callable[[Any], None]] = [_depart]
_END: list[Callable[[Any], None]] = [_end]
_COMPLETE: list[Callable[[Any], None]] = [_complete]
