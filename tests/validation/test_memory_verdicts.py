"""Whether layouts ran or ran out of memory, against pairs of runs that differ in one thing (arXiv 2311.05610, data)."""

import pytest

from simdml.validation.runs.reading import Row
from simdml.validation.runs.replay import replay_row

# LLaMA 13B to 65B on A100 80 GB, every kernel named in a row's notes; sequences of 2,048 tokens.
SIZES = {
    "13B": ("40", "5120", "40", "13824"),
    "30B": ("60", "6656", "52", "17920"),
    "65B": ("80", "8192", "64", "22016"),
}
COMMON = {
    "source": 'Aleph Alpha "Efficient Parallelization Layouts" (arXiv 2311.05610) data release',
    "gpu": "A100-80GB-SXM",
    "gpus_per_node": "8",
    "framework": "AA-Scaling (PyTorch, ZeRO-1)",
    "vocab": "128000",
    "seq_len": "2048",
    "global_batch_seqs": "2048",
    "dtype": "bf16",
    "sharding": "zero1",
    "recompute": "none",
    "metric_status": "oom",
}
ONE_KERNEL = "flash_attention2 + RMS kernel"


@pytest.mark.parametrize(
    ("size", "gpus", "tp", "pp", "microbatch", "kernels", "fits"),
    [
        ("13B", 64, 2, 2, 4, ONE_KERNEL, True),
        ("13B", 64, 2, 2, 4, "flash_attentionv1.0.8", False),  # aleph-0057
        ("30B", 64, 4, 4, 4, ONE_KERNEL, True),
        ("30B", 64, 4, 2, 4, ONE_KERNEL, False),  # aleph-0764
        ("65B", 128, 8, 4, 2, ONE_KERNEL, True),
        ("65B", 128, 8, 4, 2, "flash_attentionv1.0.8", False),  # aleph-0850
    ],
)
def test_a_layout_fits_or_not_as_it_did(size, gpus, tp, pp, microbatch, kernels, fits):
    layers, hidden, heads, ffn = SIZES[size]
    shape = {"model": f"LLaMA-{size}", "layers": layers, "hidden": hidden, "heads": heads, "ffn": ffn}
    layout = {"num_gpus": gpus, "tp": tp, "pp": pp, "dp": gpus // (tp * pp), "micro_batch": microbatch}
    cells = COMMON | shape | {name: str(value) for name, value in layout.items()}
    row = Row("llm", "table.csv", 2, cells | {"notes": f"attention kernel={kernels}"})
    replay = replay_row(row)
    assert replay.reason == ""
    assert replay.fits is fits
