"""Any program on every host of a testbed, with the variables ``torchrun`` would set."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from simdml.errors import InfeasibleError
from simdml.validation.live.hosts import Testbed

PORT: Final = 29_400


def run_everywhere(testbed: Testbed, program: Sequence[str]) -> int:
    """Run ``program`` on every host at once; return the largest exit code (128 + n for signal n).

    Raises:
        InfeasibleError: there is no such program.
    """
    processes = []
    try:
        for rank, host in enumerate(testbed.hosts):
            variables = {
                "RANK": str(rank),
                "LOCAL_RANK": "0",
                "WORLD_SIZE": str(len(testbed.hosts)),
                "MASTER_ADDR": testbed.hosts[0].address,
                "MASTER_PORT": str(PORT),
                "GLOO_SOCKET_IFNAME": host.device,
                "TP_SOCKET_IFNAME": host.device,
            }
            enter = ("ip", "netns", "exec", host.namespace) if host.namespace else ()
            processes.append(subprocess.Popen((*enter, *program), env=os.environ | variables))
        return max(_exit_code(process.wait()) for process in processes)
    except FileNotFoundError as error:
        raise InfeasibleError(f"there is no program {error.filename}") from None
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def _exit_code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned
