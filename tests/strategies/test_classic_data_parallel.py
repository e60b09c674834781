"""nn.DataParallel, MirroredStrategy, MultiWorkerMirroredStrategy and Horovod: volumes, memory and times."""

from collections import Counter
from dataclasses import replace

import pytest
from fakes import SecondsAreFlops, StarCluster, costs, job, layer, work
from hypothesis import given
from hypothesis import strategies as st

from simdml.costs.collectives.plan import CollectiveKind
from simdml.costs.collectives.rooted import HierarchicalCopies, RootCopies
from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective, Compute
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.fusion import KernelClock, Submission, fuse, submissions
from simdml.strategies.data_parallel.horovod import HorovodPlan
from simdml.strategies.data_parallel.kinds import make_replica
from simdml.strategies.data_parallel.mirrored import MirroredPlan
from simdml.strategies.data_parallel.multiworker import MultiWorkerMirroredPlan
from simdml.strategies.data_parallel.one_process import DataParallelModulePlan
from simdml.strategies.stage_code import StageCode
from simdml.workload.model import Activation, Block, Layer, Model
from simdml.workload.operators import Family

UNIT = 4 * 2**20
"""Elements of a layer: 16 MiB, more than the 10 MiB that go together."""
BYTES = 4 * UNIT


class OneMachine(StarCluster):
    """The same links, with all GPUs on node 0."""

    def node_of(self, gpu):
        return 0

    def gpus_of(self, node):
        return range(self.num_gpus)


def with_loss(layers=3, inputs=400.0, outputs=80.0):
    """Layers of 1 s each way; the last one writes the outputs that a loss of 0.25 s each way reads."""
    built = [layer(1.0, 1.0, [UNIT]) for _ in range(layers)]
    built[0] = replace(built[0], activations=(Activation("input", inputs),))
    built[-1] = replace(built[-1], forward=(replace(work(1.0), written_bytes=outputs),))
    loss = replace(work(0.25), family=Family.LOSS)
    blocks = (*(Block("block", (each,), 0.0) for each in built), Block("loss", (Layer("loss", (loss,), (loss,)),), 0.0))
    return Model("toy", blocks, 1, "images", 1, 1.0, 4)


def made(plan, n=4, toy=None, cluster=None, **options):
    cluster = cluster or OneMachine(n, bandwidth=float(2**24))
    return job(cluster, toy or with_loss(), (("dp", n),), data_parallel=plan, optimizer="adam", **options)


def payloads(program, rank_class=0):
    sums = Counter()
    for stream in program.classes[rank_class].streams:
        for i in stream.written_out():
            if isinstance(i, Collective):
                sums[str(i.kind), i.transport] += i.payload_bytes
    return dict(sums)


def memory(plan, role=0, n=4):
    the_job = made(plan, n)
    return make_replica(the_job, [StageCode(the_job.build(1).blocks, 1, "none")], role).memory()


def step_time(the_job):
    cluster = the_job.cluster
    transports = {"root_copies": RootCopies(cluster, 0.0), "hierarchical_copies": HierarchicalCopies(cluster, 0.0)}
    return simulate(compile_job(the_job), cluster, costs(cluster, transports=transports)).step_time_s


# nn.DataParallel


def test_dataparallel_moves_the_model_to_all_and_the_gradients_to_one():
    program = compile_job(made(DataParallelModulePlan()))
    expected = {
        ("scatter", "root_copies"): 4 * 400.0 + 4 * 80.0,
        ("broadcast", ""): 3 * BYTES,
        ("gather", "root_copies"): 4 * 80.0,
        ("reduce", ""): 3 * BYTES,
    }
    assert payloads(program, 0) == payloads(program, 1) == expected
    assert [c.name for c in program.classes] == ["device 0", "other devices"]
    assert program.class_of_rank == (0, 1, 1, 1)


