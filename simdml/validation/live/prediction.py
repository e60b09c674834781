"""What simdml says of a live job: its cluster, its model and its costs, from the calibration of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Final

from simdml.cluster.cluster import Cluster
from simdml.cluster.device import Device
from simdml.cluster.endpoint import host
from simdml.cluster.network import SingleSwitch
from simdml.cluster.node import Fabric
from simdml.cluster.node_building import CpuPlan, GpuPlan, NicPlan, build_node
from simdml.cluster.structured import build_structured
from simdml.cluster.transport import Transport
from simdml.costs.collectives.gloo import GlooCost
from simdml.costs.collectives.plan import CollectiveKind, TransferPlan
from simdml.costs.messages import MessageCost
from simdml.costs.model import CostModel, ServerCost
from simdml.engine.simulator import Recording, simulate
from simdml.program.mesh import Mesh
from simdml.program.program import Program
from simdml.program.servers import ServerWork
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, Job, PipelinePlan, Training
from simdml.strategies.parameter_server.plan import ConsistencyName, ParameterServerPlan
from simdml.validation.live.buckets import with_buckets
from simdml.validation.live.calibration import MachineFit
from simdml.validation.live.hosts import burst_bytes
from simdml.validation.live.jobs import PIPELINES, SERVERS, LiveJob, LiveLayer
from simdml.validation.live.runtime import two_at_a_time
from simdml.workload.model import Block, Layer, Model, Parameter
from simdml.workload.operators import Family, Operator, Phase, matmul, memory_bound

ACCELERATOR: Final = "testbed"
SLOW: Final = "slow testbed"
_CONSISTENCY: Final[dict[str, ConsistencyName]] = {"ps_sync": "bsp", "ps_async": "asynchronous", "ps_ssp": "ssp"}
_SERVER_WORK: Final = ServerWork(copy=3.0, sum=3.0, update=3.0)
EMULATED_FLOPS: Final = 1e12
"""What an emulated accelerator computes a second: a layer that sleeps t seconds has t times as many FLOPs."""


@dataclass(frozen=True, slots=True, eq=False)
class TestbedCompute:
    """Seconds of a rank's operators: sleeps and products by their FLOPs, the rest by bytes of host memory.

    Equal to itself alone, as its fit holds mappings.
    ``crowding`` is how many ranks share a core when all of them run their optimizers at once.
    """

    # pytest must not take the class for a test.
    __test__ = False

    fit: MachineFit
    crowding: float
    speed: float = 1.0
    real: bool = False

    def seconds(self, operator: Operator, precision: str) -> float:
        """Return the seconds of ``operator``."""
        del precision
        if operator.family is Family.OPTIMIZER:
            return self.fit.optimizer_s + operator.bytes / 12 * 4 * self.fit.optimizer_s_per_byte * self.crowding
        if operator.family is Family.COPY:
            return operator.read_bytes * self.fit.copy_s_per_byte
        if operator.family is Family.ELEMENTWISE:
            return operator.written_bytes * self.fit.gradient_s_per_byte
        if self.real:
            return self.fit.product_s + operator.flops / self.fit.product_flops_per_s
        return operator.flops / EMULATED_FLOPS / self.speed + self.fit.layer_s


class TestbedCollectives:
    """gloo's collectives between the hosts, and messages for what is sent from one to another."""

    __test__ = False

    def __init__(self, cluster: Cluster, fit: MachineFit) -> None:
        self._gloo = GlooCost(cluster, fit.gloo, endpoints="host")
        self._send = MessageCost(cluster, fit.send_s)

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of ``kind`` over the hosts ``members``."""
        if kind is CollectiveKind.SEND_RECV:
            return self._send.plan(host(members[0]), host(members[1]))
        return self._gloo.plan(kind, members, payload_bytes)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted step time and its 90 % interval, in seconds."""

    step_s: float
    low_s: float
    high_s: float


def predict(job: LiveJob, fit: MachineFit, *, shaped: bool = True) -> Prediction:
    """Return the step time of ``job`` on a machine with ``fit``."""
    step_s = record(job, fit, shaped=shaped).step_time_s
    low, high = fit.interval(job.strategy)
    return Prediction(step_s, step_s * low, step_s * high)


def record(job: LiveJob, fit: MachineFit, *, shaped: bool = True) -> Recording:
    """Return the simulated run of ``job``."""
    cluster = build_cluster(job, fit, shaped=shaped)
    costs = _costs(job, cluster, fit)
    program = two_at_a_time(compile_job(_job(job, cluster)))
    if not shaped:
        return simulate(program, cluster, costs)

    def run(changed: Program) -> Recording:
        return simulate(changed, cluster, costs, folded=False, coarsened=False)

    return with_buckets(program, run, burst_bytes(job.rate_bits_per_s) * fit.payload_share)


