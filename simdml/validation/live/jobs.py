"""Jobs that are run for real and predicted: what each trains, on how many hosts, over which links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Strategy = Literal["ddp", "layer_placement", "gpipe", "1f1b", "ps_sync", "ps_async", "ps_ssp"]
STRATEGIES: Final[tuple[Strategy, ...]] = (
    "ddp", "layer_placement", "gpipe", "1f1b", "ps_sync", "ps_async", "ps_ssp",
)  # fmt: skip
PIPELINES: Final = frozenset({"layer_placement", "gpipe", "1f1b"})
SERVERS: Final = frozenset({"ps_sync", "ps_async", "ps_ssp"})
MEGABYTE: Final = 250_000
"""Elements of fp32 in 1 MB."""


@dataclass(frozen=True, slots=True)
class LiveLayer:
    """A layer: elements of its parameters, and the seconds its forward and backward are to take."""

    parameters: tuple[int, ...]
    forward_s: float
    backward_s: float


@dataclass(frozen=True, slots=True)
class LiveJob:
    """One run.

    ``layers`` in forward order; a pipeline spreads them evenly over its hosts and sends ``activation_bytes`` a
    micro-batch across each cut. A parameter server's hosts are workers first, then ``servers``. ``bucket_bytes`` is
    DDP's bucket_cap_mb, ``staleness`` the bound of ps_ssp. ``slowest`` is the speed of worker 0 compared with the
    others'. ``real`` computes instead of sleeping: then layers are square fp32 products, see ``width`` and ``batch``.
    """

    strategy: Strategy
    hosts: int
    rate_bits_per_s: float
    layers: tuple[LiveLayer, ...]
    microbatches: int = 1
    activation_bytes: int = 0
    servers: int = 0
    bucket_bytes: int | None = None
    staleness: int = 0
    slowest: float = 1.0
    real: bool = False
    width: int = 0
    batch: int = 0

    @property
    def workers(self) -> int:
        """Hosts that compute."""
        return self.hosts - self.servers

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all fp32 parameters."""
        return 4 * sum(sum(layer.parameters) for layer in self.layers)

    @property
    def step_sleep_s(self) -> float:
        """Emulated seconds of one worker's step, all micro-batches of all layers."""
        return self.microbatches * sum(layer.forward_s + layer.backward_s for layer in self.layers)

    @property
    def title(self) -> str:
        """Return one line that says what runs."""
        parts = [f"{self.parameter_bytes / 1e6:.3g} MB"]
        if self.strategy in PIPELINES:
            parts = [f"{self.microbatches} x {self.activation_bytes / 1e6:.3g} MB"]
        if self.servers:
            parts.append(f"{self.servers} server{'s' if self.servers > 1 else ''}")
        if self.strategy == "ps_ssp":
            parts.append(f"staleness {self.staleness}")
        if self.slowest != 1.0:
            parts.append(f"one worker at {self.slowest:.2g}x")
        return ", ".join(parts)


def equal_layers(count: int, megabytes: float, compute_s: float) -> tuple[LiveLayer, ...]:
    """Return ``count`` layers that hold ``megabytes`` and take ``compute_s`` a step together, a third in forward."""
    elements = round(megabytes * MEGABYTE / count)
    return (LiveLayer((elements,), compute_s / 3 / count, compute_s * 2 / 3 / count),) * count


def uneven_layers(megabytes: Sequence[float], compute_s: float) -> tuple[LiveLayer, ...]:
    """Return layers of those sizes with a bias each, equally long, that take ``compute_s`` together."""
    count = len(megabytes)
    return tuple(
        LiveLayer((round(size * MEGABYTE), 256), compute_s / 3 / count, compute_s * 2 / 3 / count) for size in megabytes
    )