def test_dataparallel_computes_the_loss_of_all_and_the_update_on_device_0():
    program = compile_job(made(DataParallelModulePlan()))
    labels = [{i.label for i in c.streams[0].written_out() if isinstance(i, Compute)} for c in program.classes]
    assert {"loss", "optimizer"} <= labels[0]
    assert not {"loss", "optimizer"} & labels[1]


def test_dataparallel_in_closed_form():
    """3 s each way and the loss of four batches; model and gradients cross the links in 1 s a layer, one by one."""
    inputs = 3 * 400 / 2**24
    outputs = 2 * 3 * 80 / 2**24
    moved = 2 * 3 * (3 / 4)
    assert step_time(made(DataParallelModulePlan())) == pytest.approx(6 + 2 * 4 * 0.25 + moved + inputs + outputs)


def test_dataparallel_keeps_optimizer_outputs_and_sums_on_device_0():
    first, other = memory(DataParallelModulePlan(), 0), memory(DataParallelModulePlan(), 1)
    assert (first.optimizer, other.optimizer) == (8 * 3 * UNIT, 0.0)
    assert first.parameters == other.parameters == 3 * BYTES
    assert first.buffers - other.buffers == 3 * BYTES + 2 * 4 * 80


def test_one_process_and_one_machine():
    for plan in (DataParallelModulePlan(), MirroredPlan()):
        with pytest.raises(InfeasibleError, match=r"one (process|machine)"):
            compile_job(made(plan, cluster=StarCluster(4)))


# MirroredStrategy


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (MirroredPlan(), {("all_reduce", ""): 3 * BYTES}),
        (MirroredPlan(num_packs=4), {("all_reduce", ""): 3 * BYTES}),
        (
            MirroredPlan("hierarchical_copy"),
            {(kind, "hierarchical_copies"): 3 * BYTES for kind in ("reduce", "all_reduce", "broadcast")},
        ),
        (
            MirroredPlan("reduction_to_one_device"),
            {(kind, "root_copies"): 3 * BYTES for kind in ("reduce", "broadcast")},
        ),
    ],
)
def test_mirrored_sums_all_gradients_once(plan, expected):
    assert payloads(compile_job(made(plan))) == expected


@pytest.mark.parametrize(
    ("plan", "moved_s"),
    [
        (MirroredPlan(), 2 * 3 / 4 * 3),  # a ring
        (MirroredPlan("reduction_to_one_device"), 2 * 3 * 3),  # three copies through one link, each way
        (MirroredPlan("hierarchical_copy"), 3 + 3 + 3),  # one copy in each half, the exchange, one copy back
    ],
)
def test_mirrored_waits_for_the_whole_backward(plan, moved_s):
    assert step_time(made(plan)) == pytest.approx(6.5 + moved_s)


def test_device_0_receives_everybody_s_gradients():
    plan = MirroredPlan("reduction_to_one_device")
    assert memory(plan, 0).buffers == 3 * 3 * BYTES
    assert memory(plan, 1).buffers == 3 * BYTES
    assert memory(MirroredPlan()).buffers == 2 * 3 * BYTES


def test_copies_by_halves_need_halves():
    with pytest.raises(InfeasibleError, match="no two halves"):
        step_time(made(MirroredPlan("hierarchical_copy"), n=3))


# Copies from and to one device


def test_root_copies_load_the_root_s_link():
    cluster = OneMachine(4)
    for kind, load in ((CollectiveKind.BROADCAST, 3.0), (CollectiveKind.SCATTER, 0.75)):
        plan = RootCopies(cluster, 0.0).plan(kind, range(4), 1.0)
        assert dict(zip(plan.links, plan.weights, strict=True))[0] == load
        assert plan.time_s(1e9) == pytest.approx(load)
    with pytest.raises(InfeasibleError):
        RootCopies(cluster).plan(CollectiveKind.ALL_REDUCE, range(4), 1.0)


# MultiWorkerMirroredStrategy


