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
from typing import Any, Final, cast

import simpy

from simdml.engine.clock import TICKS_PER_SECOND, quantize, seconds, ticks
from simdml.engine.environment import NORMAL, Priority, SimEnvironment
from simdml.engine.fairness import max_min_rates

GRAINS_PER_BYTE: Final = 2.0**96


SLACK: Final = 1e-9
"""Demand may exceed a link's capacity by this much before it counts as contended: the rounding of sums."""
CASES_KEPT: Final = 4096
"""Solutions that are remembered, by which bundles share links and how many transfers each has."""


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
        "alone_until",
        "base_progress",
        "base_time",
        "cap",
        "carried",
        "count",
        "links",
        "loads",
        "pace",
        "rate",
        "sequence",
        "solo",
        "solo_pace",
        "solo_times",
        "tags",
        "wakeup",
        "weights",
    )

    def __init__(self, flow: Flow, solo: float = 0.0) -> None:
        self.links = flow.links
        self.weights = flow.weights
        self.cap = flow.cap
        self.be_alone_at(solo)
        self.count = 0
        self.alone_until = -1.0
        self.rate = 0.0
        self.pace = 0
        self.base_time = 0.0
        self.base_progress = 0
        self.sequence = 0
        self.carried = 0.0
        self.tags: list[tuple[int, int, float, Callable[[], None]]] = []
        self.wakeup: Wakeup | None = None

    def be_alone_at(self, solo: float) -> None:
        """Take ``solo`` as the rate of a transfer that has all links to itself; ``loads`` are its demands then."""
        self.solo = solo
        self.solo_pace = _pace(solo) if solo < inf else 0
        self.loads = [(link, weight * solo) for link, weight in zip(self.links, self.weights, strict=True)]
        self.solo_times: dict[float, tuple[int, float]] = {}

    def time_alone(self, payload_bytes: float) -> tuple[int, float]:
        """Return grains and seconds of a transfer that has all links to itself; remembered in ``solo_times``."""
        grains = _grains(payload_bytes)
        self.solo_times[payload_bytes] = found = grains, seconds(-(-grains // self.solo_pace))
        return found

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


class Wakeup:
    """The one pending completion event of a component; SimPy calls it like any event, and it may be cancelled."""

    __slots__ = ("bundles", "callbacks", "network", "pending")
    _ok = True

    def __init__(self, network: Network, bundles: list[Bundle]) -> None:
        self.network = network
        self.bundles = bundles
        self.pending = True
        self.callbacks: list[Callable[[Any], None]] | None = _COMPLETE


class Departure:
    """A transfer whose latency is running."""

    __slots__ = ("bundle", "callbacks", "done", "network", "payload_bytes")
    _ok = True

    def __init__(self, network: Network, bundle: Bundle, payload_bytes: float, done: Callable[[], None]) -> None:
        self.network = network
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.done = done
        self.callbacks: list[Callable[[Any], None]] | None = _START


def _start(departure: Departure) -> None:
    departure.network._start(departure.bundle, departure.payload_bytes, departure.done)


def _complete(wakeup: Wakeup) -> None:
    if wakeup.pending:
        wakeup.network._complete(wakeup)


_START: list[Callable[[Any], None]] = [_start]
_COMPLETE: list[Callable[[Any], None]] = [_complete]


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
        self._most = [capacity * (1 + SLACK) for capacity in self.capacities]
        self._dirty: dict[Bundle, None] = {}
        self._cases: dict[tuple[tuple[int, int], ...], list[float]] = {}

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
            departure = cast(simpy.Event, Departure(self, bundle, payload_bytes, done))
            self.env.schedule(departure, NORMAL, latency_s)
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
        self._cases.clear()
        self._most[link] = bytes_per_s * (1 + SLACK)
        for flow, bundle in self._bundles.items():
            if link in bundle.links:
                self._add_demand(bundle, -bundle.count)
                bundle.be_alone_at(self._solo_rate(flow))
                self._add_demand(bundle, bundle.count)
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
        alone = bundle.count == 0
        if alone:
            bundle.restart(now)
            for link in bundle.links:
                self._on_link[link][bundle] = None
        bundle.sequence += 1
        grains, solo_s = bundle.solo_times.get(payload_bytes) or bundle.time_alone(payload_bytes)
        if alone:
            bundle.tags.append((grains, bundle.sequence, payload_bytes, done))
        else:
            heappush(bundle.tags, (bundle.progress(now) + grains, bundle.sequence, payload_bytes, done))
        bundle.count += 1
        demand, most, contended = self._demand, self._most, False
        for link, load in bundle.loads:
            demand[link] = needed = demand[link] + load
            contended = contended or needed > most[link]
        if contended:
            self._mark([bundle])
        elif bundle not in self._dirty:
            if alone:
                bundle.rate, bundle.pace = bundle.solo, bundle.solo_pace
                bundle.alone_until = now + solo_s
                bundle.wakeup = wakeup = Wakeup(self, [bundle])
                self.env.schedule(cast(simpy.Event, wakeup), NORMAL, solo_s)
            else:
                bundle.set_rate(bundle.solo, now)
                self._arm([bundle])

    def _solo_rate(self, flow: Flow) -> float:
        shares = (self.capacities[link] / weight for link, weight in zip(flow.links, flow.weights, strict=True))
        return min(flow.cap, min(shares, default=inf))

    def _add_demand(self, bundle: Bundle, transfers: int) -> None:
        for link, load in bundle.loads:
            self._demand[link] += transfers * load

    def _contended(self, link: int) -> bool:
        return self._demand[link] > self._most[link]

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
        if len(component) == 1:
            component[0].set_rate(self._rate_of_only(component[0]), now)
        else:
            self.solves += 1
            for bundle, rate in zip(component, self._rates(component), strict=True):
                bundle.set_rate(rate, now)
        self._arm(component)

    def _rates(self, component: list[Bundle]) -> list[float]:
        """Return max-min rates; many workers and few links come to the same few cases again and again."""
        case = tuple((id(bundle), bundle.count) for bundle in component)
        found = self._cases.get(case)
        if found is None:
            if len(self._cases) >= CASES_KEPT:
                self._cases.clear()
            found = self._cases[case] = max_min_rates(component, self.capacities)
        return found

    def _rate_of_only(self, bundle: Bundle) -> float:
        """Return the max-min rate of transfers that share their links with none of another bundle."""
        if bundle.count == 1:
            return bundle.solo
        self.solves += 1
        shares = [self.capacities[k] / (bundle.count * w) for k, w in zip(bundle.links, bundle.weights, strict=True)]
        return min(bundle.cap, min(shares, default=inf))

    def _arm(self, component: list[Bundle]) -> None:
        """Give the bundles one completion event, and those left over from their old ones another."""
        orphans: dict[Bundle, None] = {}
        for bundle in component:
            old = bundle.wakeup
            if old is not None and old.pending:
                old.pending = False
                orphans.update(dict.fromkeys(old.bundles))
        self._wake_when_done(component)
        inside = set(component)
        left = [bundle for bundle in orphans if bundle not in inside and bundle.count]
        if left:
            self._wake_when_done(left)

    def _wake_when_done(self, bundles: list[Bundle]) -> None:
        now = self.env.now
        earliest = max(min(bundle.finish_time() for bundle in bundles), now)
        self._wake(Wakeup(self, bundles), earliest - now)

    def _wake(self, wakeup: Wakeup, delay_s: float) -> None:
        for bundle in wakeup.bundles:
            bundle.wakeup = wakeup
        self.env.schedule(cast(simpy.Event, wakeup), NORMAL, delay_s)

    def _complete(self, wakeup: Wakeup) -> None:
        wakeup.pending = False
        if len(wakeup.bundles) == 1 and self._completed_alone(wakeup.bundles[0]):
            return
        now = self.env.now
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

    def _completed_alone(self, bundle: Bundle) -> bool:
        """End the one transfer of a bundle that shares no contended link; False if that is not what it is."""
        if bundle.count != 1 or bundle.alone_until != self.env.now:
            return False
        demand, most = self._demand, self._most
        for link, _ in bundle.loads:
            if demand[link] > most[link]:
                return False
        _, _, payload_bytes, done = bundle.tags.pop()
        bundle.carried += payload_bytes
        bundle.wakeup = None
        self._clear(bundle, 1)
        done()
        return True

    def _leave(self, bundle: Bundle, ended: int, affected: dict[Bundle, None]) -> None:
        """Take ended transfers off the links; those on contended links are affected."""
        for link in bundle.links:
            if self._contended(link):
                affected.update(self._on_link[link])
        self._clear(bundle, ended)

    def _clear(self, bundle: Bundle, ended: int) -> None:
        bundle.count -= ended
        for link, load in bundle.loads:
            self._demand[link] -= ended * load
            if not bundle.count:
                users = self._on_link[link]
                del users[bundle]
                if not users:
                    self._demand[link] = 0.0


def _succeed(event: simpy.Event) -> None:
    event.succeed()
