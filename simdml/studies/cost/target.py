"""Steps to a target, as the user says batch size and staleness cost.

McCandlish, Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training" (arXiv 1812.06162), equations 2.11
and 5.1: reaching a loss takes S steps and E examples with (S / S_min - 1)(E / E_min - 1) = 1, so a batch B takes
S = S_min (1 + B_crit / B) steps, where B_crit = E_min / S_min. Neither a critical batch nor a penalty is ever assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simdml.errors import InfeasibleError

if TYPE_CHECKING:
    from simdml.scenario.schema.target import TargetSpec


def steps_to_target(
    spec: TargetSpec, *, samples_per_step: int, tokens_per_sample: int | None, mean_staleness: float = 0.0
) -> float:
    """Return how many steps of so many samples reach the target.

    Raises:
        InfeasibleError: tokens of a model that has none.
    """
    if spec.steps is not None:
        steps = float(spec.steps)
        if spec.critical_batch is not None:
            steps *= 1 + spec.critical_batch / samples_per_step
    else:
        samples = _samples(spec, tokens_per_sample)
        if spec.critical_batch is not None:
            samples *= 1 + samples_per_step / spec.critical_batch
        steps = samples / samples_per_step
    return steps * (1 + (spec.staleness_penalty or 0.0) * mean_staleness)


def _samples(spec: TargetSpec, tokens_per_sample: int | None) -> float:
    if spec.tokens is not None:
        if tokens_per_sample is None:
            raise InfeasibleError("the target is in tokens, and the model trains images", hint="target: {samples: ...}")
        return spec.tokens / tokens_per_sample
    if spec.samples is not None:
        return float(spec.samples)
    assert spec.epochs is not None
    assert spec.dataset is not None
    return float(spec.epochs * spec.dataset)
