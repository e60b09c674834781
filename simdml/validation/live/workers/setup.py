"""What every program on a host begins with: threads, a process group, a common clock."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from typing import Any

import torch
from torch import distributed

from simdml.validation.live.launcher import Rank


def now() -> float:
    """Return seconds on a clock that all processes of the machine share."""
    return time.monotonic()


def device(rank: Rank) -> torch.device:
    """Return where tensors of ``rank`` live: its own GPU under NCCL, host memory under gloo."""
    return torch.device("cuda", rank.rank) if rank.backend == "nccl" else torch.device("cpu")


def join_group(rank: Rank) -> None:
    """Join the process group of all ranks; it goes with the process, which stays until all ranks are done."""
    torch.set_num_threads(1)
    if rank.backend == "nccl":
        torch.cuda.set_device(rank.rank)
    address = f"tcp://{rank.master}:{rank.port}"
    distributed.init_process_group(rank.backend, init_method=address, rank=rank.rank, world_size=rank.size)


def finish(rank: Rank) -> None:
    """Wait for what the device still does."""
    if rank.backend == "nccl":
        torch.cuda.synchronize()


def join_agents(rank: Rank) -> None:
    """Join the RPC agents of all ranks; transports other than TCP would bypass the shaped links.

    Agents serve until their process ends, and it stays until all ranks are done.
    """
    from torch.distributed import rpc

    torch.set_num_threads(1)
    options = rpc.TensorPipeRpcBackendOptions(
        init_method=f"tcp://{rank.master}:{rank.port}", _transports=["uv"], _channels=["basic"]
    )
    rpc.init_rpc(  # type: ignore[no-untyped-call]
        agent(rank.rank), rank=rank.rank, world_size=rank.size, rpc_backend_options=options
    )


def agent(rank: int) -> str:
    """Return the RPC name of ``rank``."""
    return f"rank{rank}"


def versions() -> dict[str, Any]:
    """Return what readings depend on."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "cuda_devices": torch.cuda.device_count(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
