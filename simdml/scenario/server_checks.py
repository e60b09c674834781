"""Settings of a parameter server that do not go together: one rule a function, each with what would work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from simdml.errors import InfeasibleError, listed
from simdml.scenario.degrees import divisors
from simdml.scenario.loading import Scenario
from simdml.scenario.places import written
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS

if TYPE_CHECKING:
    from simdml.scenario.schema.parameter_server import ParameterServerSpec

SECTION = ("strategy", "parameter_server")
BELONGS_TO = {"staleness": "ssp", "delay": "bounded_delay", "backup_workers": "backup"}
"""The consistency each of these keys says something about."""


class Clash(NamedTuple):
    """The key that is refused, why, and what would work."""

    key: str
    message: str
    hint: str


def check_servers(scenario: Scenario, section: ParameterServerSpec, gpus: int) -> None:
    """Refuse settings that do not go together.

    Raises:
        InfeasibleError: with the reason and what would work.
    """
    name = _preset(scenario)
    for clash in (
        *_limits(name, section),
        *_consistency(section),
        *_partition(section),
        *_priority(section),
        *_skipped_steps(section),
        *_compression(scenario, section),
        *_mixed(section),
        *_model_parallel(section, gpus),
        *_portions(section),
    ):
        raise refusal(scenario, *clash)


def refusal(scenario: Scenario, key: str, message: str, hint: str) -> InfeasibleError:
    """Return the refusal of ``key``, at its place or that of the section."""
    place = scenario.document.place(written(scenario.document, (*SECTION, key)))
    return InfeasibleError(message, place=place, hint=hint)


def _preset(scenario: Scenario) -> str:
    strategy = scenario.spec.strategy
    if isinstance(strategy, str):
        return strategy
    return (strategy.parameter_server and strategy.parameter_server.preset) or ""


def _limits(name: str, section: ParameterServerSpec) -> Iterator[Clash]:
    for key, limit in SYSTEMS[name].limits.items() if name in SYSTEMS else ():
        value = getattr(section, key)
        if value not in limit.values:
            hint = f"{key}: {listed(map(str, limit.values))}, or preset: {limit.instead}"
            yield Clash(key, f"{limit.reason}, so {key} cannot be {value}", hint)


def _consistency(section: ParameterServerSpec) -> Iterator[Clash]:
    for key, consistency in BELONGS_TO.items():
        if section.consistency == consistency and getattr(section, key) is None:
            yield Clash("consistency", f"{consistency} needs to know its {key}", f"add {key}: 1")
        if section.consistency != consistency and getattr(section, key) is not None:
            message = f"{key} says nothing about {section.consistency}"
            yield Clash(key, message, f"consistency: {consistency}, or leave {key} out")
    if section.delay and section.fetch == "at_start":
        message = "a worker that fetches at the start of a step cannot begin it before the fetch is over"
        yield Clash("fetch", message, "fetch: after_push")


def _partition(section: ParameterServerSpec) -> Iterator[Clash]:
    if section.partition_size is not None and section.partition in {"whole", "fixed"}:
        message = f"partition {section.partition} has no partition_size"
        yield Clash("partition_size", message, "partition: min_size, max_size or slices")
    if section.partition_pieces is not None and section.partition not in {"fixed", "min_size"}:
        message = f"partition {section.partition} has no partition_pieces"
        yield Clash("partition_pieces", message, "partition: fixed or min_size")


def _priority(section: ParameterServerSpec) -> Iterator[Clash]:
    if section.priority == "none":
        if section.credit is not None:
            yield Clash("credit", "credit limits what priority schedules, and there is none", "priority: push")
        return
    if section.fetch == "at_start":
        yield Clash("priority", "priorities order pulls after pushes, not at the start of a step", "fetch: after_push")
    if section.messages == "model":
        yield Clash("priority", "one message for the whole model leaves nothing to order", "messages: tensors")


def _skipped_steps(section: ParameterServerSpec) -> Iterator[Clash]:
    for key in ("push_every", "pull_every"):
        if getattr(section, key) == 1:
            continue
        if section.consistency != "asynchronous":
            message = f"{section.consistency} counts the pushes of every step, and {key} skips some"
            yield Clash(key, message, "consistency: asynchronous")
        if section.local_aggregation:
            yield Clash(key, f"a node that sums in every step cannot skip some with {key}", "local_aggregation: false")


def _compression(scenario: Scenario, section: ParameterServerSpec) -> Iterator[Clash]:
    training = scenario.spec.training
    kind = training.gradients or training.precision
    if section.compression != "none" and kind not in {"fp32", "tf32"}:
        message = f"{section.compression} compresses fp32 gradients, and these are {kind}"
        yield Clash("compression", message, "compression: none, or training.gradients: fp32")


def _mixed(section: ParameterServerSpec) -> Iterator[Clash]:
    if section.placement in {"byteps_mixed", "byteps_optimal"} and section.location != "mixed":
        message = f"{section.placement} divides keys between servers with and without workers"
        yield Clash("placement", message, "location: mixed, or placement: byteps_hash")


def _portions(section: ParameterServerSpec) -> Iterator[Clash]:
    if section.portions == "own":
        if section.send_every > 1:
            message = "send_every counts portions that a coordinator hands out, and workers have their own"
            yield Clash("send_every", message, "portions: shared")
        return
    needed = {"consistency": "bsp", "fetch": "at_start", "barrier": True, "model_parallel": 1, "compression": "none"}
    for key, value in needed.items():
        if getattr(section, key) != value:
            message = f"workers that take portions of one step on demand cannot have {key} {getattr(section, key)}"
            yield Clash(key, message, f"{key}: {str(value).lower()}, or portions: own")
    if section.local_aggregation:
        message = "GPUs that take different numbers of portions cannot sum portion by portion"
        yield Clash("local_aggregation", message, "local_aggregation: false, or portions: own")


def _model_parallel(section: ParameterServerSpec, gpus: int) -> Iterator[Clash]:
    ways = section.model_parallel
    if ways == 1:
        return
    if gpus % ways:
        message = f"replicas of {ways} GPUs do not fill the {gpus} GPUs"
        yield Clash("model_parallel", message, f"model_parallel can be {listed(map(str, divisors(gpus)))}")
    if section.local_aggregation:
        message = "GPUs that hold different parts of a model have no gradients to sum"
        yield Clash("model_parallel", message, "local_aggregation: false")
    if section.consistency == "backup":
        message = "backup workers that are parts of a replica could be dropped one by one"
        yield Clash("model_parallel", message, "model_parallel: 1, or another consistency")
