"""``training.batch_share``: how many samples the GPUs of each group of nodes train."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm

from simdml.cluster.cluster import Cluster
from simdml.errors import DocumentError, InfeasibleError, did_you_mean, listed, quoted
from simdml.scenario.loading import Scenario
from simdml.scenario.plans import Plans
from simdml.strategies.data_parallel.kinds import find_kind
from simdml.strategies.job import Training, num_replicas

PATH = ("training", "batch_share")


def microbatches_by_rank(scenario: Scenario, cluster: Cluster, plans: Plans, training: Training) -> tuple[int, ...]:
    """Return the samples of a micro-batch on each rank, nothing where all train as many.

    Raises:
        DocumentError: a group of nodes that the cluster does not have, or one that is left out.
        InfeasibleError: samples that do not divide so, or a strategy whose ranks are no whole replicas.
    """
    shares = scenario.spec.training.batch_share
    if shares is None:
        return ()
    _check_strategy(scenario, plans)
    ranks = plans.mesh.num_ranks
    groups = [group for group in cluster.node_groups if group.template.gpus and group.first_gpu < ranks]
    _check_groups(scenario, shares, [group.name for group in groups])
    counts = {group.name: min(group.num_gpus, ranks - group.first_gpu) for group in groups}
    weights = {name: Fraction(shares[name]).limit_denominator(1000) for name in counts}
    parts = sum(weights[name] * count for name, count in counts.items())
    total = training.microbatch * ranks
    samples = {name: total * weight / parts for name, weight in weights.items()}
    if any(each.denominator > 1 or not each for each in samples.values()):
        unit = parts / _common(list(weights.values()))
        step = lcm(int(unit), ranks) * training.num_microbatches
        raise InfeasibleError(
            f"{total * training.num_microbatches} samples do not divide in such shares over {ranks} GPUs",
            place=scenario.document.place(PATH),
            hint=f"global_batch: a multiple of {step}",
        )
    return tuple(int(samples[group.name]) for group in groups for _ in range(counts[group.name]))


def _common(weights: list[Fraction]) -> Fraction:
    """Return the largest number of which all ``weights`` are whole multiples."""
    denominator = lcm(*(weight.denominator for weight in weights))
    return Fraction(gcd(*(int(weight * denominator) for weight in weights)), denominator)


def _check_groups(scenario: Scenario, shares: dict[str, float], names: list[str]) -> None:
    for name in shares:
        if name not in names:
            raise DocumentError(
                f"no group of nodes of the job is called {quoted(name)}{did_you_mean(name, names)}",
                place=scenario.document.key_place((*PATH, name)),
                hint=f"groups: {listed(names)}",
            )
    missing = [name for name in names if name not in shares]
    if missing:
        raise DocumentError(
            f"batch_share leaves out {listed(missing)}",
            place=scenario.document.place(PATH),
            hint="give every group of nodes one",
        )


def _check_strategy(scenario: Scenario, plans: Plans) -> None:
    kind = "ddp" if plans.data_parallel is None else plans.data_parallel.kind
    alone = plans.mesh.num_ranks == num_replicas(plans.mesh) and plans.mesh.size("ep") == 1
    if plans.parameter_server is None and alone and not find_kind(kind).roles and kind != "one_weird_trick":
        return
    raise InfeasibleError(
        "batch_share deals samples to GPUs that each train a whole model and exchange gradients",
        place=scenario.document.place(PATH),
        hint="strategy: ddp or fsdp2, without tp, cp, ep and pp",
    )
