"""How layers are spread over the ranks of a replica, from the sections of ``strategy``."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.program.mesh import Mesh
from simdml.scenario.choices import Choices
from simdml.scenario.loading import Scenario
from simdml.scenario.models import sequence_length
from simdml.scenario.schema.model_parallel import TensorParallelSpec
from simdml.scenario.schema.strategy import StrategySpec
from simdml.strategies.job import PLAIN, Spread

STRATEGY = "strategy"


def chosen_spread(scenario: Scenario, section: StrategySpec, mesh: Mesh, system: str, choices: Choices) -> Spread:
    """Return how the scenario spreads layers over ``mesh``, by default as ``system`` does.

    Raises:
        InfeasibleError: an option without the degree it is for, or one that does not divide the model.
    """
    if section.tensor_parallel is None and mesh.size("tp") == 1:
        return PLAIN
    asked = section.tensor_parallel or TensorParallelSpec()
    document, path, ways = scenario.document, (STRATEGY, "tensor_parallel"), mesh.size("tp")
    if asked.overlap and not asked.sequence_parallel:
        raise InfeasibleError(
            "overlap moves what sequence parallelism gathers and scatters, and sequence_parallel is off",
            place=document.place((*path, "overlap")),
            hint="sequence_parallel: true",
        )
    if asked.sequence_parallel and ways == 1:
        raise InfeasibleError(
            "sequence parallelism divides the sequence over tensor-parallel ranks, and tp is 1",
            place=document.place((*path, "sequence_parallel")),
            hint="mesh: {tp: 2} or more; or context parallelism, which needs no tp",
        )
    sequence = sequence_length(scenario)
    if asked.sequence_parallel and sequence is not None and sequence % ways:
        raise InfeasibleError(
            f"a sequence of {sequence} tokens does not divide over tp {ways} for sequence parallelism",
            place=document.place((*path, "sequence_parallel")),
            hint=f"a sequence that is a multiple of {ways}",
        )
    asynchronous = False
    if not asked.sequence_parallel:
        key = "strategy.tensor_parallel.async_all_reduce"
        megatron = system == "Megatron-LM"
        reason = "Megatron-LM since 2022" if megatron else system
        asynchronous = choices.given_or(asked.async_all_reduce, key, megatron, reason)
    return Spread(asked.sequence_parallel, asked.overlap, asynchronous)
