"""How much is asked of the links that could be asked for too much.

All transfers of a bundle together take no more of a link than the bundle could if it were alone. As long as all
bundles of a link could have that at once, the link limits nobody and nothing about it has to be counted. The others
are crowded: what is asked of them is counted transfer by transfer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter

from simdml.engine.bundles import MOST, Bundle

_CROWDED = attrgetter("crowded")


class Crowding:
    """Demand on crowded links, in parts of ``FULL``, and who is on them."""

    def __init__(self, num_links: int) -> None:
        self._demand = [0] * num_links
        self._whole = [0] * num_links
        self._bundles: list[list[Bundle]] = [[] for _ in range(num_links)]
        self._listed: list[dict[Bundle, None]] = [{} for _ in range(num_links)]

    def add(self, bundle: Bundle) -> None:
        """Take account of a bundle before its first transfer."""
        crowded: dict[Bundle, list[int]] = {}
        for link, whole in bundle.whole_loads:
            self._bundles[link].append(bundle)
            before = self._whole[link]
            self._whole[link] = before + whole
            if before + whole > MOST:
                for each in self._bundles[link] if before <= MOST else (bundle,):
                    crowded.setdefault(each, []).append(link)
        for each, links in crowded.items():
            self._count(each, links)

    def _count(self, bundle: Bundle, links: Sequence[int]) -> None:
        """Count from now on what ``bundle`` asks of ``links``."""
        new = [link for link in links if link not in bundle.crowded]
        if new:
            bundle.count_on((*bundle.crowded, *new))
            bundle.listed = False
        if bundle.count:
            self._list(bundle)
            for number in range(1, bundle.count + 1):
                for on, load in bundle.added(number):
                    if on in links:
                        self._demand[on] += load

    def fits(self, bundle: Bundle) -> bool:
        """Whether crowded links have room for another transfer of ``bundle`` at the rate it would have alone."""
        demand = self._demand
        for link, load in bundle.asked:  # noqa: SIM110 - a generator takes twice as long, and transfers come here
            if demand[link] + load > MOST:
                return False
        return True

    def enter(self, bundle: Bundle) -> None:
        """Count another transfer of ``bundle``."""
        bundle.count += 1
        if bundle.crowded:
            if not bundle.listed:
                self._list(bundle)
            for link, load in bundle.added(bundle.count):
                self._demand[link] += load

    def leave(self, bundle: Bundle) -> None:
        """Count one transfer of ``bundle`` less."""
        for link, load in bundle.added(bundle.count):
            self._demand[link] -= load
        bundle.count -= 1

    def contended(self, link: int) -> bool:
        """Whether more is asked of ``link`` than it has."""
        return self._demand[link] > MOST

    def idle(self, links: Iterable[int]) -> bool:
        """Whether nothing is asked of ``links``."""
        demand = self._demand
        for link in links:  # noqa: SIM110 - a generator takes twice as long, and transfers come here
            if demand[link]:
                return False
        return True

    def idle_for_all(self, bundles: Sequence[Bundle]) -> bool:
        """Whether nothing is asked of the links of ``bundles``."""
        crowded = chain.from_iterable(map(_CROWDED, bundles))
        return not any(map(self._demand.__getitem__, crowded))

    def full_links(self, bundle: Bundle) -> list[int]:
        """Return the links that are not contended, but would be with another transfer of ``bundle``."""
        demand = self._demand
        return [link for link, load in bundle.asked if demand[link] <= MOST < demand[link] + load]

    def users(self, link: int) -> list[Bundle]:
        """Return the bundles that have transfers on a crowded link."""
        listed = self._listed[link]
        users = [bundle for bundle in listed if bundle.count]
        if 2 * len(users) < len(listed):
            for bundle in listed:
                bundle.listed = bundle.count > 0
            self._listed[link] = dict.fromkeys(users)
        return users

    def _list(self, bundle: Bundle) -> None:
        """Add a bundle to those of its links; it stays until somebody looks for users and finds it idle."""
        bundle.listed = True
        for link in bundle.crowded:
            self._listed[link][bundle] = None

    def on(self, links: Iterable[int]) -> list[Bundle]:
        """Return the bundles registered on any of ``links``."""
        return list(dict.fromkeys(bundle for link in links for bundle in self._bundles[link]))

    def appraise(self, bundles: Sequence[Bundle], capacities: Sequence[float]) -> None:
        """Work out anew what ``bundles``, and those beside them, ask of their links, whose capacities have changed."""
        for bundle in bundles:
            bundle.appraise(capacities)
        for link in dict.fromkeys(link for bundle in bundles for link in bundle.links):
            self._whole[link] = sum(load for each in self._bundles[link] for on, load in each.whole_loads if on == link)
            self._demand[link] = 0
            for each in self._bundles[link]:
                if self._whole[link] > MOST or link in each.crowded:
                    self._count(each, (link,))
