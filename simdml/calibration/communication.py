"""What measurement says about collectives: corrections to NCCL's model, and gloo's constants.

NCCL's model gives a latency ``L`` and a wire time ``w0 = S / B``. A fit corrects both:

    time = overhead + latency_scale * L + w + sqrt(ramp * w),    w = w0 / scale

The last term is what pipelining costs: a payload cut into k chunks, each with a fixed cost ``c`` on a path of some
depth, takes ``w + c k + w (depth - 1) / k``, and at the best k the excess grows as the square root of ``w``. Each way
to move data has a scale and a ramp of its own (:class:`Wire`): Simple moves large chunks between fences, LL and LL128
words with flags, for which NCCL takes more channels and threads as payloads grow (``src/enqueue.cc``), so that their
rate grows with them, and with NVLS the switch reduces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a fit comes from and where it holds.

    ``rows`` measured rows; ``log_spread`` is the standard deviation of ln(measured / predicted) below and at or above
    1 MiB; ``min_bytes`` to ``max_bytes`` and ``max_ranks`` are the measured range; ``does_not_claim`` says the rest.
    """

    sources: tuple[str, ...]
    rows: int
    small_log_spread: float
    large_log_spread: float
    min_bytes: float
    max_bytes: float
    max_ranks: int
    does_not_claim: str = ""

    def covers(self, payload_bytes: float) -> bool:
        """Whether collectives of this size were measured, on however many ranks."""
        return self.min_bytes <= payload_bytes <= self.max_bytes

    def log_spread(self, payload_bytes: float) -> float:
        """Standard deviation of ln(measured / predicted) at this size."""
        return self.large_log_spread if payload_bytes >= 2**20 else self.small_log_spread


@dataclass(frozen=True, slots=True)
class Wire:
    """How much faster than the model's a wire is, and what its pipelining costs (see the module's formula)."""

    scale: float
    ramp_s: float

    def seconds(self, model_wire_s: float) -> float:
        """Seconds of data transfer for the model's ``S / B``."""
        wire = model_wire_s / self.scale
        return wire + math.sqrt(self.ramp_s * wire)

    def slower(self, share: float) -> Wire:
        """The same wire at that share of its rate."""
        return replace(self, scale=self.scale * share)


@dataclass(frozen=True, slots=True)
class NcclFit:
    """Corrections to NCCL's model for one kind of fabric (see the module's formula).

    ``bandwidth_scale`` and ``ramp_s`` are those of the Simple protocol on rings and trees and of plain sends,
    ``nvls_scale`` and ``nvls_ramp_s`` of NVLS and its tree, ``ll`` and ``ll128`` of those protocols; what is None is as
    Simple's. ``nic_bytes_per_s`` is the most that one NIC carries whatever its line rate: a TCP stream is bound by a
    CPU core.
    """

    name: str
    overhead_s: float
    latency_scale: float
    bandwidth_scale: float
    nvls_scale: float
    ramp_s: float
    provenance: Provenance
    nic_bytes_per_s: float = math.inf
    nvls_ramp_s: float | None = None
    ll: Wire | None = None
    ll128: Wire | None = None

    def latency_s(self, model_latency_s: float) -> float:
        """Seconds before the first byte counts."""
        return self.overhead_s + self.latency_scale * model_latency_s

    def wire_s(self, model_wire_s: float, *, protocol: str = "simple", in_switch: bool = False) -> float:
        """Seconds of data transfer for the model's ``S / B`` by "ll", "ll128" or "simple".

        ``in_switch`` is for NVLS and its tree.
        """
        if in_switch:
            ramp_s = self.ramp_s if self.nvls_ramp_s is None else self.nvls_ramp_s
            return Wire(self.nvls_scale, ramp_s).seconds(model_wire_s)
        own = {"ll": self.ll, "ll128": self.ll128}.get(protocol)
        return (own or Wire(self.bandwidth_scale, self.ramp_s)).seconds(model_wire_s)

    def over_nics_of(self, rate_bytes_per_s: float) -> NcclFit:
        """The same fit for NICs of that line rate: slower where one of them exceeds ``nic_bytes_per_s``."""
        if rate_bytes_per_s <= self.nic_bytes_per_s:
            return self
        share = self.nic_bytes_per_s / rate_bytes_per_s
        return replace(
            self,
            bandwidth_scale=self.bandwidth_scale * share,
            nvls_scale=self.nvls_scale * share,
            ll=self.ll and self.ll.slower(share),
            ll128=self.ll128 and self.ll128.slower(share),
        )


@dataclass(frozen=True, slots=True)
class CommunicationFit:
    """The corrections of a cluster: ``node`` for groups inside a node, ``network`` for groups across nodes."""

    node: NcclFit
    network: NcclFit


@dataclass(frozen=True, slots=True)
class GlooFit:
    """Constants of gloo over TCP.

    ``overhead_s`` of a call; ``step_s`` a serial message costs (wake-up, system call, round trip);
    ``connection_bytes_per_s`` the most one TCP connection carries; ``reduce_bytes_per_s`` the rate at which one CPU
    thread sums; ``staging_bytes_per_s`` the rate of copies between a GPU and pinned host memory.
    """

    name: str
    overhead_s: float
    step_s: float
    connection_bytes_per_s: float
    reduce_bytes_per_s: float
    staging_bytes_per_s: float
    provenance: Provenance


EXACT = Provenance(("the model itself",), 0, 0.0, 0.0, 0.0, math.inf, 2**31)
UNCORRECTED = NcclFit("uncorrected", 0.0, 1.0, 1.0, 1.0, 0.0, EXACT)
"""NCCL's own model, without a fit."""
