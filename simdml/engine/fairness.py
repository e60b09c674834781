"""Weighted max-min fair rates by progressive filling.

Every bundle of ``count`` equal transfers progresses at rate x; on each link it uses it takes ``count * weight * x``.
Rates rise together until a link is full or a bundle reaches its own cap; those freeze and the rest go on (Bertsekas and
Gallager, Data Networks, section 6.5.2, with weights on the links and fairness on progress). The result carries the
max-min certificate: every bundle is at its cap or uses a full link on which no bundle is faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, inf
from typing import Final, Protocol

TOLERANCE: Final = 1e-12
"""Links whose fair shares agree to this relative difference saturate together."""


class Sharing(Protocol):
    """What the solver reads of a bundle."""

    count: int
    links: tuple[int, ...]
    weights: tuple[float, ...]
    cap: float


Loads = list[tuple[int, float]]


def max_min_rates(bundles: Sequence[Sharing], capacity: Mapping[int, float] | Sequence[float]) -> list[float]:
    """Return the rate of each bundle's transfers, in payload bytes/s.

    A link that only one bundle uses is a cap of that bundle. Sums use ``fsum``, so the result does not depend on the
    order of bundles or links.
    """
    caps, shared = _constraints(bundles, capacity)
    links_of: list[list[int]] = [[] for _ in bundles]
    for link, users in shared.items():
        for index, _ in users:
            links_of[index].append(link)
    rates: list[float | None] = [None] * len(bundles)
    shares = {link: capacity[link] / fsum(load for _, load in users) for link, users in shared.items()}
    waiting = set(range(len(bundles)))
    while waiting:
        level = min(shares.values(), default=inf)
        frozen = [index for index in waiting if caps[index] <= level]
        if frozen:
            for index in frozen:
                rates[index] = caps[index]
        else:
            limit = level * (1 + TOLERANCE)
            full = (link for link, share in shares.items() if share <= limit)
            frozen = list({index for link in full for index, _ in shared[link] if rates[index] is None})
            for index in frozen:
                rates[index] = level
        waiting.difference_update(frozen)
        for link in {link for index in frozen for link in links_of[index]}:
            share = _fair_share(shared[link], rates, capacity[link])
            if share is None:
                del shares[link]
            else:
                shares[link] = share
    return [inf if rate is None else rate for rate in rates]


def _constraints(
    bundles: Sequence[Sharing], capacity: Mapping[int, float] | Sequence[float]
) -> tuple[list[float], dict[int, Loads]]:
    """Return the cap of each bundle alone, and the loads on links that bundles at their caps would fill."""
    loads: dict[int, Loads] = {}
    for index, bundle in enumerate(bundles):
        count = bundle.count
        for link, weight in zip(bundle.links, bundle.weights, strict=True):
            users = loads.get(link)
            if users is None:
                loads[link] = [(index, count * weight)]
            else:
                users.append((index, count * weight))
    caps = [bundle.cap for bundle in bundles]
    for link, users in loads.items():
        if len(users) == 1:
            index, load = users[0]
            caps[index] = min(caps[index], capacity[link] / load)
    shared = {
        link: users
        for link, users in loads.items()
        if len(users) > 1 and not fsum(load * caps[index] for index, load in users) <= capacity[link]
    }
    return caps, shared


def _fair_share(users: Loads, rates: Sequence[float | None], capacity: float) -> float | None:
    """Return what is left of a link for each unit of load still growing, None if nothing is."""
    growing = fsum(load for index, load in users if rates[index] is None)
    if not growing:
        return None
    used = fsum(load * rate for index, load in users if (rate := rates[index]) is not None)
    return max(capacity - used, 0.0) / growing
