"""Times collectives as nccl-tests does: sizes of 8 B to 1 GiB, NCCL on GPUs, gloo elsewhere.

    torchrun --nproc-per-node 8 collectives.py --out nccl_8.json          one node
    srun --ntasks-per-node 8 python collectives.py --out nccl_64.json     several, under Slurm
    python collectives.py --nproc 2 --backend gloo                        starts its own ranks on this machine
    python collectives.py --nproc 2 --share-gpu                           several ranks on one GPU, over sockets

Sizes and bus bandwidth are nccl-tests': algbw is size / time; busbw is algbw times 2(n-1)/n for all_reduce,
(n-1)/n for all_gather, reduce_scatter and all_to_all (whose size is the total over ranks), and 1 for the rest
(NVIDIA/nccl-tests, doc/PERFORMANCE.md). A sample is the mean of some calls in a row on the slowest rank. The table
goes to standard output, the readings to the JSON file of rank 0.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import machine
import measuring
import ranks
import torch
import torch.distributed as dist
from measuring import Case, Reading, Stopping, Work

PROGRAM = "collectives"
SECONDS_PER_CASE = 0.5
OPS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send_recv", "ping_pong")
PER_RANK_OPS = ("all_gather", "reduce_scatter", "all_to_all")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NCCL_TYPES = {"fp32": "float", "bf16": "bfloat16", "fp16": "half"}
SMALLEST_BYTES, LARGEST_BYTES, QUICK_LARGEST_BYTES = 8, 2**30, 2**20
SAMPLE_S = 5e-3
MOST_CALLS = 200
HEADER = """#
#       size         count      type   redop    root     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)"""


def main() -> None:
    """Measure what the command line asks for, as one rank or as the starter of ranks."""
    arguments = _parser().parse_args()
    if arguments.list:
        measuring.choose_cases(all_cases(arguments, arguments.nproc or 2, 1, arguments.backend or "any"), arguments)
    if arguments.nproc and not ranks.is_rank():
        measuring.stop_politely()
        raise SystemExit(ranks.start(arguments.nproc))
    group = ranks.join(arguments)
    if group.rank:
        measuring.stop_politely()
        _follow(group)
        return
    try:
        _lead(group, arguments)
    finally:
        group.announce(None)
    group.leave()


def _parser() -> argparse.ArgumentParser:
    parser = measuring.argument_parser(PROGRAM, __doc__)
    ranks.add_arguments(parser)
    parser.add_argument("--ops", default=",".join(OPS), help="which, separated by commas")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp32")
    parser.add_argument("--largest", type=int, default=LARGEST_BYTES, metavar="BYTES", help="default 1 GiB")
    parser.add_argument("--factor", type=int, default=2, help="between one size and the next")
    return parser


def all_cases(arguments: argparse.Namespace, size: int, nodes: int, backend: str) -> list[Case]:
    """Return the cases of ``size`` ranks on ``nodes``, an op at a time, small sizes first."""
    largest = min(arguments.largest, QUICK_LARGEST_BYTES) if arguments.quick else arguments.largest
    step = 16 if arguments.quick else arguments.factor
    asked = [SMALLEST_BYTES * step**power for power in range(40) if SMALLEST_BYTES * step**power <= largest]
    element = DTYPES[arguments.dtype].itemsize
    return [
        {
            "family": "collective",
            "op": op,
            "dtype": arguments.dtype,
            "backend": backend,
            "bytes": size_bytes,
            "ranks": size,
            "nodes": nodes,
            "transport": "one GPU, sockets" if arguments.share_gpu else "default",
        }
        for op in arguments.ops.split(",")
        for size_bytes in dict.fromkeys(actual_bytes(op, each, size, element) for each in asked)
        if size_bytes
    ]


def actual_bytes(op: str, asked: int, size: int, element_bytes: int) -> int:
    """Return the size that ``asked`` becomes: a rank's part is rounded down to 16 bytes, as nccl-tests does."""
    if op in PER_RANK_OPS:
        return asked // size // 16 * 16 * size
    return asked // element_bytes * element_bytes


def bus_factor(op: str, size: int) -> float:
    """Return bus bandwidth over algorithm bandwidth (NVIDIA/nccl-tests, doc/PERFORMANCE.md)."""
    if op == "all_reduce":
        return 2 * (size - 1) / size
    return (size - 1) / size if op in PER_RANK_OPS else 1.0


def table_row(case: Case, seconds: float) -> str:
    """Return a data row of nccl-tests: size, count, type, redop, root, time, algbw, busbw and #wrong (not checked)."""
    algorithm = case["bytes"] / seconds / 1e9
    count = case["bytes"] // DTYPES[case["dtype"]].itemsize // (case["ranks"] if case["op"] in PER_RANK_OPS else 1)
    reduction = "sum" if case["op"] in ("all_reduce", "reduce_scatter") else "none"
    root = 0 if case["op"] == "broadcast" else -1
    bus = algorithm * bus_factor(case["op"], case["ranks"])
    words = f"{case['bytes']:>12} {count:>13} {NCCL_TYPES[case['dtype']]:>9} {reduction:>7} {root:>7}"
    return f"{words} {_number(seconds * 1e6)} {_number(algorithm)} {_number(bus)} {'N/A':>6}"


