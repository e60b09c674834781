"""Which server holds what: the systems' own rules, and the bytes on every NIC against closed forms."""

import pytest
from fakes import StarCluster, costs, job, layer, model

from simdml.costs.model import ServerCost
from simdml.engine.simulator import simulate
from simdml.results.links import link_loads
from simdml.strategies.compiler import compile_job
from simdml.strategies.parameter_server.partition import Partition
from simdml.strategies.parameter_server.placement import PLACEMENTS, Piece, Servers, djb2, extra_share, place
from simdml.strategies.parameter_server.plan import ParameterServerPlan

KIB, MIB = 1024, 1024 * 1024
FAST = ServerCost(bytes_per_s=1e30)


def test_partitions():
    assert Partition("whole").cut(10) == [10.0]
    assert Partition("fixed", pieces=4).cut(100) == [25.0] * 4
    # TensorFlow: at least 256 KiB a piece, at most so many pieces.
    assert Partition("min_size", 256 * KIB, 8).cut(MIB) == [256.0 * KIB] * 4
    assert Partition("min_size", 256 * KIB, 2).cut(MIB) == [512.0 * KIB] * 2
    assert Partition("min_size", 256 * KIB, 8).cut(100 * KIB) == [100.0 * KIB]
    # At most 64 MiB a piece.
    assert Partition("max_size", 64 * MIB).cut(100 * MIB) == [50.0 * MIB] * 2
    # BytePS: 4,096,000 bytes and what is left.
    assert Partition("slices", 4_096_000).cut(10_000_000) == [4_096_000, 4_096_000, 1_808_000]
    assert Partition("slices", 4_096_000).cut(4_096_000) == [4_096_000]


def test_mxnet_hashes_small_arrays_and_cuts_big_ones():
    pieces = [Piece(0, 0, 4.0), Piece(1, 0, 4e6 - 4), Piece(2, 0, 4e6), Piece(3, 0, 40.0)]
    placed = PLACEMENTS["mxnet_hash"](pieces, Servers(4))
    assert placed[0] == [(0, 4.0)]
    assert placed[1] == [(9973 % 4, 4e6 - 4)]
    assert placed[2] == [(server, 1e6) for server in range(4)]
    assert placed[3] == [(3 * 9973 % 4, 40.0)]


def test_byteps_hashes_keys():
    # hash(i) = hash(i - 1) * 33 + digit, from 5381; a key is the tensor in the high bits and the partition.
    assert djb2(0) == 5381 * 33 + ord("0")
    assert djb2(12) == (5381 * 33 + ord("1")) * 33 + ord("2")
    assert PLACEMENTS["byteps_hash"]([Piece(1, 2, 8.0)], Servers(5)) == [[(djb2(65536 + 2) % 5, 8.0)]]


def test_byteps_gives_servers_without_workers_their_share():
    assert extra_share(Servers(4, extra=0)) == 0.0
    assert extra_share(Servers(8, extra=4)) == 1.0
    # 2 k (n - 1) / (n (n + k) - 2 k)
    assert extra_share(Servers(6, extra=2)) == 2 * 2 * 3 / (4 * 6 - 4)
    pieces = [Piece(tensor, part, 1.0) for tensor in range(400) for part in range(25)]
    placed = PLACEMENTS["byteps_mixed"](pieces, Servers(6, extra=2))
    share = sum(parts[0][0] < 2 for parts in placed) / len(pieces)
    # The hash has 101 values, and they are not equally frequent.
    assert share == pytest.approx(extra_share(Servers(6, extra=2)), abs=0.05)


def test_live_and_simulated_servers_place_alike():
    tensors = [("a", 100), ("b", 60), ("c", 50), ("d", 10)]
    assert place(tensors, 2, "greedy_by_bytes") == [[(0, 100.0)], [(1, 60.0)], [(1, 50.0)], [(0, 10.0)]]


