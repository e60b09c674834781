"""What workers do: equal servers as one, priorities, fetching less often, compression, replicas of several GPUs."""

from collections import Counter

import pytest
from fakes import StarCluster, costs, job, layer, model

from simdml.costs.model import ServerCost
from simdml.engine.simulator import simulate
from simdml.program.instructions import Compute, Push
from simdml.results.accounting import Meanings, account
from simdml.results.critical_path import critical_path
from simdml.strategies import compiler
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import PipelinePlan
from simdml.strategies.parameter_server import compiling, worker
from simdml.strategies.parameter_server.compression import COMPRESSIONS
from simdml.strategies.parameter_server.partition import Partition
from simdml.strategies.parameter_server.plan import ParameterServerPlan

BANDWIDTH = 2.0**22
MODEL_S = 1.0
"""How long a model of 2^20 parameters takes one way."""
FAST = ServerCost(bytes_per_s=1e30)


def compiled(workers, servers, *, layers=((0.5, 0.5, 2**20),), mesh=None, output_bytes=0.0, pipeline=None, **plan):
    cluster = StarCluster(workers, bandwidth=BANDWIDTH, servers=servers)
    toy = model([([layer(forward, backward, [size])], output_bytes) for forward, backward, size in layers])
    nodes = tuple(range(workers, workers + servers))
    options = {} if pipeline is None else {"pipeline": pipeline}
    plan = ParameterServerPlan(nodes, **{"placement": "sharded", **plan})
    return compile_job(job(cluster, toy, mesh or (("dp", workers),), parameter_server=plan, **options)), cluster


def run(*args, steps=None, server=FAST, **options):
    program, cluster = compiled(*args, **options)
    return simulate(program, cluster, costs(cluster, server=server), steps=steps)


@pytest.mark.parametrize("consistency", ["bsp", "asynchronous", "ssp"])
@pytest.mark.parametrize("servers", [2, 3, 8])
def test_equal_servers_as_one_are_exact(monkeypatch, consistency, servers):
    """Every end of step equals that of servers simulated one by one."""
    options = {
        "layers": ((0.25, 0.25, 2**18), (0.125, 0.5, 3 * 2**16), (0.5, 0.25, 2**12)),
        "consistency": consistency,
        "staleness": 1,
        "steps": 6,
        "server": ServerCost(bytes_per_s=2.0**24, per_message_s=0.01),
    }
    together = run(5, servers, **options)
    monkeypatch.setattr(compiling, "shard_nodes", lambda job: tuple((node,) for node in job.parameter_server.nodes))
    alone = run(5, servers, **options)
    assert (len(together.execution.shards), len(alone.execution.shards)) == (1, servers)
    assert together.step_ends == alone.step_ends


@pytest.mark.parametrize("fetch", ["after_push", "at_start"])
@pytest.mark.parametrize("consistency", ["bsp", "asynchronous", "ssp", "backup"])
def test_one_message_after_another_needs_no_streams_of_its_own(monkeypatch, consistency, fetch):
    """A worker that sends one message and waits does it in turn, as it would on streams side by side."""
    options = {"consistency": consistency, "staleness": 2, "fetch": fetch, "messages": "model", "overlap": False}
    options |= {"backup_workers": int(consistency == "backup"), "layers": ((0.25, 0.5, 2**16),) * 3}
    in_turn = run(6, 3, steps=8, server=ServerCost(2.0**25), **options)
    assert [stream.name for stream in in_turn.execution.ranks[0].streams] == ["compute"]
    # A push and a pull for each worker and step, whatever the number of servers; copies are in nobody's way.
    assert in_turn.execution.network.started == pytest.approx(2 * 6 * 8, abs=2 * 6 * 2)
    compiler._compiled.cache_clear()
    monkeypatch.setattr(worker.Worker, "_in_turn", False)
    apart = run(6, 3, steps=8, server=ServerCost(2.0**25), **options)
    compiler._compiled.cache_clear()
    assert len(apart.execution.ranks[0].streams) == 5
    assert apart.step_ends == in_turn.step_ends


