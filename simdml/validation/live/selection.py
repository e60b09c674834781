"""Which jobs are run: the standard set, or jobs made for the hosts, rate and strategies somebody asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from simdml.errors import InfeasibleError, UnknownNameError
from simdml.validation.live.jobs import (
    MEGABYTE,
    PIPELINES,
    SERVERS,
    STRATEGIES,
    LiveJob,
    LiveLayer,
    Strategy,
    equal_layers,
    uneven_layers,
)

FAMILIES: Final[dict[str, tuple[Strategy, ...]]] = {
    "ps": ("ps_sync", "ps_async", "ps_ssp"),
    "pipeline": ("layer_placement", "gpipe", "1f1b"),
    "all": STRATEGIES,
}
"""Names for several strategies."""
MEBIBYTE: Final = 2**20


def find_strategies(names: Sequence[str]) -> tuple[Strategy, ...]:
    """Return the strategies that ``names`` are, families resolved; raises UnknownNameError."""
    known = {strategy: (strategy,) for strategy in STRATEGIES} | FAMILIES
    found: list[Strategy] = []
    for name in names:
        if name not in known:
            raise UnknownNameError("strategy", name, known)
        found += [strategy for strategy in known[name] if strategy not in found]
    return tuple(found)


def standard_jobs() -> tuple[LiveJob, ...]:
    """Return the jobs ``simdml validate live`` runs: every strategy, 2 to 6 hosts, links of 100 to 500 Mb/s."""
    return (
        real_layers(2, 400e6, width=768, count=6, batch=192),
        LiveJob("ddp", 2, 500e6, equal_layers(8, 8, 0.10)),
        LiveJob("ddp", 3, 100e6, uneven_layers((1, 2, 1), 0.15), bucket_bytes=2 * MEBIBYTE),
        LiveJob("ddp", 4, 400e6, equal_layers(8, 8, 0.25)),
        LiveJob("ddp", 6, 300e6, uneven_layers((1, 2, 3, 4), 0.15), bucket_bytes=2 * MEBIBYTE),
        LiveJob("layer_placement", 3, 200e6, equal_layers(3, 2, 0.10), activation_bytes=4_000_000),
        LiveJob("gpipe", 2, 100e6, equal_layers(4, 1, 0.08), microbatches=4, activation_bytes=500_000),
        LiveJob("gpipe", 4, 400e6, equal_layers(4, 1, 0.12), microbatches=4, activation_bytes=1_000_000),
        LiveJob("1f1b", 3, 200e6, equal_layers(6, 2, 0.12), microbatches=6, activation_bytes=1_000_000),
        LiveJob("1f1b", 6, 500e6, equal_layers(6, 2, 0.30), microbatches=8, activation_bytes=1_500_000),
        LiveJob("ps_sync", 3, 200e6, equal_layers(4, 4, 0.05), servers=1),
        LiveJob("ps_sync", 5, 500e6, equal_layers(4, 6, 0.10), servers=2),
        LiveJob("ps_async", 3, 100e6, equal_layers(4, 2, 0.30), servers=1),
        LiveJob("ps_async", 4, 400e6, equal_layers(4, 4, 0.05), servers=1),
        LiveJob("ps_ssp", 4, 400e6, equal_layers(4, 4, 0.40), servers=1, slowest=0.6, staleness=1),
    )


def quick_jobs() -> tuple[LiveJob, ...]:
    """Return one short job of each family."""
    return (
        LiveJob("ddp", 2, 400e6, equal_layers(4, 4, 0.05)),
        LiveJob("gpipe", 3, 400e6, equal_layers(3, 0.5, 0.06), microbatches=3, activation_bytes=600_000),
        LiveJob("ps_sync", 3, 400e6, equal_layers(4, 2, 0.03), servers=1),
    )


def real_layers(hosts: int, rate_bits_per_s: float, *, width: int, count: int, batch: int) -> LiveJob:
    """Return DDP of ``count`` square linear layers that really compute."""
    layers = (LiveLayer((width * width, width), 0.0, 0.0),) * count
    return LiveJob("ddp", hosts, rate_bits_per_s, layers, real=True, width=width, batch=batch)


def jobs_for(strategies: Sequence[Strategy], hosts: int, rate_bits_per_s: float) -> tuple[LiveJob, ...]:
    """Return two jobs of each strategy on ``hosts``: bound by compute, and by links of that rate.

    Raises:
        InfeasibleError: too few hosts for a parameter server with two workers.
    """
    jobs: list[LiveJob] = []
    for strategy in strategies:
        make = _pipelines if strategy in PIPELINES else _servers if strategy in SERVERS else _data_parallel
        jobs += make(strategy, hosts, rate_bits_per_s)
    return tuple(jobs)


def _megabytes(seconds: float, rate_bits_per_s: float) -> float:
    """Return what a link of that rate moves in ``seconds``."""
    return max(0.5, round(seconds * rate_bits_per_s / 8e6, 1))


def _data_parallel(strategy: Strategy, hosts: int, rate: float) -> list[LiveJob]:
    _at_least(strategy, hosts, 2)
    megabytes = _megabytes(0.3 * hosts / (2 * (hosts - 1)), rate)
    return [LiveJob(strategy, hosts, rate, equal_layers(8, megabytes, compute_s)) for compute_s in (0.1, 0.4)]


def _pipelines(strategy: Strategy, hosts: int, rate: float) -> list[LiveJob]:
    _at_least(strategy, hosts, 2)
    microbatches = 1 if strategy == "layer_placement" else 2 * hosts
    activation = round(_megabytes(0.03, rate) * MEGABYTE) * 4
    base = LiveJob(strategy, hosts, rate, (), microbatches=microbatches, activation_bytes=activation)
    return [replace(base, layers=equal_layers(hosts, 1, each * hosts)) for each in (0.01, 0.06)]


def _servers(strategy: Strategy, hosts: int, rate: float) -> list[LiveJob]:
    _at_least(strategy, hosts, 3)
    servers = 1 if hosts < 5 else 2
    megabytes = _megabytes(0.15 * servers / (hosts - servers), rate)
    base = LiveJob(strategy, hosts, rate, (), servers=servers)
    if strategy == "ps_ssp":
        base = replace(base, staleness=1, slowest=0.6)
    return [replace(base, layers=equal_layers(4, megabytes, compute_s)) for compute_s in (0.05, 0.4)]


def _at_least(strategy: str, hosts: int, fewest: int) -> None:
    if hosts < fewest:
        raise InfeasibleError(f"{strategy} needs at least {fewest} hosts", hint=f"--hosts {fewest}")
