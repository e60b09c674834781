"""What DeepSpeed's ZeRO stages 1 and 2 copy when backward is over: phases of blocks, in bytes.

Copies are flat tensors or the largest gradient, larger than any block that activations leave behind, so that PyTorch's
caching allocator takes new memory for them and keeps it. Read in DeepSpeed 0.6.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from simdml.strategies.job import Training
from simdml.strategies.stage_code import StageCode

_FP32: Final = 4
_FP64: Final = 8
Phases = tuple[tuple[float, ...], ...]


def step_copies(training: Training, code: Sequence[StageCode], part: int) -> Phases:
    """Return what the step of a rank copies that updates a ``part``: single gradients, then all of the part.

    Half-precision gradients are checked for overflow one by one in fp32 (deepspeed/runtime/zero/stage_1_and_2.py,
    _has_inf_or_nan: x.float().sum()), their norms taken in fp64 (get_grad_norm_direct: g.data.double()), and those of
    the part made one tensor and that converted (step: self.flatten(self.averaged_gradients[i]).to(fp32)).
    """
    largest, nbytes = min(_largest(code), part), training.gradient_bytes
    if nbytes == _FP32:
        return ((_FP64 * float(largest),), (float(nbytes * part),))
    return ((_FP32 * float(largest),), (_FP64 * float(largest),), (float(nbytes * part), float(_FP32 * part)))


def beside_fp32_gradients(training: Training) -> bool:
    """Return whether DeepSpeed takes its BF16_Optimizer: bf16 weights whose gradients are summed in fp32."""
    return training.precision == "bf16" and training.gradient_bytes == _FP32


def bf16_optimizer_copies(training: Training, code: Sequence[StageCode], ranks: int) -> Phases:
    """Return the copies of BF16_Optimizer, which keeps 16-bit gradients until the next backward beside those in fp32.

    After a backward each gradient is added as an fp32 copy (deepspeed/runtime/bf16_optimizer.py, update_hp_grads), so
    the largest counts; among several ``ranks`` all fp32 gradients, one flat tensor, are summed in a 16-bit copy
    (deepspeed/runtime/engine.py, allreduce_bucket: tensor.to(self.communication_data_type)).
    """
    summed = ((float(training.weight_bytes * sum(sum(each.gradients()) for each in code)),),) if ranks > 1 else ()
    return ((_FP32 * float(_largest(code)),), *summed)


def _largest(code: Sequence[StageCode]) -> int:
    return max((count for each in code for count in each.gradients()), default=0)
