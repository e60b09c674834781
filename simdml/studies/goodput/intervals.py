"""Closed forms of checkpointing under exponential failures: how often, and what it costs.

``mtbf_s`` is that of the whole job, ``stall_s`` what training waits for a checkpoint, ``write_s`` how long it is in the
making beside training before it can be relied on (0 for synchronous ones, whose stall is the whole write).
"""

from __future__ import annotations

from math import exp, expm1, inf, sqrt
from typing import Final

_NEWTON_STEPS: Final = 60


def young(stall_s: float, mtbf_s: float) -> float:
    """Return the training time between checkpoints that loses least: sqrt(2 w M), to first order.

    Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974; for w much below M.
    """
    return sqrt(2 * stall_s * mtbf_s)


def daly(stall_s: float, mtbf_s: float) -> float:
    """Return the same to higher order; M where checkpoints take longer than 2 M.

    Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22(3), 2006, equation 37.
    """
    if stall_s >= 2 * mtbf_s:
        return mtbf_s
    root = sqrt(stall_s / (2 * mtbf_s))
    return young(stall_s, mtbf_s) * (1 + root / 3 + root * root / 9) - stall_s


def optimal(stall_s: float, mtbf_s: float) -> float:
    """Return the training time between checkpoints that minimises :func:`slowdown`, refined from Daly's estimate.

    Its derivative vanishes where (1 - u) exp(u + d) = 1 with u = interval / M and d = stall / M (Daly 2006;
    the solution is Lambert's W); detection, restart and the time of writing beside training do not matter.
    """
    if not stall_s or mtbf_s == inf:
        return 0.0 if not stall_s else inf
    d = stall_s / mtbf_s
    low, high = 0.0, 1.0
    u = min(max(daly(stall_s, mtbf_s) / mtbf_s, 1e-12), 1 - 1e-12)
    for _ in range(_NEWTON_STEPS):
        residual = (1 - u) - exp(-u - d)
        if residual > 0:
            low = u
        else:
            high = u
        step = u - residual / (exp(-u - d) - 1)
        u = step if low < step < high else (low + high) / 2
    return u * mtbf_s


def slowdown(
    interval_s: float,
    stall_s: float,
    mtbf_s: float,
    *,
    write_s: float = 0.0,
    detection_s: float = 0.0,
    restart_s: float = 0.0,
) -> float:
    """Return the mean wall time of a second of training, long after the beginning.

    With a = interval + stall, D detection, R restart and w writing beside training, it is
    (M + D) exp(R / M) exp(w / M) (exp(a / M) - 1) / interval. With D = w = 0 that is Daly's complete solution (2006):
    failures also strike during restarts and checkpoints. Between two restarts that came through pass
    (M + D) exp(R / M) seconds on average, and of the checkpoints begun in the exponential time between failures the
    one at time j a can be relied on if no failure came before j a + w, so that they keep
    interval exp(-w / M) / (exp(a / M) - 1).
    """
    if mtbf_s == inf:
        return (interval_s + stall_s) / interval_s if interval_s != inf else 1.0
    cycle_s = interval_s + stall_s
    between_s = (mtbf_s + detection_s) * exp(restart_s / mtbf_s)
    return between_s * exp(write_s / mtbf_s) * expm1(cycle_s / mtbf_s) / interval_s


def expected_wall_s(
    segments_s: list[float], mtbf_s: float, *, detection_s: float = 0.0, restart_s: float = 0.0
) -> float:
    """Return the mean time to get through segments one after the other, each of which is begun again after a failure.

    The sum of (M + D) exp(R / M) (exp(a / M) - 1) over segments of length a, checkpoint included (Daly 2006, without
    its equal segments).
    """
    if mtbf_s == inf:
        return sum(segments_s)
    between_s = (mtbf_s + detection_s) * exp(restart_s / mtbf_s)
    return between_s * sum(expm1(segment / mtbf_s) for segment in segments_s)


def expected_ettr(nodes: int, rate_per_node_s: float, restart_s: float, interval_s: float, write_s: float) -> float:
    """Return the effective training time ratio (1 - N r (u0 + interval / 2)) / (1 + w / interval), to first order.

    Kokolis et al., HPCA 2025 (arXiv 2410.21680): N nodes that fail ``rate_per_node_s`` times a second, u0 from failure
    to training again, synchronous checkpoints. It holds where a failure is rare within interval and u0.
    """
    return (1 - nodes * rate_per_node_s * (restart_s + interval_s / 2)) / (1 + write_s / interval_s)
