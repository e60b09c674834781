"""All-reduce on more nodes from logs on one and two: the forms themselves, and published measurements."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from simdml.costs.collectives.nccl_tables import Algorithm, Protocol, tables
from simdml.costs.collectives.nccl_tuning import latency_us
from simdml.costs.collectives.plan import CollectiveKind
from simdml.costs.fitting.more_nodes import Machine, MoreNodesFit, fit_more_nodes
from simdml.errors import InfeasibleError

KIB = 1024
SIZES = [64 * KIB * 2**power for power in range(10)]
LARGE = SIZES[4:]

# In place or out of place, whichever was faster, in us, for 64 KiB to 32 MiB (two nodes) and 1 to 32 MiB (others):
# all_reduce_perf with NCCL 2.8.4 on ABCI, aistabci/abci2.0benchmark allreduce/ at f0aa27f2fb. Nodes of 8 A100
# (4 x HDR InfiniBand) and of 4 V100 (2 x EDR).
A100 = Machine(8, 80, True, "2.8.4")
A100_ONE = [74.4, 116.2, 138.3, 198.8, 215.9, 358.5]
A100_TWO = [56.09, 77.24, 88.05, 108.3, 142.0, 175.4, 288.8, 534.4, 1025.2, 1885.6]
A100_EIGHT = [207.2, 333.9, 585.9, 1131.5, 2034.1, 4342.8]
V100 = Machine(4, 70, True, "2.8.4")
V100_TWO = [52.82, 57.92, 90.74, 149.2, 198.7, 286.2, 444.6, 791.2, 1511.2, 2969.8]
V100_EIGHT = [335.4, 591.4, 807.8, 1183.3, 1887.9, 3318.2]

# Mean ms of NCCL 2.0 (rings alone) on nodes of 8 PCIe cards: baidu-research/DeepBench results/train,
# DeepBench_NV_M40.xlsx and DeepBench_NV_TitanX_Pascal.xlsx at da81ba7820. Bytes: (two nodes, four nodes).
M40 = Machine(8, 52, False, "2.0.5")
M40_MS = {400000: (0.463, None), 12390400: (5.776, 5.622), 16777216: (7.933, 7.851), 26214400: (10.902, 12.412),
          153440000: (71.435, 72.512), 258000000: (119.621, 120.483)}  # fmt: skip
PASCAL = Machine(8, 61, False, "2.0.5")
PASCAL_MS = {400000: (0.494, None), 12390400: (4.18, 4.641), 16777216: (5.631, 5.852), 26214400: (8.867, 8.993),
             153440000: (51.944, 57.408), 258000000: (87.469, 97.335)}  # fmt: skip
# DeepBench_NV_TitanX.xlsx and DeepBench_NV_1080Ti.xlsx there; None where another library was faster.
TITAN_X_MS = {400000: (0.449, None), 12390400: (5.737, 5.622), 16777216: (7.852, 7.875), 26214400: (10.996, 12.395),
              153440000: (70.225, 73.674), 258000000: (117.437, 123.224)}  # fmt: skip
GTX_1080_TI_MS = {400000: (0.505, None), 12390400: (4.493, 4.631), 16777216: (5.976, 6.042), 26214400: (9.221, 11.044),
                  153440000: (53.914, 92.532), 258000000: (90.648, None)}  # fmt: skip


def us(sizes, times):
    return [(size, time * 1e-6) for size, time in zip(sizes, times, strict=True)]


def abci(machine, two, eight, one=()):
    fit = fit_more_nodes(machine, us(SIZES, two), us(LARGE, one) if one else ())
    return fit, [fit.seconds(size, 8) / seconds - 1.0 for size, seconds in us(LARGE, eight)]


def deepbench(machine, table):
    fit = fit_more_nodes(machine, [(size, two * 1e-3) for size, (two, _) in table.items()])
    return fit, [fit.seconds(size, 4) / (four * 1e-3) - 1.0 for size, (_, four) in table.items() if four]


def test_a100_on_eight_nodes_runs_trees_and_is_predicted():
    fit, errors = abci(A100, A100_TWO, A100_EIGHT, A100_ONE)
    assert fit.algorithm is Algorithm.TREE
    assert statistics.median(map(abs, errors)) <= 0.09
    assert max(map(abs, errors)) <= 0.16


def test_v100_on_eight_nodes_runs_rings_and_is_predicted():
    fit, errors = abci(V100, V100_TWO, V100_EIGHT)
    assert fit.algorithm is Algorithm.RING
    assert statistics.median(map(abs, errors)) <= 0.05
    assert max(map(abs, errors)) <= 0.13


def test_every_machine_that_is_published_together():
    machines = [
        abci(A100, A100_TWO, A100_EIGHT),
        abci(V100, V100_TWO, V100_EIGHT),
        deepbench(M40, M40_MS),
        deepbench(PASCAL, PASCAL_MS),
        deepbench(M40, TITAN_X_MS),
        deepbench(PASCAL, GTX_1080_TI_MS),
    ]
    errors = [error for _, found in machines for error in found]
    assert len(errors) == 31
    assert statistics.median(map(abs, errors)) <= 0.09


def test_a_library_without_trees_is_fitted_with_rings():
    fit, errors = deepbench(M40, M40_MS)
    assert fit.algorithm is Algorithm.RING
    assert statistics.median(map(abs, errors)) <= 0.05


def test_doubling_the_times_at_two_nodes_would_be_noticed():
    fit, _ = abci(V100, [2 * time for time in V100_TWO], V100_EIGHT)
    errors = [fit.seconds(size, 8) / seconds - 1.0 for size, seconds in us(LARGE, V100_EIGHT)]
    assert statistics.median(map(abs, errors)) > 0.5


def exact(machine, algorithm, size, nodes, rate):
    """The formula of the module for one protocol, Simple, without ramp or overhead, at huge sizes."""
    shape = machine.shape(nodes)
    latency = latency_us(CollectiveKind.ALL_REDUCE, algorithm, Protocol.SIMPLE, shape, tables(machine.nccl)) * 1e-6
    if algorithm is Algorithm.RING:
        latency *= 1.4
        volume = 2 * (8 * nodes - 1) / (8 * nodes)
    else:
        volume = 1.0 if nodes == 2 else 2.0
    return latency + volume * size / rate


@pytest.mark.parametrize("algorithm", [Algorithm.RING, Algorithm.TREE])
@pytest.mark.parametrize("nodes", [2, 3, 16])
def test_large_payloads_cost_volume_over_rate(algorithm, nodes):
    machine = Machine(8, 80, True, "2.18.5")
    fit = MoreNodesFit(machine, algorithm, 1e-12, 1.0, 20e9, 1e-20, 0.0)
    size = 2.0**34
    assert fit.seconds(size, nodes) == pytest.approx(exact(machine, algorithm, size, nodes, 20e9), rel=1e-6)


@pytest.mark.parametrize("algorithm", [Algorithm.RING, Algorithm.TREE])
def test_coefficients_come_back_from_their_own_times(algorithm):
    machine = Machine(8, 80, True, "2.18.5")
    truth = MoreNodesFit(machine, algorithm, 12e-6, 1.6, 21e9, 8e-6, 0.0)
    sizes = [64 * KIB * 2**power for power in range(14)]
    fit = fit_more_nodes(machine, [(size, truth.seconds(size, 2)) for size in sizes])
    assert fit.algorithm is algorithm
    assert fit.log_spread < 1e-3
    for nodes in (4, 32):
        for size in sizes:
            assert fit.seconds(size, nodes) == pytest.approx(truth.seconds(size, nodes), rel=0.02)


def test_more_nodes_are_never_faster_than_the_inside_of_one():
    slow = us(LARGE, [1e6] * len(LARGE))
    fit = fit_more_nodes(A100, us(SIZES, A100_TWO), slow)
    assert fit.seconds(LARGE[-1], 8) == pytest.approx(1.0)


def test_latencies_are_never_taken_to_be_below_the_library_s_own():
    fit, _ = abci(A100, A100_TWO, A100_EIGHT)
    assert 1.0 - 1e-9 <= fit.latency_scale <= 3.0 + 1e-9


def test_too_few_sizes_are_refused():
    with pytest.raises(InfeasibleError, match="64 KiB"):
        fit_more_nodes(A100, [(8, 1e-5), *us(SIZES[:3], A100_TWO[:3])])


def test_time_grows_with_size_and_nodes():
    fit, _ = abci(V100, V100_TWO, V100_EIGHT)
    grid = np.array([[fit.seconds(size, nodes) for size in SIZES] for nodes in (2, 4, 8, 16)])
    assert (np.diff(grid, axis=1) > 0).all()
    assert (np.diff(grid, axis=0) > 0).all()
    assert math.isfinite(grid.sum())
