"""Hosts of the testbed: network namespaces joined by a bridge in a namespace of its own, with shaped links.

Every host is a namespace with one NIC, a veth whose other end is a port of the bridge. ``tc tbf`` shapes both ends:
the host's end what it sends, the port what it receives. Nothing outside these namespaces is touched; their names carry
the id of the process that made them, so that what a killed process left behind is found and removed by the next.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from simdml.errors import InfeasibleError

PREFIX: Final = "simdml"
NETWORK: Final = "10.99.0"
DEVICE: Final = "eth0"
NETNS_FOLDER: Final = Path("/run/netns")
BURST_S: Final = 2.5e-3
"""Depth of a link's token bucket, as time at its rate.

``tbf`` lets a link that was idle send this much unshaped. It has to bridge what a kernel timer can be late on a busy
machine: with half of it a link of 400 Mb/s loses some per cent of its rate (measured on two shared cores).
"""
SMALLEST_BURST_BYTES: Final = 80_000
"""A bucket has to hold a whole segment that TCP hands the device (64 KiB and its headers), else it is cut up."""
QUEUE: Final = "400ms"
"""How long a packet may wait for a link: long enough that none is ever dropped."""
MOST_HOSTS: Final = 16
_TCP: Final = {"tcp_congestion_control": "reno", "tcp_slow_start_after_idle": "0"}
# Reno is the one congestion control that every namespace may use, and it fills a link that never drops at once; BBR,
# the default of some kernels, paces and probes (4 MiB at 400 Mb/s took it 86 to 114 ms, Reno 86 to 87).
_NAME: Final = re.compile(rf"^{PREFIX}-(\d+)-(?:h\d+|switch)$")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Host:
    """One host: the namespace it is (empty: the machine itself), its address and the name of its NIC."""

    namespace: str
    address: str
    device: str


def burst_bytes(rate_bits_per_s: float) -> int:
    """Return the bucket of a link of that rate."""
    return max(SMALLEST_BURST_BYTES, round(rate_bits_per_s / 8 * BURST_S))


def why_not() -> str:
    """Return why this machine can have no testbed of namespaces, or nothing."""
    if not Path("/proc/self/ns/net").exists():
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "not root: network namespaces cannot be made"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian and Ubuntu: apt-get install iproute2)"
    return _why_not_shaped()


def _why_not_shaped() -> str:
    """Return why links cannot be shaped, found out with a namespace of this process that is removed at once."""
    name = f"{PREFIX}-{os.getpid()}-h99"
    try:
        _run("ip", "netns", "add", name)
    except InfeasibleError as error:
        return f"network namespaces cannot be made: {error.message}"
    try:
        _run("ip", "-n", name, "link", "add", DEVICE, "type", "veth", "peer", "name", "peer")
        _run("tc", "-n", name, *_shaping(DEVICE, 1e8))
    except InfeasibleError as error:
        return f"links cannot be shaped here (veth and tc tbf are needed): {error.message}"
    finally:
        _delete(name)
    return ""


def sweep() -> list[str]:
    """Remove what processes that no longer live left behind; return the names."""
    stale = [name for name, owner in _ours() if not _alive(owner)]
    for name in stale:
        _kill_inhabitants(name)
        _delete(name)
    return stale


def _ours() -> Iterator[tuple[str, int]]:
    if NETNS_FOLDER.is_dir():
        for path in sorted(NETNS_FOLDER.iterdir()):
            if found := _NAME.match(path.name):
                yield path.name, int(found[1])


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _kill_inhabitants(namespace: str) -> None:
    """End processes that still run in a namespace of ours; they lost the one that started them."""
    found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    for process in found.stdout.split():
        try:
            os.kill(int(process), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _delete(namespace: str) -> None:
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InfeasibleError(f"{' '.join(command)}: {said[0] if said else f'exit code {done.returncode}'}")


def _shaping(device: str, rate_bits_per_s: float) -> tuple[str, ...]:
    rate, burst = f"{rate_bits_per_s:.0f}bit", f"{burst_bytes(rate_bits_per_s)}b"
    return ("qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst", burst, "latency", QUEUE)


@dataclass(slots=True)
class Testbed:
    """``hosts``, and whether their links are shaped. Use :func:`namespaces` or :func:`loopback` to get one."""

    hosts: tuple[Host, ...]
    shaped: bool
    _rate_bits_per_s: float = 0.0
    _made: list[str] = field(default_factory=list)

    # pytest must not take the class for a test.
    __test__ = False

    def set_rate(self, rate_bits_per_s: float) -> None:
        """Shape every link to ``rate_bits_per_s`` in both directions."""
        if not self.shaped or rate_bits_per_s == self._rate_bits_per_s:
            return
        for number, host in enumerate(self.hosts):
            _run("tc", "-n", host.namespace, *_shaping(DEVICE, rate_bits_per_s))
            _run("tc", "-n", self._made[0], *_shaping(f"port{number}", rate_bits_per_s))
        self._rate_bits_per_s = rate_bits_per_s

    def remove(self) -> None:
        """Remove every namespace; safe to call again."""
        while self._made:
            name = self._made[-1]
            _kill_inhabitants(name)
            _delete(name)
            self._made.pop()

    def _build(self) -> None:
        switch = self._add("switch")
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        for number, host in enumerate(self.hosts):
            name, port = self._add(f"h{number}"), f"port{number}"
            _run("ip", "-n", name, "link", "add", DEVICE, "type", "veth", "peer", "name", port, "netns", switch)
            _run("ip", "-n", name, "address", "add", f"{host.address}/24", "dev", DEVICE)
            for device in ("lo", DEVICE):
                _run("ip", "-n", name, "link", "set", device, "up")
            _run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
            for setting, value in _TCP.items():
                _run("ip", "netns", "exec", name, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{setting}")

    def _add(self, suffix: str) -> str:
        name = f"{PREFIX}-{os.getpid()}-{suffix}"
        self._made.append(name)
        _run("ip", "netns", "add", name)
        return name


@contextmanager
def namespaces(num_hosts: int) -> Iterator[Testbed]:
    """Make ``num_hosts`` hosts and remove them whatever happens; leftovers of dead processes are removed first.

    Raises:
        InfeasibleError: this machine cannot have them; the message says why.
    """
    if not 1 <= num_hosts <= MOST_HOSTS:
        raise InfeasibleError(f"a testbed has 1 to {MOST_HOSTS} hosts, not {num_hosts}")
    if reason := why_not():
        raise InfeasibleError(reason)
    sweep()
    prefix = f"{PREFIX}-{os.getpid()}"
    hosts = tuple(Host(f"{prefix}-h{k}", f"{NETWORK}.{k + 1}", DEVICE) for k in range(num_hosts))
    testbed = Testbed(hosts, shaped=True)
    atexit.register(testbed.remove)
    with _signals_as_exceptions():
        try:
            testbed._build()
            yield testbed
        finally:
            testbed.remove()
            atexit.unregister(testbed.remove)


@contextmanager
def loopback(num_hosts: int) -> Iterator[Testbed]:
    """Give hosts that are all this machine, over its loopback device: unshaped."""
    yield Testbed((Host("", "127.0.0.1", "lo"),) * num_hosts, shaped=False)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Turn signals that end a process into an exit that runs ``finally``; only the main thread may."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in _SIGNALS[1:]:
            before[number] = signal.signal(number, leave)
    except ValueError:
        before.clear()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
