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

SYSTEMS = (DOWNPOUR,)