def _number(value: float) -> str:
    """Return ``value`` eight wide, with fewer decimals as it grows, as nccl-tests prints."""
    decimals = 2 if value < 10_000 else 1 if value < 100_000 else 0
    return f"{value:>8.{decimals}f}"


def build(case: Case, group: ranks.Group) -> tuple[Work, Callable[[], object]]:
    """Return the call that runs ``case`` on this rank, and one that puts its random data back."""
    op, size, rank = case["op"], group.size, group.rank
    dtype = DTYPES[case["dtype"]]
    elements = case["bytes"] // dtype.itemsize
    full = torch.randn(elements, device=group.device).to(dtype)
    original = full.clone()
    if op == "all_reduce":
        return lambda: dist.all_reduce(full), lambda: full.copy_(original)
    works: dict[str, Callable[[], Work]] = {
        "broadcast": lambda: lambda: dist.broadcast(full, 0),
        "all_gather": lambda: _with_part(ranks.gather_into, full, original, size),
        "reduce_scatter": lambda: _with_part(lambda a, b: ranks.reduce_scatter(b, a), full, original, size),
        "all_to_all": lambda: lambda: dist.all_to_all_single(original, full),
        "send_recv": lambda: lambda: _shift(full, original, rank, size),
        "ping_pong": lambda: lambda: _ping_pong(full, rank),
    }
    return works[op](), lambda: None


def _with_part(call: Callable[..., object], full: torch.Tensor, original: torch.Tensor, size: int) -> Work:
    part = original[: len(original) // size].clone()
    return lambda: call(full, part)


def _shift(outgoing: torch.Tensor, incoming: torch.Tensor, rank: int, size: int) -> None:
    """Send to the next rank and receive from the one before, all at once, as nccl-tests' sendrecv."""
    exchange = [
        dist.P2POp(dist.isend, outgoing, (rank + 1) % size),
        dist.P2POp(dist.irecv, incoming, (rank - 1) % size),
    ]
    for request in dist.batch_isend_irecv(exchange):
        request.wait()


def _ping_pong(buffer: torch.Tensor, rank: int) -> None:
    """Send from rank 0 to rank 1 and back; the caller halves the time."""
    if rank == 0:
        dist.send(buffer, 1)
        dist.recv(buffer, 1)
    elif rank == 1:
        dist.recv(buffer, 0)
        dist.send(buffer, 0)


def time_collective(case: Case, group: ranks.Group, stopping: Stopping) -> Reading:
    """Return the reading of ``case``; every rank gives and gets the same samples, so all stop together."""
    work, refresh = build(case, group)
    for _ in range(2):
        work()
    once = sorted(group.slowest([_mean_s(work, 1, group) for _ in range(3)]))[1]
    calls = max(1, min(MOST_CALLS, int(SAMPLE_S / once)))
    one_way = 0.5 if case["op"] == "ping_pong" else 1.0

    def sample(count: int) -> list[float]:
        mine = []
        for _ in range(count):
            refresh()
            mine.append(one_way * _mean_s(work, calls, group))
        return group.slowest(mine)

    return measuring.measure(sample, stopping, shared_calls=calls / one_way)


def _mean_s(work: Work, calls: int, group: ranks.Group) -> float:
    group.barrier()
    begin = time.perf_counter()
    for _ in range(calls):
        work()
    measuring.synchronize(group.device)
    return (time.perf_counter() - begin) / calls


def _lead(group: ranks.Group, arguments: argparse.Namespace) -> None:
    """Have all ranks measure case after case, print the table and keep the readings."""
    cases = measuring.choose_cases(all_cases(arguments, group.size, group.nodes, group.backend), arguments)
    journal = measuring.open_journal(PROGRAM, arguments, group.device)
    stopping = measuring.stopping(arguments, SECONDS_PER_CASE)
    headed: list[str] = []
    print(_preamble(group), flush=True)

    def measure_case(case: Case) -> dict[str, Any]:
        group.announce({"case": case, "seconds": stopping.seconds})
        reading = time_collective(case, group, stopping)
        if case["op"] not in headed:
            headed.append(case["op"])
            print(f"#\n# Collective test starting: {case['op']}_perf\n{HEADER}")
        print(table_row(case, reading.seconds), flush=True)
        bandwidth = case["bytes"] / reading.seconds
        return measuring.reading_entry(reading) | {
            "algorithm_bytes_per_s": bandwidth,
            "bus_bytes_per_s": bandwidth * bus_factor(case["op"], group.size),
        }

    measuring.run_cases(journal, cases, measure_case, arguments)


def _follow(group: ranks.Group) -> None:
    """Measure what rank 0 announces until it announces the end; a failure is rank 0's to report."""
    while (order := group.announce(None)) is not None:
        try:
            time_collective(order["case"], group, Stopping(seconds=order["seconds"]))
        except (RuntimeError, NotImplementedError) as error:
            print(f"rank {group.rank}: {order['case']['op']}: {error}", file=sys.stderr)
    group.leave()


def _preamble(group: ranks.Group) -> str:
    where = machine.environment(group.device)
    return (
        f"# simdml collectives.py {measuring.VERSION}, PyTorch {where['torch']}, backend {group.backend}, "
        f"NCCL {where['nccl'] or 'none'}\n# ranks {group.size} nodes {group.nodes} device {where['device']}\n"
        "# Columns of one side only: in place for all_reduce, broadcast and ping_pong, out of place for the others"
    )


if __name__ == "__main__":
    main()
