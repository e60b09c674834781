"""Measures memory: copies on the device and to and from the host, the allocator, and what a context takes.

    python memory.py [--quick] [--only "host_to_device"] [--out readings]

Without CUDA it measures copies in host memory and what a process with PyTorch takes; the rest is named as missing.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import measuring
import torch
from measuring import Case, Missing, Stopping, Work

# PyTorch leaves some of its functions untyped.
cuda: Any = torch.cuda
PROGRAM = "memory"
SECONDS_PER_CASE = 0.3
KIB, MIB, GIB = 2**10, 2**20, 2**30
QUICK_LARGEST = 16 * MIB
CONTEXT_TIMEOUT_S = 120
ALLOCATIONS = (1, 512, 513, 4 * KIB, 100_000, MIB, MIB + 1, 3 * MIB, 10 * MIB, 11 * MIB, 20 * MIB, 100_000_000)


def main() -> None:
    """Measure what the command line asks for."""
    arguments = measuring.argument_parser(PROGRAM, __doc__).parse_args()
    measuring.leave_to_first_rank()
    device = measuring.choose_device(arguments.device, arguments.threads)
    cases = measuring.choose_cases(all_cases(device.type, quick=arguments.quick), arguments)
    journal = measuring.open_journal(PROGRAM, arguments, device)
    stopping = measuring.stopping(arguments, SECONDS_PER_CASE)
    measuring.run_cases(journal, cases, lambda case: measure_case(case, device, stopping), arguments)


def all_cases(device_type: str, *, quick: bool = False) -> list[Case]:
    """Return the cases: copies by size, blocks of the allocator, training-like traffic, and the context."""
    is_cuda = device_type == "cuda"
    largest = QUICK_LARGEST if quick else 4 * GIB if is_cuda else 256 * MIB
    cases = [_copy("device_copy", size) for size in _sizes(largest, quick=quick)]
    if is_cuda:
        cases += [
            _copy(op, size, pinned=pinned)
            for size in _sizes(min(largest, GIB), quick=quick)
            for op in ("host_to_device", "device_to_host")
            for pinned in (True, False)
        ]
        cases += [_copy("both_ways", size, pinned=True) for size in (16 * MIB, 256 * MIB)]
        cases += [{"family": "allocator", "op": "allocate", "bytes": size} for size in ALLOCATIONS]
        widths = (1024,) if quick else (1024, 2048, 4096)
        cases += [{"family": "allocator", "op": "training_pattern", "columns": width} for width in widths]
    return [*cases, {"family": "context", "op": "start"}]


def measure_case(case: Case, device: torch.device, stopping: Stopping) -> dict[str, Any]:
    """Return the reading of one case: seconds, and the bytes taken where it is about those."""
    if case["family"] == "context":
        return _context(device)
    if case["op"] == "training_pattern":
        return _training_pattern(case["columns"], device)
    if case["family"] == "allocator":
        return _allocation(case["bytes"], device, stopping)
    work = _copy_work(case, device)
    timer = measuring.timer_for(device, cold=case["op"] == "device_copy")
    entry = measuring.reading_entry(measuring.time_work(work, timer, stopping))
    return entry | {"bytes_per_s": case["bytes"] / entry["seconds"]}


def _sizes(largest: int, *, quick: bool) -> list[int]:
    step = 4 if quick else 2
    return [step**power for power in range(6 if quick else 12, 40) if step**power <= largest]


def _copy(op: str, size: int, *, pinned: bool | None = None) -> Case:
    case: Case = {
        "family": "copy",
        "op": op,
        "phase": "forward",
        "dtype": "fp32",
        "shape": [],
        "element_bytes": 4,
        "flops": 0.0,
        "read_bytes": float(size),
        "written_bytes": float(size),
        "launches": 1,
        "causal": False,
        "bytes": size,
    }
    if pinned is not None:
        case |= {"pinned": pinned, "kernel": "pinned" if pinned else "pageable"}
    return case


def _copy_work(case: Case, device: torch.device) -> Work:
    elements = case["bytes"] // 4
    here = torch.randn(elements, device=device)
    if case["op"] == "device_copy":
        there = torch.empty_like(here)
        return lambda: there.copy_(here)
    host = torch.randn(elements, pin_memory=case["pinned"])
    if case["op"] == "host_to_device":
        return lambda: here.copy_(host, non_blocking=True)
    if case["op"] == "device_to_host":
        return lambda: host.copy_(here, non_blocking=case["pinned"])
    return _both_ways(here, host, device)


def _both_ways(here: torch.Tensor, host: torch.Tensor, device: torch.device) -> Work:
    """Copy to and from the device at once, on two streams that the current one waits for."""
    back, other = torch.empty_like(host, pin_memory=True), torch.randn_like(here)
    streams = cuda.Stream(device), cuda.Stream(device)

    def copy() -> None:
        current = torch.cuda.current_stream(device)
        for stream, (target, source) in zip(streams, ((here, host), (back, other)), strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                target.copy_(source, non_blocking=True)
        for stream in streams:
            current.wait_stream(stream)

    return copy


def _allocation(size: int, device: torch.device, stopping: Stopping) -> dict[str, Any]:
    """Return what the caching allocator takes for a block of ``size`` bytes, and the time of a cached pair of calls."""
    torch.cuda.empty_cache()
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    block = torch.empty(size, dtype=torch.uint8, device=device)
    taken = {
        "allocated_bytes": torch.cuda.memory_allocated(device) - allocated,
        "reserved_bytes": torch.cuda.memory_reserved(device) - reserved,
    }
    del block
    timer = measuring.HostTimer(device)
    reading = measuring.time_work(lambda: torch.empty(size, dtype=torch.uint8, device=device), timer, stopping)
    return measuring.reading_entry(reading) | taken


def _training_pattern(width: int, device: torch.device) -> dict[str, Any]:
    """Return peak allocated and reserved bytes of steps of a multilayer perceptron, whose blocks come and go."""
    torch.cuda.empty_cache()
    layers = [torch.nn.Sequential(torch.nn.Linear(width, 4 * width), torch.nn.GELU()) for _ in range(4)]
    layers = [torch.nn.Sequential(layer, torch.nn.Linear(4 * width, width)) for layer in layers]
    model = torch.nn.Sequential(*layers).to(device)
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        for rows in (2048, 1536, 3072):
            model(torch.randn(rows, width, device=device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    torch.cuda.reset_peak_memory_stats(device)
    reading = measuring.measure(measuring.HostTimer(device)(step), Stopping(most=10, seconds=2.0))
    return measuring.reading_entry(reading) | {
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
        "retries": torch.cuda.memory_stats(device).get("num_alloc_retries", 0),
    }


_PROBE = """
import json, resource, sys, time
begin = time.perf_counter()
import torch
host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
found = {"import_s": time.perf_counter() - begin, "host_bytes_after_import": host}
def used():
    free, total = torch.cuda.mem_get_info()
    return total - free
