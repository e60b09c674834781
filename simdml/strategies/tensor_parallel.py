"""Megatron-LM tensor parallelism: every operator's part on one rank, and the all-reduces of partial sums.

An operator whose contraction is split leaves a partial sum of its whole output, which is all-reduced before anything
else runs: twice in the forward and twice in the backward of a transformer layer (Shoeybi et al., arXiv 1909.08053,
section 3). Collectives stand in the compute stream, as they block it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute
from simdml.workload.model import Layer, Model
from simdml.workload.operators import Operator, Split, divide

GROUP = "tp"


def instructions(
    label: str, activity: Activity, operators: Iterable[Operator], ways: int
) -> Iterator[Compute | Collective]:
    """Yield one rank's compute for ``operators`` with the all-reduces tensor parallelism needs between them."""
    run: list[Operator] = []
    for operator in operators:
        run.append(divide(operator, ways))
        if ways > 1 and operator.leaves_partial_sum:
            yield Compute(label, activity, tuple(run))
            yield Collective(label, CollectiveKind.ALL_REDUCE, GROUP, operator.written_bytes)
            run = []
    if run:
        yield Compute(label, activity, tuple(run))


def parameters_on_rank(layer: Layer, ways: int) -> list[int]:
    """Return the elements of each parameter of ``layer`` held by one rank, in registration order."""
    return [p.elements // ways if p.split else p.elements for p in layer.parameters]


def check_divisible(model: Model, ways: int) -> None:
    """Refuse degrees that do not divide what is split.

    Raises:
        InfeasibleError: naming the first operator or parameter that ``ways`` does not divide.
    """
    if ways == 1:
        return
    for block in dict.fromkeys(model.blocks):
        for layer in block.layers:
            for operator in (*layer.forward, *layer.backward):
                size = _split_size(operator)
                if size % ways:
                    raise InfeasibleError(
                        f"tp {ways} does not divide {operator.name} of {block.name}: "
                        f"its {operator.split} dimension is {size}",
                        hint="heads, KV heads, MLP size and (padded) vocabulary must all be multiples of tp",
                    )


def _split_size(operator: Operator) -> int:
    if operator.split is None or not operator.shape:
        return 0
    if len(operator.shape) == 3:
        return operator.shape[(Split.M, Split.N, Split.K).index(operator.split)]
    return operator.shape[0] if len(operator.shape) == 4 else operator.shape[1]
