"""Which kernels add the gradients of a micro-batch to those before."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.scenario.loading import Scenario
from simdml.scenario.plans import Plans
from simdml.strategies.data_parallel.kinds import find_kind
from simdml.strategies.job import Training

KEY = "accumulation_fusion"


def gradient_accumulation(
    scenario: Scenario, training: Training, element_bytes: int, plans: Plans, *, fused_kernels: bool
) -> str:
    """Return the name of a :class:`~simdml.workload.microbatch.GradientAccumulation`: none where nothing is added.

    Products add to fp32 gradients themselves with Megatron-LM's kernels (gradient_accumulation_fusion), by default.
    DeepSpeed's BF16_Optimizer takes the gradients of any model, converts them and adds them up.

    Raises:
        InfeasibleError: fusion is asked for or refused where there is no sum that could be fused.
    """
    asked = scenario.spec.training.accumulation_fusion
    sums = plans.data_parallel is None or find_kind(plans.data_parallel.kind).accumulates
    wider = sums and not training.autocast and training.gradient_bytes > element_bytes
    if asked is not None and not wider:
        raise InfeasibleError(
            f"{KEY} is of fp32 gradients of half-precision weights, which this job does not add up",
            place=scenario.document.place(("training", KEY)),
            hint=f"gradients: fp32 with precision: bf16, or leave {KEY} out",
        )
    if wider:
        by_deepspeed = plans.data_parallel is not None and plans.data_parallel.kind.startswith("zero")
        if (fused_kernels and not by_deepspeed) if asked is None else asked:
            return "fused_fp32"
        return "cast_add_fp32" if by_deepspeed else "add_fp32"
    if not sums or training.num_microbatches <= training.local_steps:
        return "none"
    return "add_fp32" if training.autocast else "add"
