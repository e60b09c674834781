"""What an optimizer step moves: memory-bound kernels over every parameter a rank updates.

Bytes an element, read + written, derived from the update rules of torch/optim (sgd.py, adam.py, adamw.py; weight
decay of SGD and Adam off, as by default), with p parameter, g gradient, m and v moments, 4 bytes each:

=============  ===============================================================  ======================
kind           fused (one kernel)                                               separate kernels
=============  ===============================================================  ======================
sgd            p g -> p: 8 + 4                                                  the same kernel
sgd_momentum   p g m -> p m: 12 + 8                                             mul m 4+4, add g 8+4, p 8+4
adam           p g m v -> p m v: 16 + 12                                        44 + 28 (below)
adamw          as adam                                                          adam and p decay 4+4
bert_adam      as adam                                                          96 + 72 (below)
lamb           36 + 16 (below)                                                  120 + 88 (below)
=============  ===============================================================  ======================

Separate (foreach) Adam: lerp m 8+4, scale v 4+4, addcmul v 8+4, sqrt 4+4, divide 4+4, add eps 4+4, addcdiv p
12+4. BERT's Adam, without bias correction, is separate an operation each with clipping by the global norm
(google-research/bert, optimization.py: AdamWeightDecayOptimizer). LAMB (You et al., arXiv 1904.00962, algorithm 2)
fused is Apex's (csrc/multi_tensor_lamb.cu): norm of all gradients, moments and update, norms of p and update of every
tensor, p. Separate it is an operation each, with clipping by the global norm, as in NVIDIA/DeepLearningExamples
(TensorFlow/LanguageModeling/BERT/optimization.py); an all-reduce of norms over shards is not counted. Mixed precision
with fp32 master weights (Megatron-LM megatron/optimizer/optimizer.py): gradients are copied to fp32 (2 + 4), with fp16
also unscaled and checked (4 + 4), and the master is copied back (4 + 2).
"""

from __future__ import annotations

from simdml.errors import DocumentError, UnknownNameError
from simdml.workload.operators import Family, Operator, Phase, memory_bound

# kernels (name, bytes read, bytes written) an fp32 element
FUSED = {
    "sgd": (("sgd", 8, 4),),
    "sgd_momentum": (("sgd_momentum", 12, 8),),
    "adam": (("adam", 16, 12),),
    "adamw": (("adamw", 16, 12),),
    "bert_adam": (("adamw", 16, 12),),
    "lamb": (("gradient_norm", 4, 0), ("lamb_update", 16, 12), ("norms", 8, 0), ("parameter", 8, 4)),
}
_ADAM = (
    ("first_moment", 8, 4),
    ("second_moment_scale", 4, 4),
    ("second_moment_add", 8, 4),
    ("denominator_root", 4, 4),
    ("denominator_correct", 4, 4),
    ("denominator_epsilon", 4, 4),
    ("parameter", 12, 4),
)
_CLIPPED_MOMENTS = (
    *(("clip_norm", 4, 0), ("clip", 4, 4)),
    *(("first_moment_scale", 4, 4), ("gradient_scale", 4, 4), ("first_moment", 8, 4)),
    *(("second_moment_scale", 4, 4), ("square", 4, 4), ("square_scale", 4, 4), ("second_moment", 8, 4)),
)
_DECAYED_UPDATE = (("root", 4, 4), ("epsilon", 4, 4), ("divide", 8, 4), ("decay", 4, 4), ("decay_add", 8, 4))
_APPLY = (
    *(("update_scale", 4, 4), ("parameter", 8, 4)),
    *(("assign_parameter", 4, 4), ("assign_first", 4, 4), ("assign_second", 4, 4)),
)
_LAMB = (
    *_CLIPPED_MOMENTS,
    *(("first_correction", 4, 4), ("second_correction", 4, 4)),
    *_DECAYED_UPDATE,
    *(("parameter_square", 4, 4), ("parameter_norm", 4, 0), ("update_square", 4, 4), ("update_norm", 4, 0)),
    *_APPLY,
)
SEPARATE = {
    "sgd": FUSED["sgd"],
    "sgd_momentum": (("momentum_scale", 4, 4), ("momentum_add", 8, 4), ("parameter", 8, 4)),
    "adam": _ADAM,
    "adamw": (("weight_decay", 4, 4), *_ADAM),
    "bert_adam": (*_CLIPPED_MOMENTS, *_DECAYED_UPDATE, *_APPLY),
    "lamb": _LAMB,
}
STATE_BYTES = {"sgd": 0, "sgd_momentum": 4, "adam": 8, "adamw": 8, "bert_adam": 8, "lamb": 8}
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "fp8")
_FULL = ("fp32", "tf32")

# A foreach launch covers at most 320 chunks of 65,536 elements (ATen/native/cuda/MultiTensorApply.cuh).
ELEMENTS_PER_LAUNCH = 320 * 65536


def optimizer_operators(
    kind: str, parameters: int, precision: str = "fp32", *, fused: bool = False, tensors: int = 1
) -> tuple[Operator, ...]:
    """Return the kernels of one step over ``parameters`` elements, in order.

    They are launched for each of ``tensors``, or for as many elements as fit into a launch. ``kind`` is a key of
    ``STATE_BYTES``; ``precision`` is that of the model's weights and gradients, where ``"fp16"``, ``"bf16"`` and
    ``"fp8"`` keep an fp32 master and ``"tf32"`` is fp32 in memory. Raises UnknownNameError and, below 0 parameters,
    DocumentError.
    """
    _check(kind, precision)
    if parameters < 0:
        raise DocumentError(f"an optimizer cannot update {parameters} parameters")
    if not parameters:
        return ()
    kernels = (FUSED if fused else SEPARATE)[kind]
    if precision not in _FULL:
        unscale = (("unscale_gradient", 4, 4),) if precision == "fp16" else ()
        kernels = (("gradient_to_fp32", 2, 4), *unscale, *kernels, ("parameter_from_fp32", 4, 2))
    launches = max(tensors, -(-parameters // ELEMENTS_PER_LAUNCH))
    return tuple(
        memory_bound(
            name,
            Family.OPTIMIZER,
            read_bytes=read * parameters,
            written_bytes=written * parameters,
            element_bytes=4,
            phase=Phase.UPDATE,
            launches=launches,
        )
        for name, read, written in kernels
    )


def optimizer_state_bytes_per_parameter(kind: str, precision: str = "fp32") -> int:
    """Return bytes kept a parameter between steps besides the weight and the gradient themselves.

    Moments, and the fp32 master in mixed precision: 12 for Adam there, the K of ZeRO (arXiv 1910.02054,
    section 3.1).
    """
    _check(kind, precision)
    return STATE_BYTES[kind] + (0 if precision in _FULL else 4)


def _check(kind: str, precision: str) -> None:
    if kind not in STATE_BYTES:
        raise UnknownNameError("optimizer", kind, STATE_BYTES)
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
