"""Closed forms of a queue before ``servers`` alike, exponential arrivals and service: M/M/c.

Erlang 1917; Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory, section 3.3.
"""

from __future__ import annotations

from math import inf, log


def erlang_c(servers: int, load: float) -> float:
    """Return the share of arrivals that wait; ``load`` is arrival rate times mean service, below ``servers``.

    By the recursion of Erlang B: B(0) = 1, B(c) = a B(c-1) / (c + a B(c-1)); C = c B / (c - a (1 - B)).
    """
    if load >= servers:
        return 1.0
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


def mean_wait_s(servers: int, arrivals_per_s: float, service_s: float) -> float:
    """Return the mean wait, of those that do not wait too."""
    load = arrivals_per_s * service_s
    return inf if load >= servers else erlang_c(servers, load) * service_s / (servers - load)


def wait_quantile_s(share: float, servers: int, arrivals_per_s: float, service_s: float) -> float:
    """Return what so large a share of arrivals waits at most: P(W > t) = C exp(-(c - a) t / service)."""
    load = arrivals_per_s * service_s
    if load >= servers:
        return inf
    waiting = erlang_c(servers, load)
    return max(log(waiting / (1 - share)), 0.0) * service_s / (servers - load) if share < 1 else inf
