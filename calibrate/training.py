"""Trains real networks for a few steps: step time, peak memory, and kernel time by family.

    python training.py [--quick] [--only "gpt2_medium recompute"] [--minutes 4] [--out readings]

Networks are those of ``training_models.py`` on random data. Types: fp32 and tf32 as named; bf16 has weights,
gradients and optimizer states all in bf16; amp_bf16 keeps them in fp32 and computes under autocast. Convolutional
networks use SGD with momentum, transformers AdamW, fused. A sample of the step time is the mean of steps in a
row, the device idle before and after. Memory is the peak of the measured steps: what tensors took (allocated) and
what the allocator held for them (reserved). On a CPU ``--quick`` trains tiny versions.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import clocks
import measuring
import torch
import training_models
from clocks import Clock
from measuring import Case, Missing, Stopping
from torch.profiler import ProfilerActivity, profile

PROGRAM = "training"
SECONDS_PER_CASE = 3.0
WARMUP_STEPS = 3
SAMPLE_S = 0.2
MOST_STEPS = 10
PHASE_REPEATS = 5
IMAGE_SIZE = {"resnet50": 224, "vgg16": 224, "resnet_tiny": 64, "vgg_tiny": 32}

# model, batch, sequence (0 for images), type, variants
GPU_RUNS = (
    ("gpt2", 8, 1024, "bf16", ("plain", "recompute", "compile")),
    ("resnet50", 128, 0, "tf32", ("plain", "compile")),
    ("bert_large", 16, 512, "bf16", ("plain", "recompute", "compile")),
    ("gpt2_medium", 8, 1024, "bf16", ("plain", "recompute", "compile")),
    ("llama_1b", 4, 2048, "bf16", ("plain", "recompute", "compile")),
    ("vgg16", 64, 0, "tf32", ("plain", "compile")),
    ("gpt2_large", 8, 1024, "bf16", ("plain", "recompute", "compile")),
    ("gpt2_xl", 4, 1024, "bf16", ("plain", "recompute", "compile")),
    ("llama_3b", 2, 2048, "bf16", ("plain", "recompute", "compile")),
    ("gpt2", 8, 1024, "amp_bf16", ("plain",)),
    ("gpt2", 8, 1024, "tf32", ("plain",)),
    ("gpt2", 32, 1024, "bf16", ("plain",)),
    ("resnet50", 128, 0, "amp_bf16", ("plain",)),
    ("resnet50", 64, 0, "fp32", ("plain",)),
    ("resnet50", 256, 0, "tf32", ("plain",)),
    ("vgg16", 64, 0, "amp_bf16", ("plain",)),
    ("bert_large", 64, 128, "bf16", ("plain",)),
    ("bert_large", 16, 512, "tf32", ("plain",)),
    ("gpt2_xl", 8, 1024, "amp_bf16", ("recompute",)),
    ("llama_1b", 8, 2048, "amp_bf16", ("recompute",)),
)
CPU_RUNS = (
    ("resnet50", 2, 0, "fp32", ("plain",)),
    ("llama_75m", 1, 128, "fp32", ("plain",)),
    ("bert_base", 1, 128, "fp32", ("plain",)),
    ("vgg16", 1, 0, "fp32", ("plain",)),
    ("gpt2", 1, 128, "fp32", ("plain", "recompute")),
)
TINY_RUNS = (
    ("gpt2_tiny", 4, 64, "fp32", ("plain", "recompute")),
    ("llama_tiny", 4, 64, "fp32", ("plain",)),
    ("bert_tiny", 4, 64, "fp32", ("plain",)),
    ("resnet_tiny", 4, 0, "fp32", ("plain",)),
    ("vgg_tiny", 2, 0, "fp32", ("plain",)),
)

# The first row with a word of the operator's name gives its family; the rest is elementwise.
FAMILY_WORDS = (
    ("attention", ("attention",)),
    ("optimizer", ("_fused_adam", "_fused_sgd", "_foreach", "optimizer")),
    ("compiled", ("triton", "cpp_fused", "torch-compiled")),
    ("loss", ("log_softmax", "nll_loss", "cross_entropy")),
    ("convolution", ("conv",)),
    ("normalization", ("layer_norm", "batch_norm", "rms_norm")),
    ("softmax", ("softmax",)),
    ("embedding", ("embedding",)),
    ("pooling", ("pool",)),
    ("batched_matmul", ("bmm", "baddbmm")),
    ("matmul", ("::mm", "addmm", "scaled_mm", "linear")),
    ("copy", ("copy", "clone", "::cat", "contiguous", "repeat")),
)


def main() -> None:
    """Measure what the command line asks for."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")
    parser = measuring.argument_parser(PROGRAM, __doc__)
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try all algorithms")
    parser.add_argument("--steps-alone", action="store_true", help="neither phases nor kernel times by family")
    clocks.add_argument(parser)
    arguments = parser.parse_args()
    measuring.leave_to_first_rank()
    device = measuring.choose_device(arguments.device, arguments.threads)
    torch.backends.cudnn.benchmark = arguments.cudnn_benchmark
    cases = measuring.choose_cases(all_cases(device.type, quick=arguments.quick), arguments)
    measure = partial(measure_case, device=device, clock=clocks.choose(arguments, device), alone=arguments.steps_alone)
    journal = measuring.open_journal(PROGRAM, arguments, device, clock=arguments.clock)
    stopping = measuring.stopping(arguments, SECONDS_PER_CASE, quick_seconds=0.5)
    measuring.run_cases(journal, cases, lambda case: measure(case, stopping=stopping), arguments)


