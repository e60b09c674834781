"""Fits and predictions of live jobs, without running any: closed forms and constants that must come back."""

from dataclasses import replace
from math import inf, log

import numpy as np
import pytest

from simdml.calibration.communication import EXACT, GlooFit
from simdml.errors import InfeasibleError, UnknownNameError
from simdml.strategies.compiler import compile_job
from simdml.validation.live import prediction, running
from simdml.validation.live.buckets import _shares
from simdml.validation.live.calibration import (
    PAYLOAD_SHARE,
    AllReduceReading,
    MachineFit,
    MessageReading,
    fit_all_reduce,
    fit_messages,
    link_s,
    nonnegative,
)
from simdml.validation.live.hosts import burst_bytes
from simdml.validation.live.jobs import LiveJob, LiveLayer, equal_layers
from simdml.validation.live.runtime import SECOND, two_at_a_time
from simdml.validation.live.selection import find_strategies, jobs_for, quick_jobs, standard_jobs

RATE = 400e6
BYTES_PER_S = RATE / 8 * PAYLOAD_SHARE
FREE = burst_bytes(RATE) * PAYLOAD_SHARE
IDEAL = MachineFit(
    cores=2,
    gloo=GlooFit("ideal", 0.0, 0.0, inf, inf, inf, EXACT),
    send_s=0.0,
    call_s=0.0,
    served_s=0.0,
    layer_s=0.0,
    gradient_s_per_byte=0.0,
    copy_s_per_byte=0.0,
    optimizer_s=0.0,
    optimizer_s_per_byte=0.0,
    sum_s_per_byte=1e-15,
    product_s=0.0,
    product_flops_per_s=1e10,
    unshaped_bytes_per_s=1e9,
    spread={"all_reduce": 0.0, "send": 0.0, "call": 0.0},
)


def predicted_s(job, fit=IDEAL, **options):
    return prediction.predict(job, fit, **options).step_s


class TestIdealMachine:
    """With no software costs, a step is its compute and its bytes, less what quiet links pass at once."""

    @pytest.mark.parametrize("hosts", [2, 3, 6])
    def test_one_bucket(self, hosts):
        job = LiveJob("ddp", hosts, RATE, (LiveLayer((2_000_000,), 0.05, 0.1),))
        wire = 2 * (hosts - 1) / hosts * 8e6
        assert predicted_s(job) == pytest.approx(0.15 + (wire - FREE) / BYTES_PER_S, rel=1e-3)

    def test_overlap_hides_all_but_the_last_bucket(self):
        layers = (LiveLayer((300_000,), 0.1, 0.4),) * 4
        job = LiveJob("ddp", 2, RATE, layers, bucket_bytes=1_000_000)
        assert predicted_s(job) == pytest.approx(2.0 + (1.2e6 - FREE) / BYTES_PER_S, rel=1e-3)

    @pytest.mark.parametrize("hosts", [2, 4])
    def test_layer_placement_is_serial(self, hosts):
        job = LiveJob("layer_placement", hosts, RATE, equal_layers(hosts, 0.1, 0.2), activation_bytes=2_000_000)
        message_s = (2e6 - FREE) / BYTES_PER_S
        assert predicted_s(job) == pytest.approx(0.2 + 2 * (hosts - 1) * message_s, rel=1e-3)

    @pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
    def test_pipeline_bound_by_compute(self, schedule):
        """Small messages: (m + p - 1)(F + B) (Huang et al., NeurIPS 2019)."""
        stages, microbatches = 3, 6
        layers = (LiveLayer((10,), 0.01, 0.02),) * stages
        job = LiveJob(schedule, stages, RATE, layers, microbatches=microbatches, activation_bytes=400)
        assert predicted_s(job) == pytest.approx((microbatches + stages - 1) * 0.03, rel=1e-2)

    @pytest.mark.parametrize(("hosts", "servers"), [(3, 1), (4, 2)])
    def test_synchronous_servers(self, hosts, servers):
        """One key a server: every worker's push, then every worker's pull, over the server's link."""
        layers = (LiveLayer((500_000,), 0.02, 0.03),) * servers
        job = LiveJob("ps_sync", hosts, RATE, layers, servers=servers)
        workers = hosts - servers
        direction_s = (workers * 2e6 - FREE) / BYTES_PER_S
        last = 0.02 * servers + 0.03 * servers
        assert predicted_s(job) == pytest.approx(last + 2 * direction_s, rel=0.03)

    def test_saturated_asynchronous_server(self):
        job = LiveJob("ps_async", 5, RATE, equal_layers(4, 4, 0.02), servers=1)
        assert predicted_s(job) == pytest.approx(4 * 4e6 / BYTES_PER_S, rel=0.05)

    def test_slow_worker_holds_up_bounded_staleness_alone(self):
        job = LiveJob("ps_ssp", 4, 5e9, equal_layers(2, 0.1, 0.2), servers=1, slowest=0.25, staleness=2)
        assert predicted_s(job) == pytest.approx(0.8, rel=0.05)
        unbounded = predicted_s(replace(job, strategy="ps_async"))
        assert unbounded == pytest.approx(3 / (1 / 0.8 + 2 / 0.2), rel=0.05)

    def test_unshaped_links_have_the_measured_rate(self):
        job = LiveJob("layer_placement", 2, RATE, equal_layers(2, 0.1, 0.2), activation_bytes=100_000_000)
        assert predicted_s(job, shaped=False) == pytest.approx(0.2 + 2 * 0.1, rel=1e-3)


