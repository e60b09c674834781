"""Every candidate of a site with its bound, those that cannot fit left out: no program is made for any of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from simdml.errors import InfeasibleError, SimdmlError
from simdml.scenario.building import Built, build
from simdml.scenario.loading import Scenario
from simdml.scenario.models import chosen_model, sequence_length
from simdml.scenario.schema.plan import LayoutsSpec
from simdml.strategies.data_parallel.kinds import find_kind
from simdml.studies.plan.blocks import Blocks, Habits, blocks_of
from simdml.studies.plan.bound import least_seconds
from simdml.studies.plan.holding import Holding, holding_of
from simdml.studies.plan.layout import Layout
from simdml.studies.plan.schedules import order_of
from simdml.studies.plan.site import Site
from simdml.studies.plan.space import Space
from simdml.workload.catalog import TransformerSpec

BLOCKS_KEPT: Final = 4096
_blocks: dict[tuple[object, ...], Blocks] = {}
"""Worked out by a survey, and found again by the processes that are forked after it."""


@dataclass(slots=True)
class Survey:
    """The layouts of a site that may fit, with the least seconds of their steps; ``unfit`` counts the others."""

    layouts: list[tuple[Layout, float]] = field(default_factory=list)
    unfit: int = 0
    least_excess_bytes: float = float("inf")

    @property
    def legal(self) -> int:
        """Layouts whose degrees divide what they should."""
        return len(self.layouts) + self.unfit


def habits_of(scenario: Scenario) -> Habits:
    """Return what a scenario says of pipelines, whatever the layout."""
    strategy = scenario.spec.strategy
    if isinstance(strategy, str):
        return Habits()
    order = strategy.mesh.order if strategy.mesh is not None else None
    inside = order is not None and order.index("pp") < order.index("dp")
    if strategy.pipeline is None:
        return Habits(pp_inside_dp=inside)
    return Habits(strategy.pipeline.overlap_p2p, strategy.pipeline.scatter_gather, inside)


def space_of(scenario: Scenario, gpus: int, samples_per_step: int) -> Space:
    """Return the space of layouts that a scenario leaves open; what it fixes in training stays.

    Raises:
        UnknownNameError: a sharding or schedule that does not exist.
    """
    spec, model = scenario.spec, chosen_model(scenario)
    asked = spec.plan.layouts if spec.plan is not None and isinstance(spec.plan.layouts, LayoutsSpec) else LayoutsSpec()
    training = spec.training
    fixed: dict[str, object] = {}
    if training.microbatch is not None and asked.microbatch is None:
        fixed["microbatch"] = (training.microbatch,)
    if "recompute" in training.model_fields_set and asked.recompute is None:
        fixed["recompute"] = (training.recompute,)
    if training.batch_per_gpu is not None:
        fixed |= {"tp": (1,), "cp": (1,), "pp": (1,)}
    is_transformer = isinstance(model, TransformerSpec)
    blocks = model.build(samples=1).blocks
    context = None if isinstance(spec.strategy, str) else spec.strategy.context_parallel
    pipeline = None if isinstance(spec.strategy, str) else spec.strategy.pipeline
    balance = None if pipeline is None or "balance" not in pipeline.model_fields_set else pipeline.balance
    return Space(
        model,
        gpus,
        samples_per_step,
        (sequence_length(scenario) or model.default_sequence) if is_transformer else None,
        len(blocks),
        model.config.layers if isinstance(model, TransformerSpec) else 0,
        asked.model_copy(update=fixed),
        flash=training.attention == "flash",
        ring=context is None or context.method == "ring",
        balance=None if balance in {"time", "memory"} else balance,  # type: ignore[arg-type]
        bulky=training.attention == "unfused" and is_transformer,
    )


def survey(site: Site) -> Survey:
    """Return the layouts of ``site``.

    Raises:
        SimdmlError: a scenario that cannot be built whatever the layout.
    """
    scenario = site.scenario()
    space, habits = space_of(scenario, site.gpus, site.samples_per_step), habits_of(scenario)
    surveyor = _Surveyor(site, habits)
    for layout in space.layouts():
        surveyor.add(layout)
    found = surveyor.found
    if not found.legal:
        raise surveyor.refusal or InfeasibleError(
            f"no layout of {scenario.name} is legal on {site.gpus} GPUs",
            place=scenario.document.place(("plan",)),
            hint="ask for fewer degrees at once in plan.layouts, or for a global batch with more divisors",
        )
    return found


def known_blocks(site: Site, layout: Layout, habits: Habits) -> Blocks:
    """Return the blocks of a layout at ``site``, the same for all layouts that divide them alike.

    Raises:
        InfeasibleError: degrees that do not divide what they should.
    """
    kind = find_kind(layout.sharding)
    degrees = (layout.tp, layout.cp, layout.ep, layout.microbatch, layout.num_microbatches > 1)
    key = (site.key, habits, *degrees, layout.recompute, layout.sequence_parallel, kind.framework, kind.accumulates)
    found = _blocks.get(key)
    if found is None:
        if len(_blocks) >= BLOCKS_KEPT:
            _blocks.clear()
        built = build(site.scenario(layout.applied(site.document)), site.cluster())
        found = _blocks[key] = blocks_of(built, habits, site.paces)
    return found


@dataclass(slots=True)
class _Surveyor:
    """Goes through the layouts of a site; those that divide blocks alike share what is worked out of them."""

    site: Site
    habits: Habits
    found: Survey = field(default_factory=Survey)
    refusal: SimdmlError | None = None
    holdings: dict[tuple[object, ...], Holding | None] = field(default_factory=dict)

    def add(self, layout: Layout) -> None:
        """Count ``layout`` if it is legal, and keep it if it may fit."""
        kind = find_kind(layout.sharding)
        state = (layout.tp, layout.cp, layout.ep, layout.recompute, layout.sequence_parallel, kind.framework)
        if state not in self.holdings:
            built = self._built(layout)
            self.holdings[state] = None if built is None else holding_of(built)
        holding = self.holdings[state]
        order = None
        if layout.pp > 1:
            order = order_of(layout.schedule, layout.pp, layout.num_microbatches, layout.chunks)
        needed = None if holding is None else holding.least_bytes(layout, order)
        if holding is None or needed is None:
            return
        if needed > holding.capacity_bytes:
            self.found.unfit += 1
            self.found.least_excess_bytes = min(self.found.least_excess_bytes, needed - holding.capacity_bytes)
            return
        try:
            seconds = least_seconds(layout, known_blocks(self.site, layout, self.habits))
        except InfeasibleError as error:
            self.refusal = self.refusal or error
            return
        if seconds is not None:
            self.found.layouts.append((layout, seconds))

    def _built(self, layout: Layout) -> Built | None:
        try:
            return build(self.site.scenario(layout.applied(self.site.document)), self.site.cluster())
        except InfeasibleError as error:
            self.refusal = self.refusal or error
            return None
