"""The ``input`` section into a plan, links and costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Literal

from simdml.cluster.cluster import Cluster
from simdml.cluster.feed import with_feed
from simdml.costs.feed import FeedCost
from simdml.errors import InfeasibleError
from simdml.scenario.choices import Choices
from simdml.scenario.loading import Scenario
from simdml.scenario.models import sequence_length
from simdml.strategies.input_pipeline import InputPlan
from simdml.strategies.job import Training
from simdml.units import format_bytes
from simdml.workload.catalog import ConvnetSpec, ModelSpec

if TYPE_CHECKING:
    from simdml.scenario.schema.input import InputSpec
    from simdml.strategies.parameter_server.plan import ParameterServerPlan

INPUT = "input"
CHANNELS: Final = 3
PIXEL_BYTES: Final = 4
TOKEN_BYTES: Final = 16
"""A token's number and its label, both int64, as PyTorch's cross_entropy and embedding take them."""


@dataclass(frozen=True, slots=True)
class Input:
    """What brings batches to the ranks, and the rates (bytes/s, as stored) of what they come through."""

    plan: InputPlan
    shared_bytes_per_s: float
    node_bytes_per_s: float
    core_bytes_per_s: float
    workers: int
    over_network: bool = False

    def on(self, cluster: Cluster) -> Cluster:
        """Return ``cluster`` with the storage, and the cores of its nodes as decoders."""
        cores = [cluster.template(node).cpu.cores for node in range(cluster.num_nodes)]
        return with_feed(
            cluster,
            shared_bytes_per_s=self.shared_bytes_per_s,
            node_bytes_per_s=self.node_bytes_per_s,
            decode_bytes_per_s=[self.core_bytes_per_s * count for count in cores],
        )

    def cost(self, cluster: Cluster) -> FeedCost:
        """Return the cost of loading on a cluster that :meth:`on` returned."""
        return FeedCost(cluster, self.core_bytes_per_s * max(self.workers, 1), self.over_network)


def build_input(
    scenario: Scenario, model: ModelSpec, training: Training, servers: ParameterServerPlan | None, choices: Choices
) -> Input | None:
    """Return how batches come to a rank, None where they are there at once.

    Raises:
        InfeasibleError: a size that is needed and not known, or options that exclude each other.
    """
    asked = scenario.spec.input
    if asked is None:
        return None
    from simdml.scenario.schema.input import StorageSpec

    _refuse(scenario, asked, servers)
    copied = asked.on_device or _on_device(scenario, model)
    if asked.on_device is None:
        choices.note("input.on_device", format_bytes(copied), "what the model takes")
    stored = asked.sample or copied
    storage = StorageSpec.model_construct() if asked.storage is None else asked.storage
    stages: list[Literal["storage", "decode"]] = []
    if asked.storage is not None and not asked.cached:
        stages.append("storage")
    if asked.decode is not None:
        stages.append("decode")
    plan = InputPlan(
        stored_bytes=stored * training.microbatch,
        copied_bytes=copied * training.microbatch,
        stages=tuple(stages),
        prefetch=asked.loader_workers * asked.prefetch,
        copies_ahead=asked.non_blocking,
    )
    return Input(
        plan,
        shared_bytes_per_s=storage.total or inf,
        node_bytes_per_s=storage.per_node or inf,
        core_bytes_per_s=inf if asked.decode is None else asked.decode * stored,
        workers=asked.loader_workers,
        over_network=storage.over_network,
    )


def _on_device(scenario: Scenario, model: ModelSpec) -> float:
    """Return the bytes of a sample as a training loop copies it."""
    if isinstance(model, ConvnetSpec):
        return float(CHANNELS * model.image_size**2 * PIXEL_BYTES)
    tokens = sequence_length(scenario) or model.default_sequence
    if tokens is None:
        raise InfeasibleError(
            f"how large a sample of {model.name} is nobody knows",
            place=scenario.document.place((INPUT,)),
            hint="add on_device: to input, the bytes of a sample on the GPU",
        )
    return float(TOKEN_BYTES * tokens)


def _refuse(scenario: Scenario, asked: InputSpec, servers: ParameterServerPlan | None) -> None:
    """Refuse options that exclude each other.

    Copies from pageable memory are staged and synchronous (CUDA runtime API, "API synchronization behavior").
    """
    if servers is not None and servers.portions == "shared":
        raise InfeasibleError(
            "workers that share portions of a batch have their data beside them",
            place=scenario.document.place((INPUT,)),
            hint="leave input out, or take another strategy",
        )
    if not asked.non_blocking:
        return
    place = scenario.document.place((INPUT, "non_blocking"))
    if not asked.pin_memory:
        raise InfeasibleError(
            "copies out of pageable memory do not run beside anything", place=place, hint="pin_memory: true"
        )
    if not asked.loader_workers:
        raise InfeasibleError(
            "without loader workers no batch is there to be copied ahead", place=place, hint="loader_workers: 4"
        )
