"""Where a job leaves the range of what its costs were fitted on, by group of costs.

A coefficient that was carried over from another device, precision or family by a rule, and a collective with more ranks
than were measured, is less certain than one that was fitted where it is used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import log2
from typing import Final

from simdml.calibration.communication import Provenance
from simdml.calibration.cost_groups import GROUP_OF_FAMILY, CostGroup
from simdml.calibration.profile import Mark, Profile
from simdml.cluster.device import Device, find_device
from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.compute import RooflineCost, lender
from simdml.errors import UnknownNameError
from simdml.results.exposure import Exposure
from simdml.results.pricing import Kernel
from simdml.scenario.building import Built
from simdml.strategies.job import DATA_AXES
from simdml.units import format_bytes

_DECISIVE: Final[Mapping[CostGroup, tuple[str, str]]] = {
    CostGroup.PRODUCTS: ("matmul", "plateau"),
    CostGroup.ATTENTION: ("attention", "forward"),
    CostGroup.CONVOLUTIONS: ("convolution", "efficiency"),
}
"""The curve of a group by precision, and the coefficient that decides how fast large kernels of it are."""
_ALIKE: Final = frozenset({"fp16", "bf16"})
"""Precisions of equal rates, whose curves hold for each other."""


def doubts(built: Built, exposed: Exposure) -> dict[CostGroup, tuple[str, ...]]:
    """Return by group why its costs are less certain than where they were fitted."""
    found: dict[CostGroup, list[str]] = defaultdict(list)
    for cost in built.costs.compute.values():
        if isinstance(cost, RooflineCost):
            for group, reason in _kernel_doubts(cost, built.costs.precision):
                found[group].append(reason)
    for group, reason in (*_size_doubts(built, exposed.kernel_s), *_payload_doubts(built, exposed.payload_bytes)):
        found[group].append(reason)
    return {group: tuple(reasons) for group, reasons in found.items()}


def collective_fits(built: Built) -> dict[CostGroup, Provenance]:
    """Return where the fits of the job's collectives come from, in a node and between nodes."""
    cost = built.costs.collectives
    if isinstance(cost, NcclCost):
        return {CostGroup.NODE: cost.fit.node.provenance, CostGroup.NETWORK: cost.fit.network.provenance}
    # Loaded for jobs that use it alone.
    from simdml.costs.collectives.gloo import GlooCost

    if isinstance(cost, GlooCost):
        return dict.fromkeys((CostGroup.NODE, CostGroup.NETWORK), cost.fit.provenance)
    return {}


def doublings_beyond(built: Built) -> float:
    """Return how often the ranks of the largest data-parallel or tensor-parallel group double those measured."""
    fits, mesh = collective_fits(built), built.job.mesh
    fit = fits.get(CostGroup.NETWORK if built.job.cluster.num_nodes > 1 else CostGroup.NODE)
    ranks = max(mesh.size(axis) for axis in ("tp", *DATA_AXES))
    return 0.0 if fit is None else max(0.0, log2(ranks / fit.max_ranks))


def _size_doubts(built: Built, kernel_s: Mapping[Kernel, float]) -> Iterator[tuple[CostGroup, str]]:
    """Yield doubts of groups most of whose seconds go into smaller kernels than were fitted; larger ones are alike."""
    total: dict[CostGroup, float] = defaultdict(float)
    outside: dict[CostGroup, float] = defaultdict(float)
    for (family, _, flops, size_bytes), seconds in kernel_s.items():
        group = GROUP_OF_FAMILY[family]
        streams = group is CostGroup.STREAMS
        name = "stream_bytes" if streams else f"{family}_flops_{built.costs.precision}"
        fitted = built.profile.validity.get(name)
        size = size_bytes if streams else flops
        total[group] += seconds
        if fitted is not None and size < fitted.low:
            outside[group] += seconds
    for group, seconds in outside.items():
        if seconds > total[group] / 2:
            yield group, f"most {group.words} are smaller than any that profile {built.profile.name} was fitted to"


def _payload_doubts(built: Built, payload_bytes: Mapping[CostGroup, float]) -> Iterator[tuple[CostGroup, str]]:
    for group, fit in collective_fits(built).items():
        payload = payload_bytes.get(group, fit.max_bytes)
        if not fit.covers(payload):
            yield group, f"{group.words} of {format_bytes(payload)} are beyond the sizes that were measured"


def _kernel_doubts(cost: RooflineCost, precision: str) -> Iterator[tuple[CostGroup, str]]:
    profile = cost.profile
    for group, (family, coefficient) in _DECISIVE.items():
        used = lender(getattr(profile, family), precision)
        if used is None:
            continue
        if profile.provenance[f"{family}.{used}.{coefficient}"].mark is Mark.DERIVED:
            yield group, f"{family} in {used} of {profile.name} is carried over"
        elif used != precision and {used, precision} != _ALIKE:
            yield group, f"{family} in {precision} takes the curve of {used}"
    yield from _device_doubts(profile, cost.device)


def _device_doubts(profile: Profile, device: Device) -> Iterator[tuple[CostGroup, str]]:
    """Yield doubts of a device that takes the efficiencies of another; boards of one chip do well so."""
    if device.name == profile.device:
        return
    try:
        fitted = find_device(profile.device)
    except UnknownNameError:
        return
    reason = f"profile {profile.name} was made for {profile.device}"
    if (device.sms, device.peak_flops) != (fitted.sms, fitted.peak_flops):
        yield from ((group, reason) for group in _DECISIVE)
    if device.memory_bandwidth_bytes_per_s != fitted.memory_bandwidth_bytes_per_s:
        yield CostGroup.STREAMS, reason
