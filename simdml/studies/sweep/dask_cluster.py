"""Workers of a Dask cluster that is already there."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from simdml import __version__
from simdml.errors import InfeasibleError, UsageError, listed, quoted
from simdml.studies.sweep.identity import code_digest
from simdml.studies.sweep.workers import Workers

PATIENCE_S = 5.0
_POINTS_A_THREAD = 4
_ADDRESS = re.compile(r"(?:(tcp|tls)://)?([^\s/:]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})")
_GREETING = b"pickle-protocol"
_HINT = "start one with dask scheduler and dask worker, and give the address it prints, such as tcp://10.0.0.1:8786"


@contextmanager
def dask_workers(address: str) -> Iterator[Workers]:
    """Give the workers of the Dask scheduler at ``address``.

    Raises:
        InfeasibleError: ``distributed`` is not installed, or the workers have another simdml, or there are none.
        UsageError: nothing answers at the address within seconds.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise InfeasibleError("Dask is not installed", hint='pip install "simdml[cluster]"') from None
    # Its own reports of a connection that fails are many lines long.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        _greeted(address)
        client = distributed.Client(address, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        message = f"no Dask scheduler answers at {quoted(address)}: {_first_line(error)}"
        raise UsageError(message, hint=_HINT) from None
    try:
        threads = _checked_threads(client, address)
        yield Workers(client.get_executor(pure=False), _POINTS_A_THREAD * threads)
    finally:
        client.close()


def _greeted(address: str) -> None:
    """Raise unless a Dask scheduler listens at ``address``: without TLS it begins with what it can do.

    A client given another address would wait for long, or fail and go on complaining.

    Raises:
        UsageError: that is no address.
        OSError: nothing answers, or something else.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[3]) > 65535:
        raise UsageError(f"{quoted(address)} is not the address of a Dask scheduler", hint=_HINT)
    with socket.create_connection((match[2].strip("[]"), int(match[3])), PATIENCE_S) as connection:
        if match[1] == "tls":
            return
        connection.settimeout(PATIENCE_S)
        if _GREETING not in connection.recv(256):
            raise OSError("something else answered")


def _checked_threads(client: Any, address: str) -> int:
    """Return the threads of all workers."""
    threads: dict[str, int] = client.nthreads()
    if not threads:
        raise InfeasibleError(
            f"the Dask scheduler at {quoted(address)} has no workers", hint=f"start some: dask worker {address}"
        )
    try:
        digests: dict[str, str] = client.run(code_digest)
    except Exception as error:
        raise _wrong_simdml(f"the Dask workers cannot run simdml: {_first_line(error)}") from None
    others = sorted(worker for worker, digest in digests.items() if digest != code_digest())
    if others:
        raise _wrong_simdml(f"these Dask workers have another simdml: {listed(others)}")
    return sum(threads.values())


def _wrong_simdml(message: str) -> InfeasibleError:
    return InfeasibleError(message, hint=f"install the same simdml {__version__} in the environment of every worker")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
