"""Starts a program on every host and collects what each returns.

A fork server imports torch once; each rank is a fork of it that enters its host's namespace. Ranks die with the fork
server, and the fork server with this process, even if that is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from simdml.errors import InfeasibleError
from simdml.validation.live.hosts import NETNS_FOLDER, Host, Testbed

WORKERS: Final = "simdml.validation.live.workers"
_PRELOADED: Final = (f"{WORKERS}.preload", f"{WORKERS}.setup")
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29
GRACE_S: Final = 0.5
TIMEOUT_S: Final = 90.0
_FIRST_PORT, _PORTS = 29_500, 1_000


@dataclass(frozen=True, slots=True)
class Rank:
    """Who a program is: its rank of ``size``, and where rank 0 waits for the others."""

    rank: int
    size: int
    master: str
    port: int
    device: str
    backend: str = "gloo"


class Launcher:
    """Runs programs on the hosts of a testbed; ``backend`` is ``gloo``, or ``nccl`` with one GPU a rank."""

    def __init__(self, testbed: Testbed, backend: str = "gloo") -> None:
        self.testbed = testbed
        self.backend = backend
        self._context = _fork_server()
        self._runs = 0

    def run(self, program: str, num_ranks: int, argument: Any, timeout_s: float = TIMEOUT_S) -> list[Any]:
        """Return what ``program`` ("module.function" of the workers) returns on ranks 0 .. num_ranks - 1.

        It is called with a :class:`Rank` and ``argument``.

        Raises:
            InfeasibleError: a rank failed, with what it said, or did not end in time.
        """
        self._runs += 1
        # Rank 0's port is not used again while the connections of the run before may linger.
        port = _FIRST_PORT + (os.getpid() * 37 + self._runs) % _PORTS
        hosts = self.testbed.hosts[:num_ranks]
        ends: list[Connection] = []
        processes: list[BaseProcess] = []
        try:
            for number, host in enumerate(hosts):
                rank = Rank(number, num_ranks, hosts[0].address, port, host.device, self.backend)
                mine, theirs = self._context.Pipe()
                process: BaseProcess = self._context.Process(
                    target=_begin, args=(theirs, host, program, rank, argument, timeout_s)
                )
                process.start()
                theirs.close()
                processes.append(process)
                ends.append(mine)
            return _collect(ends, program, timeout_s)
        finally:
            for end in ends:
                end.close()
            for process in processes:
                process.join(GRACE_S)
                if process.is_alive():
                    process.kill()
                    process.join()


def _fork_server() -> ForkServerContext:
    # torch reads it when it is imported: warnings about host names without a name server are not for the user.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    context = get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def _collect(ends: Sequence[Connection], program: str, timeout_s: float) -> list[Any]:
    found: dict[int, Any] = {}
    deadline = time.monotonic() + timeout_s
    waiting = {id(end): (number, end) for number, end in enumerate(ends)}
    while waiting:
        ready = wait([end for _, end in waiting.values()], max(0.0, deadline - time.monotonic()))
        if not ready:
            late = ", ".join(str(number) for number, _ in waiting.values())
            raise InfeasibleError(f"{program}: ranks {late} did not end within {timeout_s:.0f} s")
        for end in ready:
            number, _ = waiting.pop(id(end))
            found[number] = _received(end, program, number)  # type: ignore[arg-type]
    return [found[number] for number in range(len(ends))]


def _received(end: Connection, program: str, number: int) -> Any:
    try:
        good, value = end.recv()
    except EOFError:
        raise InfeasibleError(f"{program}: rank {number} was killed") from None
    if not good:
        raise InfeasibleError(f"{program}: rank {number} failed: {value}")
    return value


def _begin(end: Connection, host: Host, program: str, rank: Rank, argument: Any, timeout_s: float) -> None:
    """Run in the new process: enter the host, do the work, send what came out."""
    try:
        warnings.simplefilter("ignore")
        _settle_in(host)
        os.environ.update(_environment(rank))
        module, _, function = program.rpartition(".")
        # A rank that is stuck says where before it is ended.
        faulthandler.dump_traceback_later(0.9 * timeout_s)
        answer = (True, getattr(import_module(f"{WORKERS}.{module}"), function)(rank, argument))
        faulthandler.cancel_dump_traceback_later()
    except BaseException as error:
        # Whatever it is, the one who started this rank reports it.
        answer = (False, "".join(traceback.format_exception_only(error)).strip())
        if os.environ.get("SIMDML_DEBUG", "") not in {"", "0"}:
            traceback.print_exc()
    with contextlib.suppress(EOFError, OSError):
        end.send(answer)
        # Rank 0 keeps the store that the others need to leave: nobody goes before all have answered.
        end.recv()
    # Threads of gloo and TensorPipe may hold the interpreter's shutdown up; there is nothing left to do.
    os._exit(0)


def _environment(rank: Rank) -> Mapping[str, str]:
    return {
        "MASTER_ADDR": rank.master,
        "MASTER_PORT": str(rank.port),
        "GLOO_SOCKET_IFNAME": rank.device,
        "TP_SOCKET_IFNAME": rank.device,
        "OMP_NUM_THREADS": "1",
    }


def _settle_in(host: Host) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Emulated compute sleeps: the default slack of 50 us would lengthen every layer.
    libc.prctl(_PR_SET_TIMERSLACK, 1_000)
    if not host.namespace:
        return
    path = Path(NETNS_FOLDER) / host.namespace
    with path.open("rb") as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