def build_cluster(job: LiveJob, fit: MachineFit, *, shaped: bool) -> Cluster:
    """Return the testbed as a cluster: one device and one NIC a host, on one switch."""
    rate = job.rate_bits_per_s / 8 if shaped else fit.unshaped_bytes_per_s
    share = fit.payload_share if shaped else 1.0
    transport = Transport("veth", ((inf, share),), 0.0, 0.0, False)
    nics = NicPlan(1, rate, pcie_generation=6, pcie_width=16, attach="socket", efficiency=share)
    cpu = CpuPlan("milan", 1, 1)

    def devices(name: str) -> GpuPlan:
        return GpuPlan(_device(name), 1, Fabric.NONE, 6, 16, 0, 6, 16)

    slow = int(job.slowest != 1.0)
    kinds = [("slow host", 1, build_node(devices(SLOW), nics, cpu, transport))] * slow
    kinds.append(("hosts", job.workers - slow, build_node(devices(ACCELERATOR), nics, cpu, transport)))
    if job.servers:
        kinds.append(("servers", job.servers, build_node(None, nics, cpu, transport)))
    return build_structured("testbed", "network namespaces of one machine", kinds, SingleSwitch(), transport)


def _device(name: str) -> Device:
    """Return what stands for a rank's core or emulated accelerator; only its name matters."""
    return Device(
        name=name,
        arch="cpu",
        compute_capability=0,
        peak_flops=MappingProxyType({"fp32": EMULATED_FLOPS}),
        memory_bytes=2.0**40,
        memory_bandwidth_bytes_per_s=1e12,
        sms=1,
        l2_bytes=0.0,
        nvlink_links=0,
        nvlink_link_bytes_per_s=0.0,
        pcie_generation=6,
        tdp_watts=0.0,
        source="made up: seconds of this machine are measured",
    )


def _costs(job: LiveJob, cluster: Cluster, fit: MachineFit) -> CostModel:
    crowding = max(1.0, job.hosts / fit.cores)
    # Calls that follow each other on a connection overlap their latencies with the transfers before: a step pays one.
    calls = -(-sum(len(layer.parameters) for layer in job.layers) // max(1, job.servers))
    compute: Mapping[str, TestbedCompute] = {
        ACCELERATOR: TestbedCompute(fit, crowding, real=job.real),
        SLOW: TestbedCompute(fit, crowding, speed=job.slowest),
    }
    return CostModel(
        compute=compute,
        collectives=TestbedCollectives(cluster, fit),
        messages=MessageCost(cluster, fit.call_s / calls),
        precision="fp32",
        # A shard's program moves three bytes a byte pushed; the fit counts bytes of gradient.
        server=ServerCost(3.0 / fit.sum_s_per_byte, fit.served_s),
    )


def _job(job: LiveJob, cluster: Cluster) -> Job:
    training = Training(1, job.microbatches, optimizer="sgd")
    if job.strategy in PIPELINES:
        schedule = "gpipe" if job.strategy == "layer_placement" else job.strategy
        each = len(job.layers) // job.hosts
        begins = tuple(range(0, len(job.layers), each))
        pipeline = PipelinePlan(schedule, balance=begins)
        return Job(job.title, cluster, lambda _: _model(job), training, Mesh((("pp", job.hosts),)), pipeline=pipeline)
    mesh = Mesh((("dp", job.workers),))
    if job.strategy in SERVERS:
        servers = ParameterServerPlan(
            tuple(range(job.workers, job.hosts)),
            consistency=_CONSISTENCY[job.strategy],
            placement="greedy_by_bytes",
            staleness=job.staleness,
            work=_SERVER_WORK,
        )
        return Job(job.title, cluster, lambda _: _model(job), training, mesh, parameter_server=servers)
    plan = DataParallelPlan(bucket_cap_bytes=job.bucket_bytes)
    return Job(job.title, cluster, lambda _: _model(job), training, mesh, data_parallel=plan)


def _model(job: LiveJob) -> Model:
    each = len(job.layers) // job.hosts if job.strategy in PIPELINES else len(job.layers)
    blocks = []
    for number, layer in enumerate(job.layers):
        name = f"layer{number}"
        described = _layer(name, job, layer, first=number % each == 0)
        blocks.append(Block(name, (described,), float(job.activation_bytes)))
    return Model(job.title, tuple(blocks), 1, "images", 1, 1.0, 4)


def _layer(name: str, job: LiveJob, layer: LiveLayer, *, first: bool) -> Layer:
    """Return ``layer`` as simdml describes one; the ``first`` of a stage also makes its input's gradient."""
    forward: tuple[Operator, ...]
    backward: tuple[Operator, ...]
    if job.real:
        product = matmul(name, job.batch, job.width, job.width, element_bytes=4)
        forward, backward = (product,), (product, product)
    else:
        forward = (_sleep(name, layer.forward_s), _written("output", job.activation_bytes))
        backward = (_sleep(name, layer.backward_s),)
        if first:
            backward += (_written("input gradient", job.activation_bytes),)
    made = _written("gradient", 4 * sum(layer.parameters))
    parameters = tuple(Parameter(str(number), size) for number, size in enumerate(layer.parameters))
    return Layer(name, forward, (*backward, made), parameters)


def _written(name: str, nbytes: int) -> Operator:
    """Return a tensor made anew: its pages are touched."""
    return memory_bound(name, Family.ELEMENTWISE, read_bytes=0.0, written_bytes=nbytes, element_bytes=4)


def _sleep(name: str, seconds: float) -> Operator:
    return Operator(name, Family.MATMUL, Phase.FORWARD, seconds * EMULATED_FLOPS, 0.0, 0.0)