def test_software_costs_add_up():
    job = LiveJob("ddp", 2, RATE, (LiveLayer((2_000_000,), 0.05, 0.1),))
    fit = replace(
        IDEAL,
        gloo=GlooFit("x", 2e-3, 1e-3, inf, 1e9, inf, EXACT),
        layer_s=5e-4,
        gradient_s_per_byte=1e-9,
        copy_s_per_byte=2e-9,
        optimizer_s=1e-3,
        optimizer_s_per_byte=1e-9,
    )
    added = 2e-3 + 2 * 1e-3 + 4e6 / 1e9 + 2 * 5e-4 + 8e6 * (1e-9 + 2 * 2e-9) + 1e-3 + 8e6 * 1e-9
    assert predicted_s(job, fit) - predicted_s(job) == pytest.approx(added, rel=0.02)


def test_interval_widens_with_the_residuals():
    low, high = IDEAL.interval("ddp")
    wide = replace(IDEAL, spread={**IDEAL.spread, "send": 0.2})
    assert wide.interval("ddp") == (low, high)
    assert wide.interval("gpipe")[1] > 1.3 > high > 1.0 > low
    assert low == pytest.approx(1 / high)


class TestFits:
    def test_all_reduce_constants_come_back(self):
        overhead, step, reduce = 2e-3, 3e-4, 1.5e9
        readings = []
        for ranks in (2, 3, 5):
            for nbytes in (2**19, 2**20, 2**22):
                for rate in (1e8, 4e8):
                    part = (ranks - 1) / ranks
                    seconds = overhead + 2 * (ranks - 1) * step + part * nbytes / reduce
                    seconds += link_s(2 * part * nbytes, rate)
                    readings.append(AllReduceReading(ranks, nbytes, rate, seconds))
        gloo, unshaped, logs = fit_all_reduce(readings)
        assert gloo.overhead_s == pytest.approx(overhead, rel=1e-6)
        assert gloo.step_s == pytest.approx(step, rel=1e-6)
        assert gloo.reduce_bytes_per_s == pytest.approx(reduce, rel=1e-6)
        assert unshaped == inf
        assert max(map(abs, logs)) < 1e-9

    def test_unshaped_rate_comes_back(self):
        readings = [AllReduceReading(2, n, 0.0, 1e-3 + n / 5e8) for n in (2**19, 2**20, 2**22)]
        assert fit_all_reduce(readings)[1] == pytest.approx(5e8, rel=1e-6)

    def test_message_latency_is_a_median(self):
        readings = [MessageReading(2**20, RATE, link_s(2**20, RATE) + extra) for extra in (1e-3, 2e-3, 50e-3)]
        latency, logs = fit_messages(readings, inf)
        assert latency == pytest.approx(2e-3)
        assert logs[2] == pytest.approx(log(readings[2].seconds / readings[1].seconds))

    def test_coefficients_are_not_below_zero(self):
        matrix = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        targets = np.array([[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]])
        found = nonnegative(matrix, targets)
        assert found[1] == 0.0
        assert found[0] > 0.0

    def test_a_small_payload_passes_a_quiet_link_at_once(self):
        assert link_s(1000, RATE) == 0.0
        assert link_s(FREE + BYTES_PER_S, RATE) == pytest.approx(1.0)


