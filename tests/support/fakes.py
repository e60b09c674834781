"""Small stand-ins for clusters and costs, so that the engine is tested against closed forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from simdml.cluster.cluster import Route
from simdml.cluster.endpoint import Endpoint
from simdml.costs.collectives.plan import CollectiveKind, TransferPlan
from simdml.costs.messages import MessageCost
from simdml.costs.model import CostModel
from simdml.program.mesh import Mesh
from simdml.strategies.job import Job, Training
from simdml.workload.model import Block, Layer, Model, Parameter
from simdml.workload.operators import Family, Operator, Phase


@dataclass(frozen=True)
class FakeDevice:
    name: str = "fake"
    memory_bytes: float = 1e12
    peak_flops: dict = field(default_factory=lambda: {"fp32": 1e12, "fp16": 1e12, "bf16": 1e12})


class FakeLinks:
    def __init__(self, capacities):
        self.capacity_bytes_per_s = np.array(capacities, dtype=np.float64)

    def name(self, link):
        return f"link {link}"

    def kind(self, link):
        return "nic"


class StarCluster:
    """``num_gpus`` one-GPU nodes and ``servers`` more hosts on one ideal switch: link 2i leaves node i, 2i+1 enters."""

    def __init__(self, num_gpus, bandwidth=1e9, latency=0.0, servers=0, server_bandwidth=None):
        nodes = num_gpus + servers
        self.name = "star"
        self.transport = None
        self.num_gpus = num_gpus
        self.num_nodes = nodes
        fast = [bandwidth] * (2 * num_gpus)
        self.links = FakeLinks(fast + [server_bandwidth or bandwidth] * (2 * servers))
        self.latency = latency

    def device(self, gpu):
        return FakeDevice()

    def device_kinds(self, gpus):
        return np.zeros(len(gpus), dtype=np.int64)

    def node_of(self, gpu):
        return gpu

    def template(self, node):
        return SimpleNamespace(device=None)

    def gpus_of(self, node):
        return range(node, node + 1) if node < self.num_gpus else range(0)

    def route(self, source: Endpoint, destination: Endpoint, rail=None):
        if source.index == destination.index:
            return Route((), 0.0)
        return Route((2 * source.index, 2 * destination.index + 1), self.latency)


@dataclass(frozen=True)
class SecondsAreFlops:
    """Compute cost: an operator takes as many seconds as it has FLOPs."""

    def seconds(self, operator, precision):
        return operator.flops


@dataclass(frozen=True)
class RingCost:
    """Ideal rings on a cluster: every member's links carry 2(n-1)/n of an all-reduce, (n-1)/n of half of one."""

    cluster: StarCluster
    latency_s: float = 0.0

    def plan(self, kind, members, payload_bytes):
        n = len(members)
        if kind is CollectiveKind.SEND_RECV:
            links = self.cluster.route(Endpoint("gpu", members[0]), Endpoint("gpu", members[1])).links
            weights = (1.0,) * len(links)
        else:
            share = (2 if kind is CollectiveKind.ALL_REDUCE else 1) * (n - 1) / n
            share = 1.0 if kind is CollectiveKind.SHIFT else share
            links = tuple(link for m in members for link in (2 * m, 2 * m + 1))
            weights = (share,) * len(links)
        rate = min((self.cluster.links.capacity_bytes_per_s[k] / w for k, w in zip(links, weights, strict=True)))
        return TransferPlan("ring", "", self.latency_s, float(rate), links, weights)


def costs(cluster, *, latency_s=0.0, launch_s=0.0, **other):
    return CostModel(
        compute={"fake": SecondsAreFlops()},
        collectives=RingCost(cluster, latency_s),
        messages=MessageCost(cluster),
        precision="fp32",
        host_launch_s=launch_s,
        **other,
    )


def work(seconds, name="work", phase=Phase.FORWARD):
    return Operator(name, Family.MATMUL, phase, seconds, 0.0, 0.0)


def layer_in_halves(forward_s, inputs_s, weights_s, parameters=(), name="layer"):
    """A layer whose backward has an input gradient and a weight gradient."""
    backward = (work(inputs_s, "input", Phase.INPUT_GRADIENT), work(weights_s, "weight", Phase.WEIGHT_GRADIENT))
    parts = tuple(Parameter(f"p{i}", elements) for i, elements in enumerate(parameters))
    return Layer(name, (work(forward_s, "forward"),), backward, parts)


def layer(forward_s, backward_s, parameters=(), name="layer"):
    return Layer(
        name,
        (work(forward_s, "forward"),) if forward_s else (),
        (work(backward_s, "backward"),) if backward_s else (),
        tuple(Parameter(f"p{i}", elements) for i, elements in enumerate(parameters)),
    )


def model(blocks, samples=1):
    """A model of blocks given as ``(layers, output_bytes)``."""
    return Model(
        "toy",
        tuple(Block(f"block{i}", tuple(layers), nbytes) for i, (layers, nbytes) in enumerate(blocks)),
        samples,
        "images",
        1,
        1.0,
        4,
    )


def job(cluster, toy, mesh, *, num_microbatches=1, optimizer="sgd", **plans):
    return Job(
        "toy",
        cluster,
        lambda samples: toy,
        Training(1, num_microbatches, optimizer=optimizer),
        Mesh(mesh),
        **plans,
    )
