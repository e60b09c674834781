"""How frameworks lay images out for tensor cores, where a row does not say: a property of software, never of a row."""

from __future__ import annotations

import re
from typing import Any, Final

from simdml.validation.runs.reading import Row

_CHANNELS_LAST: Final = {"memory_format": "channels_last"}
_FUSED: Final = _CHANNELS_LAST | {"fused_batch_norm": True}
_STATED: Final = re.compile(r"memory_format (nchw|nhwc)")

_HALF: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    # NVIDIA/DeepLearningExamples, MxNet/Classification/RN50v1.5: NHWC in half precision, with --fuse-bn-relu and
    # --fuse-bn-add-relu.
    (r"mxnet.*dle", _FUSED),
    # TensorFlow/Classification/ConvNets: compute_format NHWC with AMP; the graph's remapper makes FusedBatchNormEx, of
    # sum and ReLU too, of channels-last half precision (tensorflow/core/grappler/optimizers/remapper.cc).
    (r"tensorflow.*dle", _FUSED),
    # tf_cnn_benchmarks: TensorFlow lays the graph out anew with channels last on Volta and later
    # (grappler/optimizers/generic_layout_optimizer.cc) and fuses batch norm as above. Since which version was chosen
    # after rows were seen: those of 2.3 and of 1.15 with CUDA 11, NVIDIA's, but not 2.2's.
    (r"tf_cnn_benchmarks.*cuda v11", _FUSED),
    # PyTorch/Classification/ConvNets: --memory-format nhwc with AMP; eager kernels.
    (r"pytorch \(nvidia dle\)", _CHANNELS_LAST),
    # MindSpore's GPU backend inserts format transforms for half precision (backend/optimizer/gpu).
    (r"mindspore", _CHANNELS_LAST),
)
"""In half precision; in fp32 and tf32 all of them, and elsewhere PyTorch, lay images out with channels first."""


def layout_of(row: Row) -> dict[str, Any]:
    """Return what of ``training`` says how images lie in half precision."""
    stated = _STATED.search(row.text("notes"))
    if stated:
        return _CHANNELS_LAST if stated[1] == "nhwc" else {}
    software = f"{row.text('framework')} {row.text('notes')}".lower()
    return next((layout for pattern, layout in _HALF if re.search(pattern, software)), {})
