"""Every strategy by name, with the system it stands for; a new one is one line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.layer_strategies import LAYER_STRATEGIES
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS
from simdml.strategies.schedules import SCHEDULES
from simdml.strategies.strategy import Strategy

PLACEMENT = Strategy(
    "layer_placement",
    "PyTorch's model parallel tutorial; DistBelief's model replicas",
    "one model over the GPUs, layer after layer, one GPU working at a time",
    models=("Stages of equal FLOPs, of equal numbers of blocks, or cut by hand; one micro-batch a step.",),
    sources=("pytorch/tutorials, intermediate_source/model_parallel_tutorial.rst; Dean et al., NIPS 2012",),
)

SERVERS = Strategy(
    "parameter_server",
    "ps-lite, MXNet, TensorFlow",
    "parameters sharded over servers, which sum the workers' gradients",
    models=(
        "Synchronous, asynchronous, stale synchronous, bounded delay, backup workers; on machines of their own, beside "
        "workers, or both.",
        "Tensors cut, and placed in turn, by size, or by the systems' hashes; summing in a node first; priorities and "
        "credit; compression; updates on servers or workers; threads and locks of a server.",
        "How stale gradients are, how busy servers are, and who waits for whom.",
    ),
    sources=("Li et al., OSDI 2014; dmlc/ps-lite; apache/mxnet, src/kvstore",),
)


def strategies() -> Mapping[str, Strategy]:
    """Return every strategy by name."""
    return {strategy.name: strategy for strategy in _all()}


def _all() -> Iterator[Strategy]:
    for kind in KINDS.values():
        yield replace(kind.strategy, defaults={**kind.options, **kind.strategy.defaults})
    yield from LAYER_STRATEGIES
    yield PLACEMENT
    for schedule in SCHEDULES.values():
        yield Strategy(schedule.name, schedule.system, schedule.meaning)
    yield SERVERS
    yield from (system.strategy for system in SYSTEMS.values())