def exchange(workers, servers, *, colocated=0, bandwidth=2.0**22, elements=(2**20,), layers=1, steps=4, **plan):
    """Workers that only exchange a model with ``servers`` of their own and ``colocated`` ones beside them."""
    cluster = StarCluster(workers, bandwidth=bandwidth, servers=servers)
    toy = model([([layer(2.0**-20, 2.0**-20, elements)], 0.0) for _ in range(layers)])
    nodes = (*range(workers, workers + servers), *range(colocated))
    program = compile_job(
        job(
            cluster,
            toy,
            (("dp", workers),),
            parameter_server=ParameterServerPlan(nodes, extra_servers=servers, **plan),
        )
    )
    recording = simulate(program, cluster, costs(cluster, server=FAST), steps=steps, folded=False)
    loads = {load.name: load.bytes_per_step for load in link_loads(recording.execution, recording.step_time_s)}
    return recording, loads


def out_of(node):
    return f"link {2 * node}"


def into(node):
    return f"link {2 * node + 1}"


@pytest.mark.parametrize(("workers", "servers"), [(4, 4), (6, 2), (3, 5)])
def test_bytes_of_balanced_dedicated_servers(workers, servers):
    """Every worker sends and receives M, every server W M / S."""
    model_bytes = 2.0**22
    _, loads = exchange(workers, servers, placement="sharded")
    for link in (out_of(0), into(0)):
        assert loads[link] == pytest.approx(model_bytes)
    for link in (out_of(workers), into(workers)):
        assert loads[link] == pytest.approx(workers * model_bytes / servers)


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_bytes_of_servers_beside_every_worker(workers):
    """2 M (W - 1) / W each way, as a ring all-reduce: the part of a node's own server does not leave it."""
    _, loads = exchange(workers, 0, colocated=workers, placement="sharded")
    for node in range(workers):
        for link in (out_of(node), into(node)):
            assert loads[link] == pytest.approx(2 * 2.0**22 * (workers - 1) / workers)


def test_bytes_of_unbalanced_servers_are_those_of_the_heaviest():
    """MXNet's hash puts arrays 0 and 2 on server 0 and array 1 on server 1 of two."""
    elements = (2**10, 2**11, 2**12)
    recording, loads = exchange(4, 2, elements=elements, placement="mxnet_hash")
    heavy, light = 4.0 * (2**10 + 2**12), 4.0 * 2**11
    assert loads[into(4)] == loads[out_of(4)] == pytest.approx(4 * heavy)
    assert loads[into(5)] == loads[out_of(5)] == pytest.approx(4 * light)
    assert recording.step_time_s >= 4 * heavy / 2.0**22


@pytest.mark.parametrize(("machines", "extra"), [(4, 0), (4, 1), (4, 2), (4, 4), (8, 8), (2, 2)])
def test_byteps_optimum_makes_every_nic_equally_busy(machines, extra):
    """2 n (n - 1) M / (n^2 + k n - 2 k) each way on every machine: a ring's at k = 0, M at k = n (OSDI 2020)."""
    _, loads = exchange(machines, extra, colocated=machines, placement="byteps_optimal")
    n, k = machines, extra
    each = 2 * n * (n - 1) * 2.0**22 / (n * n + k * n - 2 * k)
    for node in range(machines + extra):
        assert loads[out_of(node)] == pytest.approx(each)
        assert loads[into(node)] == pytest.approx(each)
    if extra == 0:
        assert each == pytest.approx(2 * (n - 1) / n * 2.0**22)
    if extra == machines:
        assert each == pytest.approx(2.0**22)


@pytest.mark.parametrize(("machines", "extra"), [(4, 0), (4, 4)])
def test_byteps_optimum_takes_as_long_as_its_nics(machines, extra):
    """With small partitions pushes and pulls overlap, and a step takes the bytes of a NIC one way."""
    recording, loads = exchange(
        machines,
        extra,
        colocated=machines,
        layers=64,
        elements=(2**14,),
        placement="byteps_optimal",
        update="worker",
    )
    bound = max(loads.values()) / 2.0**22
    assert bound <= recording.step_time_s <= 1.06 * bound