class TestBuckets:
    def test_those_that_end_a_pause_share_what_it_saved(self):
        spans = [(0.0, 1.0), (0.0, 1.5), (1.5, 2.0), (2.05, 3.0), (5.0, 6.0)]
        assert _shares(spans, 10.0, 100.0) == pytest.approx([5.0, 5.0, 0.0, 5.0, 10.0])

    def test_a_busy_link_gives_nothing(self):
        assert sum(_shares([(float(t), t + 1.0) for t in range(10)], 10.0, 100.0)) == pytest.approx(10.0)


def test_two_threads_take_buckets_in_turn():
    job = LiveJob("ddp", 2, RATE, equal_layers(5, 5, 0.1), bucket_bytes=1)
    cluster = prediction.build_cluster(job, IDEAL, shaped=True)
    program = compile_job(prediction._job(job, cluster))
    split = two_at_a_time(program)
    (alone,) = [s for s in program.classes[0].streams if s.name == "gradients"]
    first, second = [s for s in split.classes[0].streams if s.name.startswith("gradients")]
    assert len(first.instructions) + len(second.instructions) == len(alone.instructions) == 15
    assert first.instructions[:3] == alone.instructions[:3]
    assert second.instructions[1] == replace(alone.instructions[4], group=SECOND)
    assert two_at_a_time(replace(program, groups=())).classes == program.classes


class TestMeasurement:
    def test_a_step_ends_with_its_last_rank(self):
        ends = [[1.0, 2.0, 3.0, 4.1, 5.0, 6.0], [1.1, 2.2, 3.2, 4.2, 5.2, 6.2]]
        assert running.in_step(ends).step_s == pytest.approx(1.0)

    def test_workers_on_their_own_add_their_rates(self):
        fast, slow = [0.5 * n for n in range(1, 40)], [2.0 * n for n in range(1, 12)]
        assert running.together([fast, slow]).step_s == pytest.approx(2 / (1 / 0.5 + 1 / 2.0))

    def test_noise_is_told(self):
        steady, shaky = [[float(n) for n in range(12)]], [[n + 0.4 * (n % 2) for n in range(12)]]
        assert not running.in_step(steady).noisy
        assert running.in_step(shaky).noisy


class TestSelection:
    def test_standard_set_covers_what_it_says(self):
        jobs = standard_jobs()
        assert len(jobs) >= 12
        assert {job.strategy for job in jobs} == set(find_strategies(["all"]))
        assert {job.hosts for job in jobs} >= {2, 3, 4, 5, 6}
        assert {job.rate_bits_per_s for job in jobs} >= {100e6, 200e6, 300e6, 400e6, 500e6}
        assert any(job.real for job in jobs)
        assert {job.strategy for job in quick_jobs()} == {"ddp", "gpipe", "ps_sync"}

    @pytest.mark.parametrize(("hosts", "rate"), [(3, 100e6), (4, 400e6), (6, 500e6)])
    def test_any_hosts_and_rate_can_be_predicted(self, hosts, rate):
        jobs = jobs_for(find_strategies(["all"]), hosts, rate)
        assert len(jobs) == 14
        for job in jobs:
            assert 0.05 < predicted_s(job) < 5.0

    def test_a_wrong_name_and_too_few_hosts_are_refused(self):
        with pytest.raises(UnknownNameError, match="gpipe"):
            find_strategies(["gpip"])
        with pytest.raises(InfeasibleError, match="at least 3"):
            jobs_for(["ps_sync"], 2, RATE)
