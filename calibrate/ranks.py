"""Processes that measure together: started by torchrun, by srun, or by a program itself on one machine."""

from __future__ import annotations

import datetime
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import measuring
import torch
import torch.distributed as dist

STOP_GRACE_S = 5.0
# PyTorch renamed these two; the old names warn where the new ones exist.
gather_into = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
# Ranks with different host identities count as nodes, pass NCCL's check for a GPU used twice, and talk by sockets.
SHARED_GPU_SETTINGS = {
    "NCCL_P2P_DISABLE": "1",
    "NCCL_SHM_DISABLE": "1",
    "NCCL_NET": "Socket",
    "NCCL_SOCKET_IFNAME": "lo",
}


@dataclass(frozen=True, slots=True)
class Group:
    """This process among ``size`` ranks on ``nodes`` machines; ``control`` carries orders and clocks, over gloo."""

    rank: int
    size: int
    nodes: int
    device: torch.device
    backend: str
    control: Any

    def announce(self, order: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return rank 0's ``order`` on every rank."""
        box = [order]
        dist.broadcast_object_list(box, 0, group=self.control)
        return None if box[0] is None else dict(box[0])

    def slowest(self, seconds: Sequence[float]) -> list[float]:
        """Return, element by element, the largest of all ranks' ``seconds``."""
        times = torch.tensor(seconds, dtype=torch.float64)
        dist.all_reduce(times, op=dist.ReduceOp.MAX, group=self.control)
        return [float(value) for value in times]

    def barrier(self) -> None:
        """Let all ranks go on together."""
        if self.backend == "nccl":
            dist.all_reduce(torch.zeros(1, device=self.device))
            torch.cuda.synchronize(self.device)
        else:
            dist.barrier(group=self.control)

    def leave(self) -> None:
        """End the group."""
        dist.destroy_process_group()


def add_arguments(parser: Any) -> None:
    """Add the options of programs that run on several ranks."""
    parser.add_argument("--nproc", type=int, help="start so many ranks on this machine (without torchrun or srun)")
    parser.add_argument("--backend", choices=("nccl", "gloo"), help="default: nccl on GPUs, gloo elsewhere")
    parser.add_argument("--share-gpu", action="store_true", help="all ranks on one GPU, over sockets of this machine")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds after which a collective has failed")


def is_rank() -> bool:
    """Say whether torchrun or srun started this process as a rank of several."""
    return "RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def start(count: int) -> int:
    """Run this command line as ``count`` ranks on this machine; return the worst exit status.

    A rank that fails ends the others, and so does the end of this process.
    """
    port = _free_port()
    children = [subprocess.Popen([sys.executable, *sys.argv], env=_rank_settings(r, count, port)) for r in range(count)]
    try:
        while True:
            statuses = [child.poll() for child in children]
            if any(statuses) or None not in statuses:
                return max(abs(status or 0) for status in statuses)
            time.sleep(0.05)
    finally:
        stop(children)


def stop(children: Sequence[subprocess.Popen[Any]]) -> None:
    """End ``children``: politely, so that they save, then at once."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + STOP_GRACE_S
    for child in children:
        try:
            child.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def join(arguments: Any) -> Group:
    """Return this process's place in the group that torchrun's or Slurm's variables describe.

    Raises SystemExit where there is no group to join, or the backend is missing.
    """
    if not is_rank():
        raise SystemExit("a collective needs ranks: use torchrun, srun, or --nproc 2")
    rank, size, local, nodes, address, port = place()
    if arguments.share_gpu:
        os.environ.update({"LOCAL_RANK": "0", "NCCL_HOSTID": f"rank-{rank}", **SHARED_GPU_SETTINGS})
    os.environ.setdefault("LOCAL_RANK", str(local))
    device = measuring.choose_device(arguments.device)
    backend = arguments.backend or ("nccl" if device.type == "cuda" else "gloo")
    if backend == "nccl" and not (device.type == "cuda" and dist.is_nccl_available()):
        raise SystemExit("NCCL is missing: it needs a CUDA device and a PyTorch built with it; try --backend gloo")
    if device.type == "cpu":
        torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) * nodes // size))
    patience = datetime.timedelta(seconds=arguments.timeout)
    dist.init_process_group(
        backend, init_method=f"tcp://{address}:{port}", rank=rank, world_size=size, timeout=patience
    )
    control = dist.new_group(backend="gloo", timeout=datetime.timedelta(hours=1))
    return Group(rank, size, nodes, device, backend, control)


def place() -> tuple[int, int, int, int, str, int]:
    """Return rank, ranks, local rank, nodes, and address and port of rank 0."""
    env = os.environ
    if "RANK" in env:
        size = int(env["WORLD_SIZE"])
        nodes = size // int(env.get("LOCAL_WORLD_SIZE", size))
        local = int(env.get("LOCAL_RANK", 0))
        return int(env["RANK"]), size, local, nodes, env["MASTER_ADDR"], int(env["MASTER_PORT"])
    first = first_host(env.get("SLURM_STEP_NODELIST") or env.get("SLURM_NODELIST") or "127.0.0.1")
    port = env.get("MASTER_PORT") or 20000 + int(env.get("SLURM_JOB_ID", "0")) % 20000
    return (
        int(env["SLURM_PROCID"]),
        int(env["SLURM_NTASKS"]),
        int(env["SLURM_LOCALID"]),
        int(env.get("SLURM_STEP_NUM_NODES") or env.get("SLURM_NNODES") or 1),
        env.get("MASTER_ADDR", first),
        int(port),
    )


def first_host(nodes: str) -> str:
    """Return the first name of a Slurm node list: ``gpu[03-06,9],login1`` gives ``gpu03``."""
    found = re.match(r"([^,\[]+)(?:\[([0-9]+)[^\]]*\]([^,\[]*))?", nodes)
    return "".join(part or "" for part in found.groups()) if found else nodes


def _rank_settings(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        "GLOO_SOCKET_IFNAME": "lo",
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
