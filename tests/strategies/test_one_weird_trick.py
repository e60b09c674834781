"""One weird trick: bytes and work of its three schemes in closed form (arXiv 1404.5997)."""

import pytest
from fakes import StarCluster, costs

from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute
from simdml.program.mesh import Mesh
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.kinds import make_replica
from simdml.strategies.data_parallel.one_weird_trick import OneWeirdTrickPlan, split_blocks
from simdml.strategies.job import Job, Training
from simdml.strategies.stage_code import stage_code
from simdml.workload.catalog import find_model

BATCH, FEATURES, HIDDEN, CLASSES = 32, 256 * 6 * 6, 4096, 1000
ALEXNET = find_model("alexnet")


def job(scheme, workers, batch=BATCH, model=ALEXNET, **plan):
    built = {}

    def build(samples):
        return built.setdefault(samples, model.build(samples=samples))

    training = Training(batch, 1, optimizer="sgd")
    plan = OneWeirdTrickPlan(scheme, **plan)
    return Job("trick", StarCluster(workers), build, training, Mesh((("dp", workers),)), data_parallel=plan)


def moved(the_job):
    """(kind, payload) and how often, but for the sums of convolutions' gradients."""
    found = {}
    for stream in compile_job(the_job).classes[0].streams:
        for instruction, times in stream.counts:
            if isinstance(instruction, Collective) and stream.name != "gradients":
                key = (instruction.kind, instruction.payload_bytes)
                found[key] = found.get(key, 0) + times
    return found


def columns(rows):
    """What fc2 and fc3 gather forward and scatter backward."""
    return 4 * rows * HIDDEN


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_scheme_a_gathers_all_examples_once(workers):
    examples = 4 * workers * BATCH * FEATURES
    assert moved(job("a", workers)) == {
        (CollectiveKind.ALL_GATHER, examples): 1,
        (CollectiveKind.REDUCE_SCATTER, examples): 1,
        (CollectiveKind.ALL_GATHER, columns(workers * BATCH)): 2,
        (CollectiveKind.REDUCE_SCATTER, columns(workers * BATCH)): 2,
    }


@pytest.mark.parametrize(
    ("scheme", "there", "back"),
    [
        ("b", CollectiveKind.BROADCAST, CollectiveKind.REDUCE),
        ("c", CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER),
    ],
)
@pytest.mark.parametrize("workers", [2, 4, 8])
def test_schemes_b_and_c_have_a_round_for_every_worker(scheme, there, back, workers):
    assert moved(job(scheme, workers)) == {
        (there, 4 * BATCH * FEATURES): workers,
        (back, 4 * BATCH * FEATURES): workers,
        (CollectiveKind.ALL_GATHER, columns(BATCH)): 2 * workers,
        (CollectiveKind.REDUCE_SCATTER, columns(BATCH)): 2 * workers,
    }


@pytest.mark.parametrize("scheme", ["a", "b", "c"])
def test_a_worker_does_as_much_as_with_data_parallelism(scheme):
    """1/K of the columns for K times as many examples."""

    def done(program):
        computes = [(i, n) for i, n in program.classes[0].streams[0].counts if isinstance(i, Compute)]
        passes = [(c, n) for c, n in computes if c.activity in {Activity.FORWARD, Activity.BACKWARD}]
        return sum(n * operator.flops for c, n in passes for operator in c.operators)

    whole = sum(x.forward_flops + x.backward_flops for b in ALEXNET.build(samples=BATCH).blocks for x in b.layers)
    assert done(compile_job(job(scheme, 4))) == pytest.approx(whole)


@pytest.mark.parametrize(("variable", "times"), [(False, 0), (True, 4)])
def test_a_variable_batch_updates_fully_connected_layers_every_round(variable, times):
    program = compile_job(job("b", 4, variable_batch=variable))
    updates = [
        (sum(o.bytes for o in i.operators), n)
        for i, n in program.classes[0].streams[0].counts
        if isinstance(i, Compute) and i.activity == Activity.OPTIMIZER
    ]
    convolutions, connected = split_blocks(ALEXNET.build(samples=1))
    held = sum(block.parameter_count for block in connected) / 4
    convolved = sum(block.parameter_count for block in convolutions)
    expected = [(12 * held, times), (12 * convolved, 1)] if variable else [(12 * (held + convolved), 1)]
    assert updates == expected


def test_convolutions_gradients_are_summed_and_others_stay():
    program = compile_job(job("b", 4))
    gradients = next(stream for stream in program.classes[0].streams if stream.name == "gradients")
    summed = sum(i.payload_bytes * n for i, n in gradients.counts if isinstance(i, Collective))
    convolutions, _ = split_blocks(ALEXNET.build(samples=1))
    assert summed == 4 * sum(block.parameter_count for block in convolutions)


def test_memory_holds_the_columns_here_and_everybodys_examples_in_scheme_a():
    def memory(scheme, workers=4):
        the_job = job(scheme, workers)
        return make_replica(the_job, [stage_code(the_job, the_job.build(BATCH).blocks)]).memory()

    convolutions, connected = split_blocks(ALEXNET.build(samples=1))
    held = sum(b.parameter_count for b in convolutions) + sum(b.parameter_count for b in connected) / 4
    assert memory("b").parameters == pytest.approx(4 * held)
    extra = memory("a").activations - memory("b").activations
    inputs = 4 * BATCH * (FEATURES + 2 * HIDDEN)  # kept whole: three times as many more rows, less the next examples
    assert extra > 3 * inputs - 4 * BATCH * FEATURES


@pytest.mark.parametrize("scheme", ["a", "b", "c"])
def test_folded_equals_unfolded_and_rounds_overlap(scheme):
    the_job = job(scheme, 4)
    program, prices = compile_job(the_job), costs(the_job.cluster)
    folded = simulate(program, the_job.cluster, prices)
    assert folded.step_time_s == simulate(program, the_job.cluster, prices, folded=False).step_time_s


def test_models_of_other_layers_and_uneven_rounds_are_refused():
    with pytest.raises(InfeasibleError, match=r"(?s)gpt2 does not consist of.*alexnet and vgg16"):
        compile_job(job("b", 2, model=find_model("gpt2")))
    with pytest.raises(InfeasibleError, match=r"(?s)32 examples in each of 5 rounds.*multiple of 5"):
        compile_job(job("c", 5))
