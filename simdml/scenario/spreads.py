"""How layers are spread over the ranks of a replica, from the sections of ``strategy``."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from simdml.errors import InfeasibleError
from simdml.program.mesh import Mesh
from simdml.scenario.choices import Choices
from simdml.scenario.loading import Scenario
from simdml.scenario.models import sequence_length
from simdml.scenario.places import located
from simdml.scenario.schema.strategy import StrategySpec
from simdml.strategies import context_parallel, expert_parallel
from simdml.strategies.job import Job, Spread
from simdml.workload.spec import ModelSpec, TransformerSpec

if TYPE_CHECKING:
    from simdml.scenario.schema.model_parallel import ExpertParallelSpec, TensorParallelSpec

STRATEGY = "strategy"


def chosen_spread(scenario: Scenario, section: StrategySpec, mesh: Mesh, system: str, choices: Choices) -> Spread:
    """Return how the scenario spreads layers over ``mesh``, by default as ``system`` does.

    Raises:
        InfeasibleError: an option without the degree it is for.
    """
    ep = 1 if section.mesh is None else section.mesh.ep
    context = section.context_parallel
    if mesh.size("tp") == mesh.size("cp") == 1 and section.tensor_parallel is None and context is None:
        return Spread(ep=ep)
    from simdml.scenario.schema.model_parallel import ContextParallelSpec, TensorParallelSpec

    tensor = section.tensor_parallel or TensorParallelSpec()
    _check_tensor_parallel(scenario, tensor, mesh)
    asynchronous = False
    if mesh.size("tp") > 1 and not tensor.sequence_parallel:
        key = "strategy.tensor_parallel.async_all_reduce"
        megatron = system == "Megatron-LM"
        reason = "Megatron-LM since 2022" if megatron else system
        asynchronous = choices.given_or(tensor.async_all_reduce, key, megatron, reason)
    if context is not None and mesh.size("cp") == 1:
        raise InfeasibleError(
            "context_parallel says how sequences are shared, and cp is 1",
            place=scenario.document.place((STRATEGY, "context_parallel")),
            hint="mesh: {cp: 2} or more",
        )
    if context is None and mesh.size("cp") > 1:
        choices.note("strategy.context_parallel.method", ContextParallelSpec().method, "Megatron-LM's p2p")
    method = (context or ContextParallelSpec()).method
    return Spread(tensor.sequence_parallel, tensor.overlap, asynchronous, mesh.size("cp"), method, ep)


def spread_options(scenario: Scenario, section: StrategySpec, model: ModelSpec, spread: Spread) -> dict[str, Any]:
    """Return the options with which a model builds a rank's part.

    Raises:
        InfeasibleError: a sequence that does not divide, or a capacity that nothing is padded to.
    """
    if not isinstance(model, TransformerSpec):
        return {}
    from simdml.scenario.schema.model_parallel import ExpertParallelSpec

    sequence = sequence_length(scenario) or model.default_sequence
    _check_sequence(scenario, sequence, spread)
    options: dict[str, Any] = {} if spread.cp == 1 else {"context_ways": spread.cp}
    load = _expert_load(scenario, section.expert_parallel or ExpertParallelSpec(), spread.ep)
    return options if load == 1.0 else options | {"expert_load": load}


def refuse_unspreadable(scenario: Scenario, job: Job) -> None:
    """Refuse models whose sequences or experts the mesh cannot share, before anybody asks whether the job fits.

    Raises:
        InfeasibleError: with what does not divide, or which layers there are none of.
    """
    model, document = job.build(job.training.microbatch), scenario.document
    with located(document, STRATEGY, "mesh", "cp"):
        context_parallel.check(model, job.mesh.size("tp"), job.spread)
    with located(document, STRATEGY, "mesh", "ep"):
        expert_parallel.check(model, job.spread.ep)
    experts = any(layer.experts for block in model.distinct_blocks for layer in block.layers)
    section = scenario.spec.strategy
    if not isinstance(section, str) and section.expert_parallel is not None and not experts:
        raise InfeasibleError(
            f"expert_parallel says how tokens are dealt to experts, and {model.name} has none",
            place=document.place((STRATEGY, "expert_parallel")),
            hint="leave expert_parallel out, or use a mixture of experts, such as mixtral_8x7b",
        )


def _check_tensor_parallel(scenario: Scenario, asked: TensorParallelSpec, mesh: Mesh) -> None:
    document, path = scenario.document, (STRATEGY, "tensor_parallel")
    if asked.overlap and not asked.sequence_parallel:
        raise InfeasibleError(
            "overlap moves what sequence parallelism gathers and scatters, and sequence_parallel is off",
            place=document.place((*path, "overlap")),
            hint="sequence_parallel: true",
        )
    if asked.async_all_reduce is not None and asked.sequence_parallel:
        raise InfeasibleError(
            "with sequence_parallel there is no all-reduce of input gradients that could be asynchronous",
            place=document.place((*path, "async_all_reduce")),
            hint="overlap, or leave async_all_reduce out",
        )
    if asked.sequence_parallel and mesh.size("tp") == 1:
        raise InfeasibleError(
            "sequence parallelism divides the sequence over tensor-parallel ranks, and tp is 1",
            place=document.place((*path, "sequence_parallel")),
            hint="mesh: {tp: 2} or more; or mesh: {cp: 2}, which needs no tp",
        )


def _check_sequence(scenario: Scenario, sequence: int, spread: Spread) -> None:
    """Refuse sequences that do not divide: causal ring attention deals two parts to every rank (Megatron-LM)."""
    document = scenario.document
    parts = spread.cp * (2 if spread.context == "ring" else 1)
    if spread.cp > 1 and sequence % parts:
        raise InfeasibleError(
            f"a sequence of {sequence} tokens does not divide into the {parts} parts of cp {spread.cp}",
            place=document.place((STRATEGY, "mesh", "cp")),
            hint=f"a sequence that is a multiple of {parts}",
        )
    ways = scenario_tp(scenario) if spread.sequence_parallel else 1
    if sequence // spread.cp % ways:
        raise InfeasibleError(
            f"a sequence of {sequence // spread.cp} tokens on a rank does not divide over tp {ways} for sequence "
            "parallelism",
            place=document.place((STRATEGY, "tensor_parallel", "sequence_parallel")),
            hint=f"a sequence that is a multiple of {ways * spread.cp}",
        )


def scenario_tp(scenario: Scenario) -> int:
    """Return the tensor-parallel degree that the scenario asks for."""
    section = scenario.spec.strategy
    return 1 if isinstance(section, str) or section.mesh is None else section.mesh.tp


def _expert_load(scenario: Scenario, asked: ExpertParallelSpec, ep: int) -> float:
    """Return the rows that experts of the fullest rank compute over the mean."""
    if asked.pad_to_capacity and asked.capacity_factor is None:
        raise InfeasibleError(
            "experts are padded to a capacity that is not given",
            place=scenario.document.place((STRATEGY, "expert_parallel", "pad_to_capacity")),
            hint="capacity_factor: 1.25, for a quarter more than the mean",
        )
    capacity = inf if asked.capacity_factor is None else asked.capacity_factor
    if asked.pad_to_capacity:
        return capacity
    return min(asked.imbalance if ep > 1 else 1.0, capacity)
