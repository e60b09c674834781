"""What an L-BFGS update costs on shards that hold all vectors, commanded by a coordinator.

Sandblaster's coordinator sends shards small commands (dot product, scaling, addition) and adds up the numbers that come
back, so no vector travels (Dean et al., NIPS 2012, section 4.2). The two-loop recursion over m pairs of vectors
(Nocedal and Wright, Numerical Optimization, algorithm 7.4) takes 2 m dot products and 2 m additions of a scaled vector,
one scaling, the two differences that make a new pair, and the step itself: 4 m + 4 commands. A dot product reads two
vectors, an addition reads two and writes one, a scaling reads and writes one: 10 m + 11 vectors moved. Evaluations of
the line search beyond one gradient a step are left out.
"""

from __future__ import annotations


def vectors_moved(history: int) -> int:
    """Return how many vectors of the size of the parameters an update with ``history`` pairs reads and writes."""
    recursion = 2 * history * (2 + 3) + 2
    new_pair_and_step = 3 * 3
    return recursion + new_pair_and_step


def commands(history: int) -> int:
    """Return how many commands an update with ``history`` pairs takes."""
    return 4 * history + 4