def test_servers_beside_workers_are_told_apart():
    cluster = StarCluster(4, bandwidth=BANDWIDTH)
    toy = model([([layer(0.5, 0.5, [2**20])], 0.0)])
    plan = ParameterServerPlan((0, 1, 2, 3), placement="sharded")
    program = compile_job(job(cluster, toy, (("dp", 4),), parameter_server=plan))
    assert [shard.nodes for shard in program.servers] == [(0,), (1,), (2,), (3,)]


BACK_HEAVY = ((0.5, 0.5, 2**14), (0.5, 0.5, 2**20 - 2**14))


def test_priority_lets_the_next_forward_begin_early():
    """The first layer's small gradient comes last; in order it waits for the last layer's, as slices it overtakes."""
    slices = Partition("slices", 2.0**16)
    in_order = run(1, 1, layers=BACK_HEAVY, barrier=False, partition=slices)
    urgent = run(1, 1, layers=BACK_HEAVY, barrier=False, partition=slices, priority="push")
    at_once = run(1, 1, layers=BACK_HEAVY, barrier=True, partition=slices)
    assert urgent.step_time_s < in_order.step_time_s <= at_once.step_time_s
    # Never less than compute, nor than the links in one direction.
    assert urgent.step_time_s >= max(2.0, MODEL_S)


@pytest.mark.parametrize("credit", [1, 2, 8])
def test_credit_limits_what_is_under_way(credit):
    program, cluster = compiled(
        2, 2, layers=BACK_HEAVY, placement="round_robin", partition=Partition("slices", 2.0**18), priority="push",
        credit=credit, barrier=False,
    )  # fmt: skip
    recording = simulate(program, cluster, costs(cluster, server=FAST))
    for rank in recording.execution.ranks:
        pushing = [stream for stream in rank.streams if stream.name.startswith("push")]
        assert len(pushing) <= credit
        spans = sorted((e.start, e.end) for stream in pushing for e in stream.entries if e.end > e.start)
        assert all(sum(begin <= at < end for begin, end in spans) <= credit for at, _ in spans)


@pytest.mark.parametrize(("pull_every", "push_every"), [(1, 1), (2, 1), (1, 4), (2, 3), (4, 2)])
def test_downpour_fetches_and_pushes_now_and_then(pull_every, push_every):
    """One replica alone: compute, 1/n_fetch of a fetch and 1/n_push of a push a step."""
    recording = run(
        1, 1, steps=49, consistency="asynchronous", messages="model", overlap=False, fetch="at_start",
        pull_every=pull_every, push_every=push_every,
    )  # fmt: skip
    ends = recording.step_ends[0]
    mean = (ends[48] - ends[0]) / 48
    assert mean == pytest.approx(1.0 + MODEL_S / pull_every + MODEL_S / push_every, rel=1e-9)


def test_compression_shrinks_messages():
    plain = run(1, 1).step_time_s
    two_bit = run(1, 1, compression=COMPRESSIONS["two_bit"]).step_time_s
    one_bit = run(1, 1, compression=COMPRESSIONS["one_bit"]).step_time_s
    assert plain == pytest.approx(1.0 + 2 * MODEL_S)
    # The toy's kernels take as many seconds as they have FLOPs, and compression has none.
    assert two_bit == pytest.approx(1.0 + MODEL_S / 16 + MODEL_S)
    assert one_bit == pytest.approx(1.0 + 2 * MODEL_S / 32)


def test_servers_read_what_is_compressed_and_sum_in_full():
    from simdml.strategies.parameter_server.compiling import server_work

    plan = ParameterServerPlan((0,), compression=COMPRESSIONS["two_bit"])
    work = server_work(plan, "sgd")
    # A pushed byte is 16 of gradient: read 1, read and write the sum; then read sum and weights, write weights.
    assert (work.copy, work.sum, work.update) == (1 + 16, 1 + 2 * 16, 3 * 16)
    assert server_work(ParameterServerPlan((0,), update="worker"), "adam").update == 0.0
    assert server_work(ParameterServerPlan((0,)), "adam").update == 7.0


