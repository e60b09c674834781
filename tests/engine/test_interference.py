"""Kernels beside collectives: step times against closed forms, and what stays exact."""

from dataclasses import dataclass, replace

import pytest
from fakes import RingCost, StarCluster, costs, work

from simdml.cluster.device import find_device
from simdml.costs.interference import Interference
from simdml.engine.conditions import AS_RATED, Alike
from simdml.engine.interference import overlaps, simulate_together
from simdml.engine.simulator import simulate
from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Record, StepEnd, Wait
from simdml.program.mesh import Group, Mesh
from simdml.program.program import Program, RankProgram, Stream
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import simulate as simulate_scenario
from simdml.workload.operators import Family

PAYLOAD = 2.0**20
QUARTER = Interference(multiprocessors=96, persistent=False)
"""Of which 24 channels take a quarter."""


@dataclass(frozen=True)
class ChannelsOnDevice(RingCost):
    def channels(self, members):
        assert len(members) == 2
        return 24


def job(kernels_s, transfer_s, *, family=Family.MATMUL, waits=False):
    """Two ranks: forward kernels with an all-reduce beside them from the start, waited for before what follows."""
    bandwidth = PAYLOAD / transfer_s
    cluster = StarCluster(2, bandwidth=bandwidth)
    kernel = replace(work(kernels_s), family=family)
    last = Compute("last", Activity.OPTIMIZER, (work(1.0),))
    compute = Stream(
        "compute",
        (
            Record("begin"),
            Compute("first", Activity.FORWARD, (kernel,)),
            *((Wait("end"),) if waits else ()),
            last,
            *(() if waits else (Wait("end"),)),
            StepEnd(),
        ),
    )
    sums = Collective("sum", CollectiveKind.ALL_REDUCE, "dp", PAYLOAD)
    beside = Stream("dp", (Wait("begin"), sums, Record("end")))
    program = Program(
        "test", Mesh((("dp", 2),)), (RankProgram("all", (compute, beside)),), (0, 0), (Group("dp", ("dp",)),)
    )
    return program, cluster


def together(program, cluster, sharing):
    collectives = ChannelsOnDevice(cluster)
    costed = replace(costs(cluster), collectives=collectives, interference={"fake": sharing} if sharing else {})
    return simulate_together(lambda how: simulate(program, cluster, costed, how), costed, AS_RATED)


def step_s(program, cluster, sharing):
    return together(program, cluster, sharing).step_time_s


def test_hidden_communication_costs_the_part_of_the_device_that_it_takes():
    """20 s of kernels beside 4 s of communication at 3/4 of the rate: 1 s is lost."""
    program, cluster = job(20.0, 4.0)
    assert step_s(program, cluster, None) == pytest.approx(21.0)
    assert step_s(program, cluster, QUARTER) == pytest.approx(22.0)


def test_kernels_that_end_first_have_more_beside_them_as_they_take_longer():
    """9 s of kernels beside 12 s at 3/4 of the rate take exactly 12 s; two rounds of the geometric series give 11.8."""
    program, cluster = job(9.0, 12.0, waits=True)
    recording = together(program, cluster, QUARTER)
    first = recording.execution.ranks[0].streams[0].entries[0]
    assert first.end - first.start == pytest.approx(9.0 * (1.0 + 0.25 * (1.0 + 0.25)))
    assert recording.step_time_s == pytest.approx(13.0)
    program, cluster = job(11.0, 12.0)
    exact = 12.0 + (11.0 - 0.75 * 12.0) + 1.0
    assert step_s(program, cluster, QUARTER) == pytest.approx(exact, rel=0.01)


def test_persistent_products_take_two_rounds_and_other_kernels_do_not():
    sharing = Interference(multiprocessors=96, persistent=True)
    assert step_s(*job(20.0, 4.0), sharing) == pytest.approx(23.0)
    assert step_s(*job(20.0, 4.0, family=Family.ELEMENTWISE), sharing) == pytest.approx(22.0)


def test_overlap_is_what_kernels_and_collectives_have_in_common():
    program, cluster = job(20.0, 4.0)
    costed = replace(costs(cluster), collectives=ChannelsOnDevice(cluster), interference={"fake": QUARTER})
    found = overlaps(simulate(program, cluster, costed), costed)[Alike(0, "fake", 1.0)][Activity.FORWARD]
    assert (found.busy_s, found.beside_s, found.channel_s) == pytest.approx((20.0, 4.0, 96.0))


def test_a_library_off_the_device_takes_nothing_of_it():
    program, cluster = job(20.0, 4.0)
    costed = replace(costs(cluster), interference={"fake": QUARTER})
    recording = simulate_together(lambda how: simulate(program, cluster, costed, how), costed, AS_RATED)
    assert recording.step_time_s == pytest.approx(21.0)


def test_devices():
    ampere, hopper = (Interference.on(find_device(name)) for name in ("a100_sxm_80gb", "h100_sxm"))
    assert (ampere.loss(24).products, ampere.loss(24).others) == (24 / 108, 24 / 108)
    assert (hopper.loss(32).products, hopper.loss(32).others) == (0.5, 32 / 132)
    assert (hopper.loss(0).products, hopper.loss(0).others) == (0.0, 0.0)
    assert hopper.loss(200).others == 0.5


FSDP = {
    "cluster": {"name": "dgx_h100", "nodes": 2},
    "model": "gpt2_xl",
    "training": {"batch_per_gpu": 4, "precision": "bf16", "optimizer": "adam", "attention": "flash"},
    "strategy": "fsdp2",
}


def test_folded_is_unfolded_and_none_switches_it_off():
    folded = simulate_scenario(load_scenario(FSDP))
    unfolded = simulate_scenario(load_scenario(FSDP | {"simulate": {"fold": False}}))
    alone = simulate_scenario(load_scenario(FSDP | {"communication": {"interference": "none"}}))
    assert folded.step_time_s == unfolded.step_time_s
    assert 1.01 < folded.step_time_s / alone.step_time_s < 1.5
