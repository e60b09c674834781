"""Times the kernels of training: matmul, attention, convolution, norms, elementwise, optimizer and launches.

    python compute.py [--quick] [--only "matmul bf16"] [--minutes 4] [--out readings]

Run it on one GPU, or on a CPU where there is none. GPU times are of CUDA events around a kernel whose inputs are
random and whose caches were flushed (``--cache warm`` leaves them); CPU times are the host's clock around the call.
Run it again with the same --out to go on after an interruption.
"""

from __future__ import annotations

import argparse
from typing import Any

import clocks
import compute_cases
import compute_kernels
import machine
import measuring
import torch
from measuring import Case, Timer

PROGRAM = "compute"
SECONDS_PER_CASE = 0.25
WARM_CLOCKS_S = 1.0


def main() -> None:
    """Measure what the command line asks for."""
    parser = measuring.argument_parser(PROGRAM, __doc__)
    parser.add_argument("--cache", choices=("cold", "warm"), default="cold", help="flush caches before every sample")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try all algorithms, as training does")
    parser.add_argument("--small", action="store_true", help="cases of at most half a GFLOP and 30 MB")
    parser.add_argument("--dtypes", metavar="TYPES", help="types to measure, separated by commas; all of the device's")
    clocks.add_argument(parser)
    arguments = parser.parse_args()
    measuring.leave_to_first_rank()
    device = measuring.choose_device(arguments.device, arguments.threads)
    torch.backends.cudnn.benchmark = arguments.cudnn_benchmark
    cases = measuring.choose_cases(_cases(device.type, arguments), arguments)
    clock = clocks.choose(arguments, device)
    journal = measuring.open_journal(PROGRAM, arguments, device, cache=arguments.cache, clock=arguments.clock)
    _note_kernels(journal, device)
    warm_clocks(device)
    timer = measuring.timer_for(device, cold=arguments.cache == "cold", clock=clock)
    stopping = measuring.stopping(arguments, SECONDS_PER_CASE)
    measuring.run_cases(journal, cases, lambda case: measure_case(case, device, timer, stopping), arguments)


def _cases(device_type: str, arguments: argparse.Namespace) -> list[Case]:
    dtypes = tuple(arguments.dtypes.split(",")) if arguments.dtypes else None
    try:
        return compute_cases.all_cases(device_type, quick=arguments.quick, small=arguments.small, dtypes=dtypes)
    except ValueError as error:
        raise SystemExit(f"--dtypes: {error}") from None


def measure_case(case: Case, device: torch.device, timer: Timer, stopping: measuring.Stopping) -> dict[str, Any]:
    """Return the reading of one kernel, in seconds a call; of a launch chain, a launch."""
    if case["family"] == "launch":
        return _measure_launches(case, device, timer, stopping)
    gradient = case["op"].endswith("_gradient") or case["family"] == "attention"
    with torch.set_grad_enabled(gradient and case["phase"] != "forward"):
        work = compute_kernels.build(case, device)
        return measuring.reading_entry(measuring.time_work(work, timer, stopping))


def _measure_launches(case: Case, device: torch.device, timer: Timer, stopping: measuring.Stopping) -> dict[str, Any]:
    """Time a chain of smallest kernels: by the host's clock while it enqueues, or on the device when queued."""
    work = compute_kernels.build(case, device)
    if case["op"] == "empty_kernel_host":
        timer = measuring.HostTimer(device)
    entry = measuring.reading_entry(measuring.time_work(work, timer, stopping))
    return entry | {name: entry[name] / case["chain"] for name in ("seconds", "minimum_s")}


def warm_clocks(device: torch.device) -> None:
    """Keep a GPU busy for a second, so that its clocks are those of work."""
    if device.type == "cuda":
        x = torch.randn(4096, 4096, device=device, dtype=torch.float16)
        timer = measuring.HostTimer(device)
        stopping = measuring.Stopping(seconds=WARM_CLOCKS_S, half_width=0.0, most=10**6)
        measuring.measure(timer(lambda: torch.mm(x, x)), stopping)


def _note_kernels(journal: measuring.Journal, device: torch.device) -> None:
    flash = getattr(torch.backends.cuda, "is_flash_attention_available", None)
    if device.type == "cuda" and flash is not None and not flash():
        journal.miss("flash attention", "this PyTorch was built without it")
    journal.environment["clocks_at_start"] = machine.clocks()


if __name__ == "__main__":
    main()
