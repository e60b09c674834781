"""DistBelief: model replicas of several machines over a sharded parameter server (Dean et al., NIPS 2012)."""

from __future__ import annotations

from simdml.strategies.parameter_server.systems.system import Limit, System
from simdml.strategies.strategy import Strategy

DOWNPOUR = System(
    Strategy(
        "downpour",
        "DistBelief: Downpour SGD",
        "asynchronous: every replica fetches each n_fetch steps and pushes what it added up each n_push steps",
        models=(
            "Each shard holds 1/S of the parameters; all that a shard holds goes in one message.",
            "model_parallel GPUs hold one replica and talk to servers about their own part alone.",
            "pull_every is n_fetch and push_every n_push, 1 in the paper; between fetches a replica updates its copy.",
        ),
        leaves_out=("Fetching and pushing in threads of their own while computing; warm starts.",),
        sources=("Dean et al., NIPS 2012, section 4.1 and algorithm 7.1",),
        defaults={
            "consistency": "asynchronous",
            "placement": "sharded",
            "messages": "model",
            "overlap": False,
            "fetch": "at_start",
            "push_every": 1,
            "pull_every": 1,
            "model_parallel": 1,
        },
    ),
    limits={"consistency": Limit(("asynchronous",), "Downpour SGD is asynchronous", "parameter_server")},
)

SANDBLASTER = System(
    Strategy(
        "sandblaster_lbfgs",
        "DistBelief: Sandblaster L-BFGS",
        "synchronous batches: a coordinator hands out portions of work, and commands the shards that hold all vectors",
        models=(
            "Micro-batches (training.microbatch samples) are portions, taken on demand; near the end of a batch those "
            "that others are slow with are done again, and the first result counts.",
            "Parameters are fetched once a batch; gradients are sent every send_every portions.",
            "An L-BFGS update over lbfgs_history pairs of vectors (10, a usual number): dot products, scalings and "
            "additions inside the shards, each a command of the coordinator.",
        ),
        leaves_out=(
            "The line search beyond one gradient a batch; model-parallel replicas; prefetching of data.",
            "In the table of links, what is sent before a batch's last portion.",
        ),
        sources=("Dean et al., NIPS 2012, section 4.2 and algorithm 7.2",),
        defaults={
            "consistency": "bsp",
            "placement": "sharded",
            "messages": "model",
            "overlap": False,
            "fetch": "at_start",
            "portions": "shared",
            "send_every": 4,
            "duplicate_stragglers": True,
            "lbfgs_history": 10,
        },
    ),
    limits={
        "consistency": Limit(("bsp",), "a batch of L-BFGS is synchronous", "downpour"),
        "portions": Limit(("shared",), "Sandblaster's coordinator hands out portions", "parameter_server"),
    },
)