def all_cases(device_type: str, *, quick: bool = False) -> list[Case]:
    """Return the cases: the plain step of every network first, compiled ones, which take longest, last."""
    runs = (GPU_RUNS[:3] if quick else GPU_RUNS) if device_type == "cuda" else (TINY_RUNS if quick else CPU_RUNS)
    return [
        _case(model, batch, sequence, dtype, variant)
        for variant in ("plain", "recompute", "compile")
        for model, batch, sequence, dtype, variants in runs
        if variant in variants and not (quick and variant == "compile")
    ]


def _case(model: str, batch: int, sequence: int, dtype: str, variant: str) -> Case:
    case = {"family": "training_step", "op": "step", "model": model, "batch": batch, "dtype": dtype, "variant": variant}
    if sequence:
        dropout = 0.1 if model == "bert_large" else 0.0
        return case | {"sequence": sequence, "dropout": dropout, "optimizer": "adamw_fused"}
    layout = "nhwc" if dtype == "amp_bf16" else "nchw"
    return case | {"image": IMAGE_SIZE[model], "layout": layout, "dropout": 0.0, "optimizer": "sgd_momentum_fused"}


class Trainer:
    """A network, its data and its optimizer; ``step`` is one training step."""

    def __init__(self, case: Case, device: torch.device, clock: Clock = time.perf_counter) -> None:
        self.device, self.clock, dtype = device, clock, case["dtype"]
        torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = dtype == "tf32"
        recompute = case["variant"] == "recompute"
        with torch.device(device):
            network = training_models.build(case["model"], recompute=recompute, dropout=case["dropout"])
            self.batch = _batch(case)
        layout = torch.channels_last if case.get("layout") == "nhwc" else torch.contiguous_format
        network = network.to(torch.bfloat16 if dtype == "bf16" else torch.float32)
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
        if "image" in case:
            self.batch[0] = self.batch[0].to(memory_format=layout)
        self.parameters = list(network.parameters())
        self.optimizer = _optimizer(case, self.parameters)
        self.network: Callable[..., torch.Tensor] = torch.compile(network) if case["variant"] == "compile" else network
        self.autocast = dtype == "amp_bf16"

    def forward(self) -> torch.Tensor:
        """Return the loss."""
        casting = torch.autocast(self.device.type, dtype=torch.bfloat16) if self.autocast else contextlib.nullcontext()
        with casting:
            return self.network(*self.batch)

    def update(self) -> None:
        """Apply the gradients and forget them."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Run forward, backward and update."""
        self.forward().backward()  # type: ignore[no-untyped-call]
        self.update()


def measure_case(
    case: Case, device: torch.device, stopping: Stopping, clock: Clock = time.perf_counter, *, alone: bool = False
) -> dict[str, Any]:
    """Return step time, memory and, unless ``alone``, phases and kernel time by family of one network."""
    _clear(device)
    trainer = Trainer(case, device, clock)
    try:
        measured = _measure_trainer(trainer, case, device, stopping)
        return measured if alone else measured | {"phases_s": _phases(trainer), **_families(trainer)}
    finally:
        del trainer
        if case["variant"] == "compile":
            torch.compiler.reset()
        _clear(device)