def test_workers_update_what_they_pull():
    def optimizer(**plan):
        program, _ = compiled(2, 1, layers=((0.5, 0.5, 2**10),) * 3, **plan)
        compute = program.classes[0].streams[0]
        return [i for i, _ in compute.counts if isinstance(i, Compute) and i.activity == "optimizer"]

    assert optimizer() == []
    assert len(optimizer(update="worker")) == 1
    assert len(optimizer(update="worker", barrier=False)) == 3


def test_replica_of_two_gpus_talks_about_its_own_parts():
    """Stages work one after another; each exchanges its own half with the servers."""
    options = {"layers": ((0.5, 1.0, 2**19), (0.25, 0.75, 2**19)), "output_bytes": 2.0**20}
    plan = {"mesh": (("pp", 2), ("dp", 2)), "pipeline": PipelinePlan("gpipe", balance=(0, 1))}
    program, _ = compiled(4, 1, **options, **plan)
    assert [each.name for each in program.classes] == ["stage 0 of a replica", "stage 1 of a replica"]
    assert program.class_of_rank == (0, 1, 0, 1)
    pushed = [
        sum(i.payload_bytes for stream in each.streams for i, _ in stream.counts if isinstance(i, Push))
        for each in program.classes
    ]
    assert pushed == [2.0**21, 2.0**21]
    assert all(shard.consistency.workers == 2 for shard in program.servers)
    recording = run(4, 1, **options, **plan)
    # Stage 1's half is under way (2 workers x 2^21 bytes at the server, 1 s each way) while stage 0 goes backward:
    # forward 0.5, 0.25, transfer 0.25, backward 0.75, transfer 0.25, backward 1.0, then stage 0's half both ways.
    assert recording.step_time_s == pytest.approx(0.5 + 0.25 + 0.25 + 0.75 + 0.25 + 1.0 + 2.0, rel=0.05)


def test_pieces_may_be_cut_for_the_network_alone():
    """P3 sums and copies a tensor whole and sends slices; BytePS cuts before."""
    slices = {"partition": Partition("slices", 2.0**16), "placement": "round_robin", "priority": "push"}
    for at, copies in (("node", 4), ("network", 1)):
        program, _ = compiled(2, 2, layers=((0.5, 0.5, 2**16),), partition_at=at, **slices)
        [rank_program] = program.classes
        counts = Counter(type(i).__name__ for stream in rank_program.streams for i in stream.instructions)
        assert (counts["HostCopy"], counts["Push"], counts["Pull"]) == (2 * copies, 4, 4)


PLANS = {
    "cut for the network": {
        "barrier": False,
        "priority": "push",
        "partition": Partition("slices", 2.0**16),
        "partition_at": "network",
    },
    "in layers": {"barrier": False},
    "by priority": {"barrier": False, "priority": "push", "partition": Partition("slices", 2.0**16)},
    "at start": {"fetch": "at_start", "barrier": False},
    "at start, with a barrier": {"fetch": "at_start"},
    "by credit": {"priority": "push", "credit": 3, "partition": Partition("slices", 2.0**16)},
    "on workers": {"update": "worker", "barrier": False},
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("consistency", ["bsp", "asynchronous"])
def test_time_adds_up(plan, consistency):
    """Accounts and critical path fill the step, whatever the order of messages; never faster than links and kernels."""
    layers = ((0.25, 0.25, 2**17), (0.5, 0.25, 2**18), (0.125, 0.25, 2**16))
    recording = run(3, 2, layers=layers, consistency=consistency, steps=8, server=ServerCost(2.0**25), **plan)
    for position, rank in enumerate(recording.execution.ranks):
        begin, end = recording.own_window(position)
        accounts = account(rank, Meanings(recording.execution), begin, end)
        assert sum(accounts.values()) == pytest.approx(end - begin, abs=1e-9)
    begin, end = recording.window
    path = critical_path(recording, begin, end)
    assert sum(segment.seconds for segment in path) == pytest.approx(end - begin, abs=1e-9)
    parameters = 4.0 * sum(size for _, _, size in layers)
    assert recording.step_time_s >= max(1.625, 3 * parameters / 2 / BANDWIDTH) - 1e-9
