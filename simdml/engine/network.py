"""The fluid network: coupled transfers that share links max-min fairly.

A transfer puts ``weight`` bytes on each link it uses per byte of payload and progresses at one rate. Transfers with
the same links, weights and cap form a bundle: they always have equal rates, so one virtual progress and a heap of
finish tags serve them all. A link is contended while the transfers on it could take more than it has, each at the rate
it would have alone. Transfers on uncontended links go at that rate; when something starts or ends on a contended link,
the component of bundles joined by contended links is solved again, once a timestamp.

Progress is counted in whole grains of 2^-96 byte and time in ticks, both exact integers: how transfers are bundled or
folded cannot change a rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Final

import simpy

from simdml.engine.clock import TICKS_PER_SECOND, quantize, seconds, ticks
from simdml.engine.environment import Call, Priority, SimEnvironment
from simdml.engine.fairness import max_min_rates

GRAINS_PER_BYTE: Final = 2.0**96


SLACK: Final = 1e-9
"""Demand may exceed a link's capacity by this much before it counts as contended: the rounding of sums."""


def transfer_s(payload_bytes: float, rate_bytes_per_s: float) -> float:
    """Return how long a payload takes at a constant rate, as the network counts it: whole ticks, rounded up."""
    return seconds(-(-_grains(payload_bytes) // _pace(rate_bytes_per_s)))


def _grains(payload_bytes: float) -> int:
    return round(payload_bytes * GRAINS_PER_BYTE)


def _pace(rate_bytes_per_s: float) -> int:
    """Return a rate in grains a tick."""
    return max(1, round(rate_bytes_per_s * (GRAINS_PER_BYTE / TICKS_PER_SECOND)))


@dataclass(frozen=True, slots=True)
class Flow:
    """How a transfer loads the network: bytes on each link per payload byte, and its own highest rate (bytes/s)."""

    links: tuple[int, ...]
    weights: tuple[float, ...]
    cap: float


class Bundle:
    """Transfers of one flow that are under way, in the order their payload will be through."""

    __slots__ = (
        "base_progress",
        "base_time",
        "cap",
        "carried",
        "count",
        "links",
        "pace",
        "rate",
        "sequence",
        "solo",
        "tags",
        "wakeup",
        "weights",
    )

    def __init__(self, flow: Flow, solo: float = 0.0) -> None:
        self.links = flow.links
        self.weights = flow.weights
        self.cap = flow.cap
        self.solo = solo
        self.count = 0
        self.rate = 0.0
        self.pace = 0
        self.base_time = 0.0
        self.base_progress = 0
        self.sequence = 0
        self.carried = 0.0
        self.tags: list[tuple[int, int, float, Callable[[], None]]] = []
        self.wakeup: Wakeup | None = None

    def progress(self, now: float) -> int:
        """Return the grains each transfer present since the bundle was last idle has moved."""
        return self.base_progress + self.pace * ticks(now - self.base_time)

    def finish_time(self) -> float:
        """Return when the next transfer of the bundle ends at the present rate."""
        return self.base_time + seconds(-((self.base_progress - self.tags[0][0]) // self.pace))

    def set_rate(self, rate: float, now: float) -> None:
        """Go on at ``rate`` from ``now``."""
        if rate != self.rate:
            self.base_progress = self.progress(now)
            self.base_time = now
            self.rate = rate
            self.pace = _pace(rate)

    def restart(self, now: float) -> None:
        """Begin afresh after being idle."""
        self.base_time, self.base_progress, self.rate, self.pace = now, 0, 0.0, 0


@dataclass(slots=True, eq=False)
class Wakeup:
    """The one pending completion event of a component."""

    bundles: list[Bundle]
    call: Call | None = None


class Network:
    """Links with capacities (bytes/s) and the transfers on them.

    ``solves`` counts solver calls and ``started`` transfers; both are what the tests pin.
    """

    def __init__(self, env: SimEnvironment, capacities: Sequence[float]) -> None:
        self.env = env
        self.capacities = list(capacities)
        self.solves = 0
        self.started = 0
        self._bundles: dict[Flow, Bundle] = {}
        self._on_link: list[dict[Bundle, None]] = [{} for _ in self.capacities]
        self._demand = [0.0] * len(self.capacities)
        self._dirty: dict[Bundle, None] = {}

    def bundle(self, flow: Flow) -> Bundle:
        """Return the bundle that carries transfers of ``flow``."""
        found = self._bundles.get(flow)
        if found is None:
            found = self._bundles[flow] = Bundle(flow, self._solo_rate(flow))
        return found

    def send(self, bundle: Bundle, payload_bytes: float, latency_s: float, done: Callable[[], None]) -> None:
        """Move ``payload_bytes`` after ``latency_s`` (on the tick), then call ``done``."""
        self.started += 1
        if payload_bytes <= 0 or not bundle.links:
            free_s = transfer_s(payload_bytes, bundle.cap) if payload_bytes > 0 and bundle.cap < inf else 0.0
            bundle.carried += payload_bytes
            self.env.call_in(latency_s + free_s, done)
        elif latency_s > 0:
            self.env.call_in(latency_s, lambda: self._start(bundle, payload_bytes, done))
        else:
            self._start(bundle, payload_bytes, done)

    def transfer(self, flow: Flow, payload_bytes: float, latency_s: float = 0.0) -> simpy.Event:
        """Return a SimPy event that succeeds when the payload is through, for use in processes."""
        event = simpy.Event(self.env)
        self.send(self.bundle(flow), payload_bytes, quantize(latency_s), lambda: _succeed(event))
        return event

    def set_capacity(self, link: int, bytes_per_s: float) -> None:
        """Change a link's capacity from now on."""
        self.capacities[link] = bytes_per_s
        for flow, bundle in self._bundles.items():
            if link in bundle.links:
                before, bundle.solo = bundle.solo, self._solo_rate(flow)
                self._add_demand(bundle, bundle.count * (bundle.solo - before))
        self._mark(self._on_link[link])

    def link_bytes(self) -> list[float]:
        """Return the bytes every link has carried for finished transfers."""
        total = [0.0] * len(self.capacities)
        for bundle in self._bundles.values():
            for link, weight in zip(bundle.links, bundle.weights, strict=True):
                total[link] += bundle.carried * weight
        return total

    def active(self) -> list[Bundle]:
        """Return the bundles with transfers under way."""
        return [bundle for bundle in self._bundles.values() if bundle.count]

    def _start(self, bundle: Bundle, payload_bytes: float, done: Callable[[], None]) -> None:
        now = self.env.now
        if bundle.count == 0:
            bundle.restart(now)
            for link in bundle.links:
                self._on_link[link][bundle] = None
        bundle.sequence += 1
        tag = bundle.progress(now) + _grains(payload_bytes)
        heappush(bundle.tags, (tag, bundle.sequence, payload_bytes, done))
        bundle.count += 1
        self._add_demand(bundle, bundle.solo)
        if any(self._contended(link) for link in bundle.links):
            self._mark([bundle])
        elif bundle not in self._dirty:
            bundle.set_rate(bundle.solo, now)
            self._arm([bundle])

    def _solo_rate(self, flow: Flow) -> float:
        shares = (self.capacities[link] / weight for link, weight in zip(flow.links, flow.weights, strict=True))
        return min(flow.cap, min(shares, default=inf))

    def _add_demand(self, bundle: Bundle, rate: float) -> None:
        demand = self._demand
        for link, weight in zip(bundle.links, bundle.weights, strict=True):
            demand[link] += weight * rate

    def _contended(self, link: int) -> bool:
        return self._demand[link] > self.capacities[link] * (1 + SLACK)

    def _mark(self, bundles: Iterable[Bundle]) -> None:
        pending = bool(self._dirty)
        self._dirty.update(dict.fromkeys(bundles))
        if self._dirty and not pending:
            self.env.call_in(0.0, self._settle, Priority.SETTLE)

    def _settle(self) -> None:
        dirty, self._dirty = self._dirty, {}
        seen: set[Bundle] = set()
        for bundle in dirty:
            if bundle.count and bundle not in seen:
                component = self._component(bundle)
                seen.update(component)
                self._solve(component)

    def _component(self, bundle: Bundle) -> list[Bundle]:
        found, frontier, seen = {bundle: None}, [bundle], set()
        while frontier:
            for link in frontier.pop().links:
                if link not in seen and self._contended(link):
                    seen.add(link)
                    for other in self._on_link[link]:
                        if other not in found:
                            found[other] = None
                            frontier.append(other)
        return list(found)

    def _solve(self, component: list[Bundle]) -> None:
        now = self.env.now
        if len(component) == 1 and component[0].count == 1:
            component[0].set_rate(component[0].solo, now)
        else:
            self.solves += 1
            for bundle, rate in zip(component, max_min_rates(component, self.capacities), strict=True):
                bundle.set_rate(rate, now)
        self._arm(component)

    def _arm(self, component: list[Bundle]) -> None:
        """Give the bundles one completion event, and those left over from their old ones another."""
        orphans: dict[Bundle, None] = {}
        for bundle in component:
            old = bundle.wakeup
            if old is not None and old.call is not None:
                old.call.cancel()
                old.call = None
                orphans.update(dict.fromkeys(old.bundles))
        self._wake_when_done(component)
        inside = set(component)
        left = [bundle for bundle in orphans if bundle not in inside and bundle.count]
        if left:
            self._wake_when_done(left)

    def _wake_when_done(self, bundles: list[Bundle]) -> None:
        wakeup = Wakeup(bundles)
        for bundle in bundles:
            bundle.wakeup = wakeup
        now = self.env.now
        earliest = max(min(bundle.finish_time() for bundle in bundles), now)
        wakeup.call = self.env.call_in(earliest - now, lambda: self._complete(wakeup))

    def _complete(self, wakeup: Wakeup) -> None:
        now = self.env.now
        wakeup.call = None
        finished: list[Callable[[], None]] = []
        remaining: list[Bundle] = []
        affected: dict[Bundle, None] = {}
        for bundle in wakeup.bundles:
            ended = 0
            while bundle.tags and bundle.finish_time() <= now:
                _, _, payload_bytes, done = heappop(bundle.tags)
                bundle.carried += payload_bytes
                ended += 1
                finished.append(done)
            if ended:
                self._leave(bundle, ended, affected)
            if bundle.count:
                remaining.append(bundle)
            else:
                bundle.wakeup = None
        unaffected = [bundle for bundle in remaining if bundle not in affected]
        if unaffected:
            self._wake_when_done(unaffected)
        for bundle in affected:
            if bundle.wakeup is wakeup:
                bundle.wakeup = None
        self._mark(bundle for bundle in affected if bundle.count)
        for done in finished:
            done()

    def _leave(self, bundle: Bundle, ended: int, affected: dict[Bundle, None]) -> None:
        """Take ended transfers off the links; those on contended links are affected."""
        for link in bundle.links:
            if self._contended(link):
                affected.update(self._on_link[link])
        bundle.count -= ended
        self._add_demand(bundle, -ended * bundle.solo)
        if not bundle.count:
            for link in bundle.links:
                users = self._on_link[link]
                del users[bundle]
                if not users:
                    self._demand[link] = 0.0


def _succeed(event: simpy.Event) -> None:
    event.succeed()