if sys.argv[1] == "cuda":
    begin = time.perf_counter()
    x = torch.ones(512, 512, device="cuda")
    torch.cuda.synchronize()
    found |= {"context_s": time.perf_counter() - begin, "device_bytes_after_context": used()}
    torch.mm(x, x); torch.cuda.synchronize()
    found["device_bytes_after_matmul"] = used()
    torch.nn.functional.conv2d(x.view(1, 1, 512, 512), torch.ones(1, 1, 3, 3, device="cuda"))
    torch.cuda.synchronize()
    found |= {"device_bytes_after_convolution": used(), "reserved_bytes": torch.cuda.memory_reserved()}
    found["host_bytes_after_convolution"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(found))
"""


def _context(device: torch.device) -> dict[str, Any]:
    """Return what a fresh process takes, on the host and on the device, before any tensor of a model.

    Device bytes are of the whole device; those in use before the process started are subtracted, so nothing else
    may start or stop on it meanwhile. ``seconds`` is the time of the process.
    """
    before = 0
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(device)
        before = total - free
    begin = time.perf_counter()
    command = [sys.executable, "-c", _PROBE, device.type]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CONTEXT_TIMEOUT_S, check=True)
    except subprocess.SubprocessError as error:
        raise Missing(f"a fresh process could not be measured: {error}") from error
    found: dict[str, Any] = json.loads(done.stdout)
    for name in [name for name in found if name.startswith("device_bytes")]:
        found[name] -= before
    reading = measuring.summary([time.perf_counter() - begin])
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return measuring.reading_entry(reading) | found | {"host_bytes_of_this_process": usage}


if __name__ == "__main__":
    main()
