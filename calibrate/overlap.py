"""Measures how much work in the background slows work in the foreground: matmuls, copies and collectives.

    python overlap.py                                          one device: a copy beside a matmul
    torchrun --nproc-per-node 8 overlap.py --out overlap_8.json    a collective beside a matmul
    python overlap.py --nproc 2 --backend gloo                 the same on this machine's own ranks

For every pair both are timed alone; then a chain of one while a longer chain of the other runs, and the reverse. A
case's ``seconds`` are of one call of its ``foreground`` while its ``background`` runs all the time (``covered`` says
whether it did); ``slowdown`` is relative to ``alone_seconds``. On a GPU the two are on streams of their own; on a
CPU they are threads, and PyTorch uses half the cores for each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import machine
import measuring
import ranks
import torch
import torch.distributed as dist
from measuring import Case, Stopping, Work

# PyTorch leaves some of its functions untyped.
cuda: Any = torch.cuda
PROGRAM = "overlap"
SECONDS_PER_CASE = 1.0
CHAIN_S = 0.02
LONGER = 1.6
MOST_CALLS = 400
ENQUEUE_S = 2e-5
MIB = 2**20
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter")
COPIES = ("host_to_device", "device_to_host", "device_copy")


def main() -> None:
    """Measure what the command line asks for, as one process, one rank, or the starter of ranks."""
    parser = measuring.argument_parser(PROGRAM, __doc__)
    ranks.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.nproc and not ranks.is_rank():
        measuring.stop_politely()
        raise SystemExit(ranks.start(arguments.nproc))
    if not ranks.is_rank():
        device = measuring.choose_device(arguments.device, arguments.threads)
        if device.type == "cpu" and not arguments.threads:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
        _lead(device, None, arguments)
        return
    group = ranks.join(arguments)
    if group.rank:
        measuring.stop_politely()
        _follow(group)
        return
    try:
        _lead(group.device, group, arguments)
    finally:
        group.announce(None)
    group.leave()


def all_cases(device_type: str, group: ranks.Group | None, *, quick: bool = False) -> list[Case]:
    """Return the cases: every background beside every matmul, both ways round."""
    is_cuda = device_type == "cuda"
    dtype = "bf16" if is_cuda else "fp32"
    widths = ((4096, 8192) if is_cuda else (256,)) if quick else (2048, 4096, 8192) if is_cuda else (256, 512, 1024)
    sizes = ((64 * MIB,) if is_cuda else (MIB,)) if quick else (16 * MIB, 256 * MIB) if is_cuda else (MIB, 16 * MIB)
    backgrounds = COLLECTIVES if group else COPIES if is_cuda else ("device_copy",)
    where: Case = {"ranks": group.size, "nodes": group.nodes, "backend": group.backend} if group else {"ranks": 1}
    cases = []
    for width in widths:
        for size in sizes:
            for background in backgrounds:
                words = {"family": "overlap", "dtype": dtype, "shape": [width] * 3, "bytes": size, "matmul": "linear"}
                pairs = (("matmul", background), (background, "matmul"))
                cases += [
                    {**words, "op": f"{fore} beside {back}", "foreground": fore, "background": back, **where}
                    for fore, back in pairs
                ]
    return cases


Gate = torch.cuda.Event | None


def gate(device: torch.device, calls: int) -> Gate:
    """Return an event of a GPU that happens once ``calls`` calls are surely enqueued; None on a CPU."""
    if device.type != "cuda":
        return None
    event: torch.cuda.Event = cuda.Event()
    with torch.cuda.stream(cuda.Stream(device)):
        cuda._sleep(int(min(ENQUEUE_S * calls, measuring.LONGEST_GATE_S) * machine.device_cycles_per_s(device)))
        event.record()
    return event


@dataclass(frozen=True, slots=True)
class Side:
    """One of two kinds of work that run at once; ``stream`` is None on a CPU."""

    work: Work
    stream: torch.cuda.Stream | None

    def chain(self, calls: int, gate: Gate = None) -> float:
        """Run ``calls`` calls, wait for them and return the seconds taken."""
        return self.launch(calls, gate)()

    def launch(self, calls: int, gate: Gate = None) -> Callable[[], float]:
        """Begin ``calls`` calls, on a stream when ``gate`` opens; the result waits and gives the seconds taken."""
        return self._launch_thread(calls) if self.stream is None else self._launch_stream(calls, self.stream, gate)

    def _launch_thread(self, calls: int) -> Callable[[], float]:
        taken: list[float] = []

        def run() -> None:
            begin = time.perf_counter()
            for _ in range(calls):
                self.work()
            taken.append(time.perf_counter() - begin)

        thread = threading.Thread(target=run)
        thread.start()

        def wait() -> float:
            thread.join()
            if not taken:
                raise RuntimeError("the background work failed; its error is above")
            return taken[0]

        return wait

    def _launch_stream(self, calls: int, stream: torch.cuda.Stream, gate: Gate) -> Callable[[], float]:
        begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        with torch.cuda.stream(stream):
            if gate:
                stream.wait_event(gate)
            begin.record()
            for _ in range(calls):
                self.work()
            end.record()

        def wait() -> float:
            end.synchronize()
            return float(begin.elapsed_time(end)) / 1e3

        return wait


def measure_case(case: Case, device: torch.device, group: ranks.Group | None, stopping: Stopping) -> dict[str, Any]:
    """Return the reading of the foreground beside the background; ranks measure together and agree."""
    fore, back = (_side(case[role], case, device) for role in ("foreground", "background"))
    agree = group.slowest if group else list
    fore_s, fore_calls = _alone(fore, stopping, agree, group)
    back_s, _ = _alone(back, stopping, agree, group)
    back_calls = _at_most(LONGER * fore_s * fore_calls / back_s)
    for _ in range(3):
        _, fore_beside, back_beside = _together(fore, back, (fore_calls, back_calls), device, agree, group)
        if back_beside >= LONGER / 1.3 * fore_beside or back_calls == MOST_CALLS:
            break
        back_calls = _at_most(back_calls * LONGER * fore_beside / back_beside)
    covered: list[bool] = []

    def sample(count: int) -> list[float]:
        samples = []
        for _ in range(count):
            each, whole, background = _together(fore, back, (fore_calls, back_calls), device, agree, group)
            samples.append(each)
            covered.append(background >= whole)
        return samples

    reading = measuring.measure(sample, stopping, shared_calls=LONGER * fore_calls)
    return measuring.reading_entry(reading) | {
        "alone_seconds": fore_s,
        "background_alone_seconds": back_s,
        "slowdown": reading.seconds / fore_s,
        "covered": sum(covered) >= 0.9 * len(covered),
    }


Agree = Callable[[list[float]], list[float]]


def _alone(side: Side, stopping: Stopping, agree: Agree, group: ranks.Group | None) -> tuple[float, int]:
    """Return the median seconds of a call alone, and the calls of a chain of about CHAIN_S."""
    side.chain(2)
    once = agree([side.chain(3) / 3])[0]
    calls = _at_most(CHAIN_S / once)

    def sample(count: int) -> list[float]:
        samples = []
        for _ in range(count):
            _meet(group)
            samples.append(side.chain(calls) / calls)
        return agree(samples)

    return measuring.measure(sample, stopping, shared_calls=calls).seconds, calls


def _together(
    fore: Side,
    back: Side,
    calls: tuple[int, int],
    device: torch.device,
    agree: Agree,
    group: ranks.Group | None,
) -> tuple[float, float, float]:
    """Return seconds of a call of ``fore``, of its chain, and of the chain of ``back`` that began with it."""
    fore_calls, back_calls = calls
    _meet(group)
    opening = gate(device, fore_calls + back_calls)
    wait_back = back.launch(back_calls, opening)
    fore_s = fore.chain(fore_calls, opening)
    both = agree([fore_s, wait_back()])
    return both[0] / fore_calls, both[0], both[1]


def _meet(group: ranks.Group | None) -> None:
    if group:
        group.barrier()


def _at_most(calls: float) -> int:
    return max(1, min(MOST_CALLS, round(calls)))


def _side(name: str, case: Case, device: torch.device) -> Side:
    """Return the work called ``name`` on random data, on a stream of its own where there are streams."""
    stream = cuda.Stream(device) if device.type == "cuda" else None
    on_stream = torch.cuda.stream(stream) if stream else contextlib.nullcontext()
    with on_stream:
        work = _matmul(case, device) if name == "matmul" else _transfer(name, case["bytes"], device)
    measuring.synchronize(device)
    return Side(work, stream)


def _matmul(case: Case, device: torch.device) -> Work:
    m, n, k = case["shape"]
    dtype = torch.bfloat16 if case["dtype"] == "bf16" else torch.float32
    x = torch.randn(m, k, device=device, dtype=dtype)
    weight, out = torch.randn(n, k, device=device, dtype=dtype), torch.empty(m, n, device=device, dtype=dtype)
    return lambda: torch.mm(x, weight.t(), out=out)


def _transfer(name: str, size: int, device: torch.device) -> Work:
    here = torch.randn(size // 4, device=device)
    if name in COLLECTIVES:
        return _collective(name, here)
    if name == "device_copy":
        other = torch.empty_like(here)
        return lambda: other.copy_(here)
    host = torch.randn(size // 4, pin_memory=True)
    if name == "host_to_device":
        return lambda: here.copy_(host, non_blocking=True)
    return lambda: host.copy_(here, non_blocking=True)


def _collective(name: str, full: torch.Tensor) -> Work:
    part = full[: len(full) // dist.get_world_size()].clone()
    if name == "all_reduce":
        return lambda: dist.all_reduce(full, op=dist.ReduceOp.MAX)
    if name == "all_gather":
        return lambda: ranks.gather_into(full, part)
    return lambda: ranks.reduce_scatter(part, full)


def _lead(device: torch.device, group: ranks.Group | None, arguments: argparse.Namespace) -> None:
    cases = measuring.choose_cases(all_cases(device.type, group, quick=arguments.quick), arguments)
    journal = measuring.open_journal(PROGRAM, arguments, device)
    stopping = measuring.stopping(arguments, SECONDS_PER_CASE, quick_seconds=0.3)

    def measure_one(case: Case) -> dict[str, Any]:
        if group:
            group.announce({"case": case, "seconds": stopping.seconds})
        return measure_case(case, device, group, stopping)

    measuring.run_cases(journal, cases, measure_one, arguments)


def _follow(group: ranks.Group) -> None:
    for order in _orders(group):
        with contextlib.suppress(RuntimeError, NotImplementedError):
            measure_case(order["case"], group.device, group, Stopping(seconds=order["seconds"]))
    group.leave()


def _orders(group: ranks.Group) -> Iterator[dict[str, Any]]:
    while (order := group.announce(None)) is not None:
        yield order


if __name__ == "__main__":
    main()