def _measure_trainer(trainer: Trainer, case: Case, device: torch.device, stopping: Stopping) -> dict[str, Any]:
    begin = time.perf_counter()
    for _ in range(WARMUP_STEPS):
        trainer.step()
    measuring.synchronize(device)
    warmup_s = time.perf_counter() - begin
    once = _steps_s(trainer, 1)
    steps = max(1, min(MOST_STEPS, round(SAMPLE_S / once)))
    reset = _reset_peak(device)
    reading = measuring.measure(lambda count: [_steps_s(trainer, steps) for _ in range(count)], stopping)
    peak = _peak(device) if reset else {}
    return measuring.reading_entry(reading) | {
        "steps_per_sample": steps,
        "warmup_s": warmup_s,
        "parameter_count": sum(parameter.numel() for parameter in trainer.parameters),
        "samples_per_s": case["batch"] / reading.seconds,
        "memory": peak,
    }


def _steps_s(trainer: Trainer, steps: int) -> float:
    measuring.synchronize(trainer.device)
    begin = trainer.clock()
    for _ in range(steps):
        trainer.step()
    measuring.synchronize(trainer.device)
    return (trainer.clock() - begin) / steps


def _phases(trainer: Trainer) -> dict[str, float]:
    """Return median seconds of forward, backward and update, the device idle between them."""
    samples: dict[str, list[float]] = {"forward": [], "backward": [], "update": []}
    losses: list[torch.Tensor] = []
    phases: dict[str, Callable[[], object]] = {
        "forward": lambda: losses.append(trainer.forward()),
        "backward": lambda: losses.pop().backward(),  # type: ignore[no-untyped-call]
        "update": trainer.update,
    }
    for _ in range(PHASE_REPEATS):
        for name, phase in phases.items():
            measuring.synchronize(trainer.device)
            begin = trainer.clock()
            phase()
            measuring.synchronize(trainer.device)
            samples[name].append(trainer.clock() - begin)
    return {name: statistics.median(values) for name, values in samples.items()}


def _families(trainer: Trainer) -> dict[str, Any]:
    """Return seconds by family of one profiled step: of kernels on a GPU, of operators on a CPU."""
    is_cuda = trainer.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    try:
        with profile(activities=activities) as profiled:
            trainer.step()
            measuring.synchronize(trainer.device)
        rows = list(profiled.key_averages())
    except (RuntimeError, AttributeError) as error:
        return {"family_s": None, "profiler": f"failed: {error}"}
    return {"family_s": family_seconds(rows, is_cuda=is_cuda)}


def family_seconds(rows: Iterable[Any], *, is_cuda: bool) -> dict[str, float]:
    """Return seconds by family from the profiler's rows (times in microseconds).

    On a GPU the kernels that an operator launched are booked to its family; kernels of no known operator are
    ``unattributed``.
    """
    found: dict[str, float] = {}
    kernels_s = 0.0
    for row in rows:
        on_device = "CPU" not in str(getattr(row, "device_type", "CPU"))
        if on_device:
            kernels_s += 1e-6 * _device_us(row)
            continue
        seconds = 1e-6 * (_device_us(row) if is_cuda else float(row.self_cpu_time_total))
        if seconds:
            family = family_of(row.key)
            found[family] = found.get(family, 0.0) + seconds
    if is_cuda:
        found["unattributed"] = max(kernels_s - sum(found.values()), 0.0)
    return found


def _device_us(row: Any) -> float:
    value = getattr(row, "self_device_time_total", None)
    return float(row.self_cuda_time_total if value is None else value)


def family_of(operator: str) -> str:
    """Return the family of a profiled operator, by its name."""
    name = operator.lower()
    return next((family for family, words in FAMILY_WORDS if any(word in name for word in words)), "elementwise")


def _batch(case: Case) -> list[torch.Tensor]:
    batch = case["batch"]
    if "sequence" in case:
        return [torch.randint(training_models.TRANSFORMERS[case["model"]].vocabulary, (batch, case["sequence"]))]
    dtype = torch.bfloat16 if case["dtype"] == "bf16" else torch.float32
    images = torch.randn(batch, 3, case["image"], case["image"], dtype=dtype)
    return [images, torch.randint(1000, (batch,))]


def _optimizer(case: Case, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    if case["optimizer"] == "adamw_fused":
        return torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, fused=True)


def _clear(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _reset_peak(device: torch.device) -> bool:
    """Begin a new peak of memory; False where the system keeps none that can begin again."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak(device: torch.device) -> dict[str, int]:
    if device.type == "cuda":
        return {
            "peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
            "peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
            "allocated_between_steps_bytes": torch.cuda.memory_allocated(device),
        }
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return {"peak_resident_bytes": 1024 * int(line.split()[1])}
    raise Missing("VmHWM in /proc/self/status")


if __name__ == "__main__":
    main()
