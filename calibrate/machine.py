"""What a measurement ran on: devices, versions, clocks, and what is missing there."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

# PyTorch leaves these untyped.
cudnn: Any = torch.backends.cudnn
nccl: Any = torch.cuda.nccl
IDENTITY = ("device", "device_type", "cpu", "threads", "torch", "cuda", "driver")
SETTINGS = ("NCCL_", "CUDA_", "CUBLAS_", "CUDNN_", "TORCH_", "PYTORCH_", "OMP_", "MKL_", "GLOO_", "NVIDIA_TF32")
DEFAULT_FLUSH_BYTES = 64 * 2**20
MOST_FLUSH_BYTES = 256 * 2**20


def environment(device: torch.device) -> dict[str, Any]:
    """Return the record that makes a reading comparable: hardware, versions and settings; None where unknown."""
    is_cuda = device.type == "cuda"
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if is_cuda else cpu_model(),
        "device_type": device.type,
        "device_count": torch.cuda.device_count(),
        "cpu": cpu_model(),
        "cpu_count": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _host_memory_bytes(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version() if is_cuda else None,
        "nccl": nccl_version(),
        "driver": _smi("driver_version"),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)},
    }
    if is_cuda:
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device_memory_bytes": properties.total_memory,
            "num_multiprocessors": properties.multi_processor_count,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "l2_bytes": getattr(properties, "L2_cache_size", None),
            "power_limit_w": _smi("power.limit"),
            "max_sm_clock_mhz": _smi("clocks.max.sm"),
        }
    return found


def clocks() -> dict[str, str] | None:
    """Return clocks, temperature and power now, as nvidia-smi or the kernel gives them; None if neither does."""
    if torch.cuda.is_available():
        names = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
        line = _smi(",".join(names))
        return dict(zip(names, line.split(", "), strict=False)) if line else None
    lines = _read("/proc/cpuinfo").splitlines()
    mhz = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    return {"cpu_mhz": f"{sum(mhz) / len(mhz):.0f}"} if mhz else None


def missing(device: torch.device) -> dict[str, str]:
    """Return what this machine or this PyTorch lacks for ``device``, with the reason."""
    lacking = {}
    if device.type != "cuda":
        lacking["CUDA"] = "no CUDA device was found or asked for: GPU-only cases are left out"
    elif torch.cuda.get_device_capability(device) < (8, 9):
        lacking["fp8"] = "needs compute capability 8.9"
    if device.type == "cuda" and _smi("driver_version") is None:
        lacking["nvidia-smi"] = "not found or it failed: no driver version and no clocks"
    if nccl_version() is None:
        lacking["NCCL"] = "this PyTorch was built without it"
    return lacking


@cache
def cpu_model() -> str:
    """Return the processor's name."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def nccl_version() -> str | None:
    """Return the version of NCCL that PyTorch carries."""
    if not (torch.distributed.is_available() and torch.distributed.is_nccl_available()):
        return None
    try:
        return ".".join(str(part) for part in nccl.version())
    except (RuntimeError, AttributeError, TypeError):
        return None


def short_name(device: torch.device) -> str:
    """Return a word for file names, such as ``h200`` or ``cpu``."""
    if device.type == "cpu":
        return "cpu"
    words = [word for word in torch.cuda.get_device_name(device).lower().split() if word not in ("nvidia", "tesla")]
    return words[0] if words else "cuda"


def device_cycles_per_s(device: torch.device) -> float:
    """Return the clock by which torch.cuda._sleep counts, at least roughly."""
    khz = getattr(torch.cuda.get_device_properties(device), "clock_rate", 0) or 2_000_000
    return 1e3 * float(khz)


@cache
def cache_flush(device: torch.device) -> Callable[[], object]:
    """Return a function that reads twice the last-level cache, so that the next kernel finds nothing there."""
    buffer = torch.ones(2 * _cache_bytes(device) // 4, device=device)
    return buffer.sum


def _cache_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)) or DEFAULT_FLUSH_BYTES
    sizes = [_read(str(path)) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    known = [int(size.strip()[:-1]) * 1024 for size in sizes if size.strip().endswith("K")]
    return min(max(known, default=DEFAULT_FLUSH_BYTES), MOST_FLUSH_BYTES)


def _smi(query: str) -> str | None:
    if not torch.cuda.is_available():
        return None
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    chosen = [f"--id=GPU-{uuid}"] if uuid else []
    command = ["nvidia-smi", *chosen, f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None


def _host_memory_bytes() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal"):
            return 1024 * int(line.split()[1])
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
