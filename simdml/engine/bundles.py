"""Bundles: transfers that load the network alike, and the whole numbers their progress is counted in.

Transfers with the same links, weights and cap always have equal rates, so one virtual progress and a heap of finish
tags serve them all. Progress is counted in whole grains of 2^-96 byte and time in ticks, both exact integers: how
transfers are bundled or folded cannot change a rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final

from simdml.engine.clock import TICKS_PER_SECOND, seconds, ticks

if TYPE_CHECKING:
    from simdml.engine.transfers import Booking, Wakeup

GRAINS_PER_BYTE: Final = 2.0**96
SLACK: Final = 1e-9
"""Demand may exceed a link's capacity by this much before it counts as contended: the rounding of what is asked."""
FULL: Final = 2**50
"""What a link has, in the whole parts that demand is counted in: their sums are exact, in any order."""
MOST: Final = FULL + int(FULL * SLACK)


def transfer_s(payload_bytes: float, rate_bytes_per_s: float) -> float:
    """Return how long a payload takes at a constant rate, as the network counts it: whole ticks, rounded up."""
    if rate_bytes_per_s == inf:
        return 0.0
    return seconds(-(-grains_of(payload_bytes) // pace_of(rate_bytes_per_s)))


def grains_of(payload_bytes: float) -> int:
    """Return a payload in grains."""
    return round(payload_bytes * GRAINS_PER_BYTE)


@lru_cache(maxsize=4096)
def pace_of(rate_bytes_per_s: float) -> int:
    """Return a rate in grains a tick."""
    return max(1, round(rate_bytes_per_s * (GRAINS_PER_BYTE / TICKS_PER_SECOND)))


@dataclass(frozen=True, slots=True)
class Flow:
    """How a transfer loads the network: bytes on each link per payload byte, and its own highest rate (bytes/s)."""

    links: tuple[int, ...]
    weights: tuple[float, ...]
    cap: float


Loads = list[tuple[int, int]]
"""Links, and the parts of each (of ``FULL``) that are asked for."""


class Bundle:
    """Transfers of one flow that are under way.

    ``solo`` is the rate of a transfer that has all links to itself; ``most_solo`` transfers of the bundle fit on its
    links at that rate. A transfer is either booked, with an end that is known as long as no link is contended, or has a
    tag: the progress at which it will be through. ``count`` counts both.

    ``loads`` are those of a transfer at the solo rate, ``whole_loads`` all that the bundle can ask for, and ``asked``
    are ``loads`` on ``crowded`` links, where they are counted (:mod:`simdml.engine.crowding`); ``listed`` says that
    these know the bundle.
    """

    __slots__ = (
        "asked",
        "asked_at_last",
        "base_progress",
        "base_time",
        "booked",
        "cap",
        "carried",
        "count",
        "crowded",
        "links",
        "listed",
        "loads",
        "most_solo",
        "pace",
        "rate",
        "rates",
        "sequence",
        "solo",
        "solo_pace",
        "solo_times",
        "tags",
        "wakeup",
        "weights",
        "whole_loads",
    )

    def __init__(self, flow: Flow, capacities: Sequence[float]) -> None:
        self.links = flow.links
        self.weights = flow.weights
        self.cap = flow.cap
        self.crowded: tuple[int, ...] = ()
        self.appraise(capacities)
        self.count = 0
        self.listed = False
        self.rate = 0.0
        self.pace = 0
        self.base_time = 0.0
        self.base_progress = 0
        self.sequence = 0
        self.carried = 0.0
        self.booked: dict[Booking, None] = {}
        self.tags: list[tuple[int, int, float, Callable[[], None]]] = []
        self.wakeup: Wakeup | None = None

    def appraise(self, capacities: Sequence[float]) -> None:
        """Work out what its transfers do on links with ``capacities`` that nobody else is on."""
        whole = min((capacities[k] / w for k, w in zip(self.links, self.weights, strict=True)), default=inf)
        self.solo = solo = min(self.cap, whole)
        self.solo_pace = pace_of(solo) if solo < inf else 0
        self.loads = self._loads(solo, capacities)
        self.most_solo = min((MOST // load for _, load in self.loads if load), default=MOST)
        self.whole_loads = self._loads(whole, capacities)
        self.rates: dict[int, float] = {}
        self.solo_times: dict[float, tuple[int, float]] = {}
        self.count_on(self.crowded)

    def count_on(self, crowded: tuple[int, ...]) -> None:
        """Say what is asked of links that are crowded."""
        self.crowded = crowded
        self.asked: Loads = [(link, load) for link, load in self.loads if link in crowded]
        self.asked_at_last: Loads = [
            (link, max(whole - self.most_solo * load, 0))
            for (link, load), (_, whole) in zip(self.loads, self.whole_loads, strict=True)
            if link in crowded
        ]

    def _loads(self, rate: float, capacities: Sequence[float]) -> Loads:
        """Return the loads of a transfer at ``rate``."""
        return [
            (link, round(weight * rate / capacities[link] * FULL)) if rate < inf else (link, 0)
            for link, weight in zip(self.links, self.weights, strict=True)
        ]

    def added(self, count: int) -> Loads:
        """Return what the ``count``-th transfer asks of crowded links beyond those before it, if it is alone."""
        if count <= self.most_solo:
            return self.asked
        return self.asked_at_last if count == self.most_solo + 1 else []

    def rate_alone(self, capacities: Sequence[float]) -> float:
        """Return the rate of its transfers if nobody else needs what they can take."""
        if self.count <= self.most_solo:
            return self.solo
        found = self.rates.get(self.count)
        if found is None:
            shares = (capacities[k] / (self.count * w) for k, w in zip(self.links, self.weights, strict=True))
            found = self.rates[self.count] = min(self.cap, *shares)
        return found

    def time_alone(self, payload_bytes: float) -> tuple[int, float]:
        """Return grains and seconds of a transfer that has all links to itself."""
        found = self.solo_times.get(payload_bytes)
        if found is None:
            grains = grains_of(payload_bytes)
            found = self.solo_times[payload_bytes] = grains, seconds(-(-grains // self.solo_pace))
        return found

    def progress(self, now: float) -> int:
        """Return the grains each transfer present since the bundle had none with a tag has moved."""
        return self.base_progress + self.pace * ticks(now - self.base_time)

    def finish_time(self) -> float:
        """Return when the next transfer with a tag ends at the present rate."""
        return self.base_time + seconds(-((self.base_progress - self.tags[0][0]) // self.pace))

    def set_rate(self, rate: float, now: float) -> None:
        """Go on at ``rate`` from ``now``."""
        if rate != self.rate:
            self.base_progress = self.progress(now)
            self.base_time = now
            self.rate = rate
            self.pace = pace_of(rate)

    def tag(self, begun: float, now: float, payload_bytes: float, done: Callable[[], None]) -> None:
        """Give a tag to a transfer that has gone at the solo rate since ``begun``."""
        if not self.tags:
            self.base_time, self.base_progress, self.rate, self.pace = now, 0, 0.0, 0
        self.sequence += 1
        left = self.time_alone(payload_bytes)[0] - self.solo_pace * ticks(now - begun)
        heappush(self.tags, (self.progress(now) + left, self.sequence, payload_bytes, done))

    def finish(self, now: float, finished: list[Callable[[], None]]) -> int:
        """Take off those that are through, adding what to call for them to ``finished``; return how many."""
        ended = 0
        while self.tags and self.finish_time() <= now:
            _, _, payload_bytes, done = heappop(self.tags)
            self.carried += payload_bytes
            finished.append(done)
            ended += 1
        return ended