def test_one_pack_waits_for_all_and_packs_overlap():
    """A layer is 16 MiB: 2 x 3/4 s to sum over four workers."""
    assert step_time(made(MultiWorkerMirroredPlan())) == pytest.approx(6.5 + 4.5)
    assert step_time(made(MultiWorkerMirroredPlan(bytes_per_pack=BYTES))) == pytest.approx(6.5 - 2 + 4.5)
    ring = compile_job(made(MultiWorkerMirroredPlan("ring")))
    assert payloads(ring) == {("all_reduce", "grpc_ring"): 3 * BYTES}


# Horovod


def at(*times, size=10):
    return [Submission(size, submitted, ready) for submitted, ready in times]


def members(gradients, cycle_s=1.0, threshold=100):
    return [bucket.parameters for bucket in fuse(gradients, cycle_s, threshold)]


def test_a_cycle_fuses_what_was_submitted_before_it():
    assert members(at((0.5, 0.5), (0.9, 0.9), (1.5, 1.5), (2.5, 2.5))) == [(0, 1), (2,), (3,)]


def test_the_threshold_cuts_a_cycle_s_gradients():
    assert members(at(*[(0.5, 0.5)] * 5), threshold=20) == [(0, 1), (2, 3), (4,)]
    assert members(at((0.5, 0.5), (0.5, 0.5)), threshold=5) == [(0,), (1,)]


def test_while_a_message_waits_for_the_device_all_later_ones_gather():
    """The host is done at 3 s, the device at 50: what comes while the first message waits goes in one message."""
    gradients = at((0.5, 10.0), (1.5, 20.0), (2.5, 40.0), (3.0, 50.0))
    assert members(gradients) == [(0,), (1, 2, 3)]


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5), st.integers(1, 50)), min_size=1, max_size=20),
    st.floats(0.1, 5),
    st.integers(1, 100),
)
def test_every_gradient_goes_once_in_order_and_no_message_is_too_large(events, cycle_s, threshold):
    submitted = sorted(when for when, _, _ in events)
    gradients = [Submission(size, when, when + late) for when, (_, late, size) in zip(submitted, events, strict=True)]
    messages = fuse(gradients, cycle_s, threshold)
    assert [index for message in messages for index in message.parameters] == list(range(len(gradients)))
    assert all(m.payload_bytes <= threshold or len(m.parameters) == 1 for m in messages)


def test_gradients_come_when_their_layer_is_launched_and_computed():
    """Three layers of 1 s each way and a loss of 0.25 s each way, launched in 0.1 s each."""
    code = StageCode(with_loss().blocks, 1, "none")
    found = submissions(code, 4, 1, KernelClock(SecondsAreFlops(), "fp32", 0.1))
    assert [round(each.submitted_s, 9) for each in found] == [0.6, 0.7, 0.8]
    assert [round(each.ready_s, 9) for each in found] == [0.1 + 3.5 + 1, 0.1 + 3.5 + 2, 0.1 + 3.5 + 3]
    late = submissions(code, 4, 3, KernelClock(SecondsAreFlops(), "fp32", 0.1))
    assert late[0].submitted_s == pytest.approx(0.6 + 2 * 0.8)


def test_horovod_overlaps_what_it_does_not_fuse():
    """Without fusion two of three sums of 1.5 s hide behind backward; all fused, none does."""
    clock = KernelClock(SecondsAreFlops(), "fp32", 1.0)
    apart = HorovodPlan(1e-3, BYTES, clock=clock)
    assert step_time(made(apart)) == pytest.approx(6.5 - 2 + 4.5)
    assert step_time(made(HorovodPlan(cycle_time_s=100.0, clock=clock))) == pytest.approx(6.5 + 4.5)
    halved = HorovodPlan(cycle_time_s=100.0, compression="fp16", clock=clock)
    assert step_time(made(halved)) == pytest.approx(6.5 + 2.25)
    assert memory(HorovodPlan()).buffers == 128 * 2**20
