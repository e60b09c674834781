"""What the network puts on SimPy's heap: transfers that will depart or end, and wake-ups of those that share links.

Each is its own event, and has what SimPy calls when its time comes as ``callbacks``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simdml.engine.bundles import Bundle

Callbacks = list[Callable[[Any], None]]


class Departure:
    """A transfer that will begin; how it will go is seen then."""

    __slots__ = ("bundle", "callbacks", "done", "payload_bytes")
    _ok = True

    def __init__(self, callbacks: Callbacks, bundle: Bundle, payload_bytes: float, done: Callable[[], None]) -> None:
        self.callbacks: Callbacks | None = callbacks
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.done = done


class Booking:
    """A transfer that begins at a known time and will be through at another, unless others come in its way before.

    Its load counts from the moment it is booked, unless its links are ``reserved`` for it. Once it is not ``pending``,
    it is over or goes on in another way.
    """

    __slots__ = ("begins", "bundle", "callbacks", "done", "payload_bytes", "pending", "reserved")
    _ok = True

    def __init__(
        self, callbacks: Callbacks, bundle: Bundle, payload_bytes: float, begins: float, done: Callable[[], None]
    ) -> None:
        self.callbacks: Callbacks | None = callbacks
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.begins = begins
        self.done = done
        self.pending = True
        self.reserved = False


class Wakeup:
    """The one pending completion event of bundles; it may be cancelled."""

    __slots__ = ("bundles", "callbacks", "pending")
    _ok = True

    def __init__(self, callbacks: Callbacks, bundles: list[Bundle]) -> None:
        self.callbacks: Callbacks | None = callbacks
        self.bundles = bundles
        self.pending = True
