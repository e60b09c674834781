"""The fluid network: coupled transfers that share links max-min fairly.

A transfer puts ``weight`` bytes on each link it uses per byte of payload and progresses at one rate; those that load
the network alike form a bundle. A link is contended while the bundles on it could take more than it has, each at the
rate it would have alone. A transfer that meets no contended link, and no limit of its own bundle, is booked: it has one
entry on the heap, for its end. What does not fit shares; when something starts or ends on a contended link, the
component of bundles joined by contended links is solved again, once a timestamp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from operator import attrgetter
from typing import Final

import simpy

from simdml.engine.abreast import Abreast, Owner, UnderWay
from simdml.engine.bundles import Bundle, Flow, transfer_s
from simdml.engine.clock import quantize
from simdml.engine.crowding import Crowding
from simdml.engine.environment import Priority, SimEnvironment
from simdml.engine.fairness import max_min_rates
from simdml.engine.reservations import Reservations
from simdml.engine.transfers import Booking, Callbacks, Departure, Wakeup

CASES_KEPT: Final = 2**16
"""Solutions that are remembered, by which bundles share links and how many transfers each has."""


class Network:
    """Links with capacities (bytes/s) and the transfers on them.

    ``solves`` counts solver calls and ``started`` transfers; both are what the tests pin. ``ahead`` says that some of
    those who send may run ahead of the clock: only then reservations are worth their while.
    """

    def __init__(self, env: SimEnvironment, capacities: Sequence[float]) -> None:
        self.env = env
        self.capacities = list(capacities)
        self.solves = 0
        self.started = 0
        self.ahead = True
        self._as_built = True
        self._bundles: dict[Flow, Bundle] = {}
        self._crowding = Crowding(len(self.capacities))
        self._reservations = Reservations(len(self.capacities))
        self._when_departing: Callbacks = [self._departed]
        self._when_departing_ahead: Callbacks = [self._departed_ahead]
        self._when_ending: Callbacks = [self._ended]
        self._when_done: Callbacks = [self._woken]
        self._when_arriving: Callbacks = [_arrived]
        self._dirty: dict[Bundle, None] = {}
        self._cases: dict[tuple[tuple[int, int], ...], list[float]] = {}

    def bundle(self, flow: Flow) -> Bundle:
        """Return the bundle that carries transfers of ``flow``."""
        found = self._bundles.get(flow)
        if found is None:
            found = self._bundles[flow] = Bundle(flow, self.capacities)
            self._crowding.add(found)
        return found

    def send(self, bundle: Bundle, payload_bytes: float, latency_s: float, done: Callable[[], None]) -> None:
        """Move ``payload_bytes`` after ``latency_s`` (on the tick), then call ``done``."""
        self.started += 1
        if self._reservations.num or self._reservations.rows.num:
            self._give_way(bundle)
        if payload_bytes <= 0 or not bundle.links:
            free_s = transfer_s(payload_bytes, bundle.cap) if payload_bytes > 0 and bundle.cap < inf else 0.0
            bundle.carried += payload_bytes
            self.env.call_in(latency_s + free_s, done)
        elif self._booked(bundle, payload_bytes, latency_s, done):
            return
        elif latency_s > 0:
            self._put_off(bundle, payload_bytes, latency_s, done)
        else:
            self._depart(bundle, payload_bytes, done)

    def send_at(self, bundle: Bundle, payload_bytes: float, begins: float, done: Callable[[], None]) -> None:
        """Begin to move ``payload_bytes`` at ``begins``, now or later, and call ``done`` when it is through."""
        if not self.ahead:
            self.send(bundle, payload_bytes, begins - self.env.now, done)
            return
        self.started += 1
        assert begins >= self.env.now, "a transfer begins in the past"
        if not self._reserve(bundle, payload_bytes, begins, done):
            self._depart_at(begins, bundle, payload_bytes, done)

    def row(self, links: Sequence[int]) -> dict[UnderWay, int] | None:
        """Return the row that ``links`` make where transfers are abreast, None if some of them are of another."""
        return self._reservations.rows.row(links)

    def send_abreast(self, transfers: Abreast, begins: Sequence[float], owner: Owner) -> UnderWay | None:
        """Begin transfers abreast, now or later, if nothing is in their way; return what is under way then.

        They are worked out beforehand, so none go abreast once a capacity was changed.
        """
        bundles = transfers.bundles
        if not self._as_built or any(map(_COUNT, bundles)) or not self._crowding.idle_for_all(bundles):
            return None
        those = UnderWay(self._when_arriving, transfers, begins, owner)
        assert those.first >= self.env.now, "a transfer begins in the past"
        if not self._reservations.fit_abreast(those):
            return None
        self._reservations.rows.add(those)
        self.env.put_at(those, those.last)
        return those

    def arrive(self, those: UnderWay) -> None:
        """Take transfers abreast off their links: all are through."""
        self._reservations.rows.remove(those)
        self.started += len(those.begins)
        for bundle in those.transfers.bundles:
            bundle.carried += those.transfers.payload_bytes

    def part(self, those: UnderWay, dones: Sequence[Callable[[], None]]) -> frozenset[int]:
        """Let transfers abreast go on one by one and call ``dones``; return the numbers of those not through before."""
        self._reservations.rows.remove(those)
        self.started += len(those.begins)
        now, payload_bytes, left = self.env.now, those.transfers.payload_bytes, []
        for number, (bundle, end) in enumerate(zip(those.transfers.bundles, those.ends, strict=True)):
            if end < now:
                bundle.carried += payload_bytes
                continue
            left.append(number)
            booking = Booking(self._when_ending, bundle, payload_bytes, those.begins[number], dones[number])
            self._reservations.add(booking, end)
            self.env.put_at(booking, end)
        return frozenset(left)

    def transfer(self, flow: Flow, payload_bytes: float, latency_s: float = 0.0) -> simpy.Event:
        """Return a SimPy event that succeeds when the payload is through, for use in processes."""
        event = simpy.Event(self.env)
        self.send(self.bundle(flow), payload_bytes, quantize(latency_s), lambda: _succeed(event))
        return event

    def set_capacity(self, link: int, bytes_per_s: float) -> None:
        """Change a link's capacity from now on."""
        self.capacities[link] = bytes_per_s
        self._as_built = False
        self._cases.clear()
        changed = self._crowding.on([link])
        for bundle in changed:
            self._give_way(bundle)
        touched = dict.fromkeys(link for bundle in changed for link in bundle.links)
        users = [bundle for bundle in self._crowding.on(touched) if bundle.count]
        for user in users:
            self._recall(user)
            self._share_from_now(user)
        self._crowding.appraise(changed, self.capacities)
        self._mark(user for user in users if user.tags)

    def link_bytes(self) -> list[float]:
        """Return the bytes every link has carried for finished transfers."""
        total = [0.0] * len(self.capacities)
        for bundle in self._bundles.values():
            for link, weight in zip(bundle.links, bundle.weights, strict=True):
                total[link] += bundle.carried * weight
        return total

    def active(self) -> list[Bundle]:
        """Return the bundles with transfers under way or booked."""
        return [bundle for bundle in self._bundles.values() if bundle.count]

    def unsettled(self) -> list[Bundle]:
        """Return the bundles whose rates are to be worked out anew, at the end of this moment."""
        return list(self._dirty)

    def clear(self) -> None:
        """Forget what is under way, and with it who waits for it; nothing more is to happen."""
        for bundle in self._bundles.values():
            bundle.booked.clear()
            bundle.tags.clear()
            bundle.wakeup = None
        self._reservations.clear()
        self._dirty.clear()
        ways = (
            self._when_departing,
            self._when_departing_ahead,
            self._when_ending,
            self._when_done,
            self._when_arriving,
        )
        for callbacks in ways:
            callbacks.clear()

    def _departed(self, departure: Departure) -> None:
        self._depart(departure.bundle, departure.payload_bytes, departure.done)

    def _depart(self, bundle: Bundle, payload_bytes: float, done: Callable[[], None]) -> None:
        """Begin to move a payload now."""
        if self._booked(bundle, payload_bytes, 0.0, done):
            return
        if not self._make_room(bundle) or not self._booked(bundle, payload_bytes, 0.0, done):
            self._share(bundle, payload_bytes, done)

    def _booked(self, bundle: Bundle, payload_bytes: float, latency_s: float, done: Callable[[], None]) -> bool:
        """Book a transfer if it finds room at the rate it would have alone, else return False."""
        if bundle.count >= bundle.most_solo:
            return False
        if bundle.asked:
            if not self._crowding.fits(bundle):
                return False
            self._crowding.enter(bundle)
        else:
            bundle.count += 1
        env = self.env
        begins = env.now + latency_s
        booking = Booking(self._when_ending, bundle, payload_bytes, begins, done)
        bundle.booked[booking] = None
        _, solo_s = bundle.solo_times.get(payload_bytes) or bundle.time_alone(payload_bytes)
        env.put_at(booking, begins + solo_s)
        return True

    def _ended(self, booking: Booking) -> None:
        """A booked transfer is through, unless it was given up; it was in nobody's way."""
        if booking.pending:
            bundle = booking.bundle
            if booking.reserved:
                self._reservations.remove(booking)
                booking.pending = False
            elif bundle.asked:
                self._give_up(booking)
            else:
                booking.pending = False
                del bundle.booked[booking]
                bundle.count -= 1
            bundle.carried += booking.payload_bytes
            booking.done()

    def _departed_ahead(self, departure: Departure) -> None:
        bundle, payload_bytes, done = departure.bundle, departure.payload_bytes, departure.done
        if not self._reserve(bundle, payload_bytes, self.env.now, done):
            self._give_way(bundle)
            self._depart(bundle, payload_bytes, done)

    def _reserve(self, bundle: Bundle, payload_bytes: float, begins: float, done: Callable[[], None]) -> bool:
        """Reserve the links of a transfer, if nobody is there without a reservation and there is room."""
        if bundle.count or not self._crowding.idle(bundle.crowded):
            return False
        _, solo_s = bundle.solo_times.get(payload_bytes) or bundle.time_alone(payload_bytes)
        if not self._reservations.fit(bundle, begins, begins + solo_s):
            return False
        booking = Booking(self._when_ending, bundle, payload_bytes, begins, done)
        self._reservations.add(booking, begins + solo_s)
        self.env.put_at(booking, begins + solo_s)
        return True

    def _depart_at(self, begins: float, bundle: Bundle, payload_bytes: float, done: Callable[[], None]) -> None:
        departure = Departure(self._when_departing_ahead, bundle, payload_bytes, done)
        self.env.put_at(departure, begins)

    def _give_way(self, bundle: Bundle) -> None:
        """Give up what is reserved on the links of ``bundle``, and of all that has begun there and counts from now on.

        How long others will take is no longer certain where a transfer comes that has no reservation.
        """
        now, links = self.env.now, list(bundle.links)
        while links:
            for those in self._reservations.rows.on(links):
                those.owner.part()
            reserved = self._reservations.on(links)
            links = []
            for booking in reserved:
                self._reservations.remove(booking)
                if booking.begins <= now:
                    booking.bundle.booked[booking] = None
                    self._crowding.enter(booking.bundle)
                    links += booking.bundle.links
                else:
                    booking.pending = False
                    self._depart_at(booking.begins, booking.bundle, booking.payload_bytes, booking.done)

    def _give_up(self, booking: Booking) -> None:
        """Take a booked transfer off its links."""
        booking.pending = False
        bundle = booking.bundle
        del bundle.booked[booking]
        if bundle.asked:
            self._crowding.leave(bundle)
        else:
            bundle.count -= 1

    def _put_off(self, bundle: Bundle, payload_bytes: float, latency_s: float, done: Callable[[], None]) -> None:
        departure = Departure(self._when_departing, bundle, payload_bytes, done)
        self.env.put_at(departure, self.env.now + latency_s)

    def _make_room(self, bundle: Bundle) -> bool:
        """Give up bookings that have not begun where they keep another transfer of ``bundle`` from beginning.

        Returns whether there were any.
        """
        if not bundle.asked:
            return self._recall(bundle)
        users = {bundle: None}
        for link in self._crowding.full_links(bundle):
            users.update(dict.fromkeys(self._crowding.users(link)))
        recalled = [self._recall(user) for user in users]
        return any(recalled)

    def _recall(self, bundle: Bundle) -> bool:
        """Make departures of the bookings that have not begun; return whether there were any."""
        now = self.env.now
        ahead = [booking for booking in bundle.booked if booking.begins > now]
        for booking in ahead:
            self._give_up(booking)
            self._put_off(bundle, booking.payload_bytes, booking.begins - now, booking.done)
        return bool(ahead)

    def _share_from_now(self, bundle: Bundle) -> None:
        """Give tags to all that is booked, and has begun."""
        now = self.env.now
        for booking in bundle.booked:
            booking.pending = False
            bundle.tag(booking.begins, now, booking.payload_bytes, booking.done)
        bundle.booked.clear()

    def _share(self, bundle: Bundle, payload_bytes: float, done: Callable[[], None]) -> None:
        """Begin a transfer that does not fit beside the others, which share with it from now on."""
        now = self.env.now
        self._share_from_now(bundle)
        bundle.tag(now, now, payload_bytes, done)
        self._crowding.enter(bundle)
        contended = False
        for link in bundle.crowded:
            if self._crowding.contended(link):
                contended = True
                for user in self._crowding.users(link):
                    if user.booked:
                        self._share_from_now(user)
        if contended:
            self._mark([bundle])
        else:
            bundle.set_rate(bundle.rate_alone(self.capacities), now)
            self._arm([bundle])

    def _mark(self, bundles: Iterable[Bundle]) -> None:
        pending = bool(self._dirty)
        self._dirty.update(dict.fromkeys(bundles))
        if self._dirty and not pending:
            self.env.call_in(0.0, self._settle, Priority.SETTLE)

    def _settle(self) -> None:
        dirty, self._dirty = self._dirty, {}
        seen: set[Bundle] = set()
        for bundle in dirty:
            if bundle.tags and bundle not in seen:
                component = self._component(bundle)
                seen.update(component)
                self._solve(component)

    def _component(self, bundle: Bundle) -> list[Bundle]:
        found, frontier, seen = {bundle: None}, [bundle], set()
        while frontier:
            for link in frontier.pop().crowded:
                if link not in seen and self._crowding.contended(link):
                    seen.add(link)
                    for other in self._crowding.users(link):
                        if other not in found:
                            found[other] = None
                            frontier.append(other)
        return list(found)

    def _solve(self, component: list[Bundle]) -> None:
        now = self.env.now
        if len(component) == 1:
            component[0].set_rate(component[0].rate_alone(self.capacities), now)
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

    def _arm(self, component: list[Bundle]) -> None:
        """Give the bundles one completion event, and those left over from their old ones another."""
        if len(component) == 1:
            old = component[0].wakeup
            if old is None or len(old.bundles) == 1:
                if old is not None:
                    old.pending = False
                self._wake_when_done(component)
                return
        orphans: dict[Bundle, None] = {}
        for bundle in component:
            old = bundle.wakeup
            if old is not None and old.pending:
                old.pending = False
                if len(old.bundles) > 1:
                    orphans.update(dict.fromkeys(old.bundles))
        self._wake_when_done(component)
        if orphans:
            inside = set(component)
            left = [bundle for bundle in orphans if bundle not in inside and bundle.tags]
            if left:
                self._wake_when_done(left)

    def _wake_when_done(self, bundles: list[Bundle]) -> None:
        wakeup = Wakeup(self._when_done, bundles)
        if len(bundles) == 1:
            bundles[0].wakeup = wakeup
            earliest = bundles[0].finish_time()
        else:
            earliest = min([bundle.finish_time() for bundle in bundles])
            for bundle in bundles:
                bundle.wakeup = wakeup
        now = self.env.now
        self.env.put_at(wakeup, earliest if earliest > now else now)

    def _woken(self, wakeup: Wakeup) -> None:
        """End the transfers of the bundles of ``wakeup`` that are through."""
        if not wakeup.pending:
            return
        wakeup.pending = False
        if len(wakeup.bundles) == 1 and not wakeup.bundles[0].crowded:
            self._woken_alone(wakeup.bundles)
            return
        now = self.env.now
        finished: list[Callable[[], None]] = []
        remaining: list[Bundle] = []
        affected: dict[Bundle, None] = {}
        for bundle in wakeup.bundles:
            ended = bundle.finish(now, finished)
            if ended and not self._leave(bundle, ended, affected) and bundle.tags:
                bundle.set_rate(bundle.rate_alone(self.capacities), now)
            if bundle.tags:
                remaining.append(bundle)
            else:
                bundle.wakeup = None
        unaffected = [bundle for bundle in remaining if bundle not in affected] if affected else remaining
        if unaffected:
            self._wake_when_done(unaffected)
        if affected:
            for bundle in affected:
                if bundle.wakeup is wakeup:
                    bundle.wakeup = None
            self._mark(bundle for bundle in affected if bundle.tags)
        for done in finished:
            done()

    def _woken_alone(self, bundles: list[Bundle]) -> None:
        """End the transfers of the only one of ``bundles`` that are through; nobody else is on its links."""
        [bundle] = bundles
        finished: list[Callable[[], None]] = []
        now = self.env.now
        bundle.count -= bundle.finish(now, finished)
        if bundle.tags:
            bundle.set_rate(bundle.rate_alone(self.capacities), now)
            self._wake_when_done(bundles)
        else:
            bundle.wakeup = None
        for done in finished:
            done()

    def _leave(self, bundle: Bundle, ended: int, affected: dict[Bundle, None]) -> bool:
        """Take ended transfers off the links; those on contended links are affected. Return whether there are any."""
        contended = False
        for link in bundle.crowded:
            if self._crowding.contended(link):
                contended = True
                affected.update(dict.fromkeys(self._crowding.users(link)))
        for _ in range(ended):
            self._crowding.leave(bundle)
        return contended


_COUNT = attrgetter("count")


def _arrived(those: UnderWay) -> None:
    if those.pending:
        those.owner.arrived()


def _succeed(event: simpy.Event) -> None:
    event.succeed()
