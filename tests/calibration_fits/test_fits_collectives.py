"""Communication fits: coefficients that come back from their own times, and files that read back."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from simdml.calibration.communication_file import load_gloo_fit, load_nccl_fit
from simdml.calibration.fitting.communication_text import communication_text, number
from simdml.calibration.fitting.listing import compare, list_fit
from simdml.calibration.logs.collective_log import CollectiveLog, CollectiveRow
from simdml.cli.calibrate import command
from simdml.cluster.loading import load_cluster
from simdml.costs.collectives.gloo import gloo_steps
from simdml.costs.collectives.plan import CollectiveKind
from simdml.costs.fitting.collectives import (
    communicator_of,
    fit_corrections,
    fit_gloo,
    fit_nccl,
    modelled_rows,
    predicted_seconds,
)
from simdml.costs.fitting.named_fit import log_pairs
from simdml.errors import DocumentError, InfeasibleError, UnknownNameError, UsageError

SIZES = [2**power for power in range(3, 34)]
TRUTH = np.log([9.0, 1.3, 0.8, 0.8, 40.0])


def log(times, ranks=16, nodes=2, **changes):
    rows = tuple(CollectiveRow(int(size), "float", time) for size, time in times)
    fields = {"source": "x.txt", "library": "nccl", "collective": "all_reduce", "version": "2.18.5"} | changes
    return CollectiveLog(**fields, rows=rows, ranks=ranks, nodes=nodes)


@pytest.fixture(scope="module")
def cluster():
    return load_cluster("dgx_a100", {"nodes": 2})


@pytest.fixture(scope="module")
def measured(cluster):
    """A log whose times are the formula's."""
    blank = log([(size, 1.0) for size in SIZES])
    rows = modelled_rows(blank, communicator_of(blank, cluster), "2.18.5")
    return log(list(zip(SIZES, predicted_seconds(TRUTH, rows), strict=True)))


def test_corrections_come_back(measured, cluster):
    rows = modelled_rows(measured, communicator_of(measured, cluster), "2.18.5")
    assert np.exp(fit_corrections(rows)) == pytest.approx(np.exp(TRUTH), rel=1e-3)


def test_a_fit_reads_back_and_predicts_its_log(measured, cluster, tmp_path):
    fit = fit_nccl("mine", [measured], cluster)
    assert fit.provenance.rows == len(SIZES)
    assert fit.provenance.large_log_spread < 1e-3
    path = tmp_path / "mine.yaml"
    path.write_text(communication_text(fit, "a comment"))
    read = load_nccl_fit(str(path))
    assert read.ramp_s == pytest.approx(fit.ramp_s, rel=1e-3)
    assert read.provenance.sources == fit.provenance.sources
    for seconds, predicted in log_pairs(read, measured, cluster):
        assert predicted == pytest.approx(seconds, rel=3e-3)


@pytest.mark.parametrize(("changes", "words"), [
    ({"ranks": 0}, "how many ranks"),
    ({"ranks": 64, "nodes": 8}, "--cluster"),
    ({"ranks": 15, "nodes": 2}, "15 ranks on 2 nodes"),
    ({"version": ""}, "--nccl"),
    ({"collective": "alltoall"}, "not fitted"),
])  # fmt: skip
def test_logs_that_do_not_fit_are_refused(measured, cluster, changes, words):
    changed = log(measured.timed(), **changes)
    with pytest.raises(InfeasibleError) as found:
        fit_nccl("x", [changed], cluster)
    assert words in str(found.value)


def test_too_few_rows(measured, cluster):
    with pytest.raises(InfeasibleError, match="5 measured sizes"):
        fit_nccl("x", [log(measured.timed()[:5])], cluster)


def gloo_log(kind, ranks, overhead, step, connection, reduce):
    steps = gloo_steps(kind, ranks)
    per_byte = steps.sent / connection + steps.summed / reduce
    times = [(size, overhead + steps.messages * step + size * per_byte) for size in SIZES]
    return log(times, ranks, ranks, library="gloo", collective=kind.value)


def test_gloo_s_constants_come_back_where_the_logs_tell_them_apart(tmp_path):
    truth = (60e-6, 35e-6, 1.2e9, 3e9)
    logs = [
        gloo_log(kind, ranks, *truth)
        for kind in (CollectiveKind.ALL_REDUCE, CollectiveKind.BROADCAST)
        for ranks in (2, 4)
    ]
    fit = fit_gloo("g", logs, load_gloo_fit())
    found = (fit.overhead_s, fit.step_s, fit.connection_bytes_per_s, fit.reduce_bytes_per_s)
    assert found == pytest.approx(truth, rel=1e-3)
    path = tmp_path / "g.yaml"
    path.write_text(communication_text(fit, "c"))
    assert load_gloo_fit(str(path)).step_s == pytest.approx(35e-6, rel=1e-3)


def test_one_gloo_log_leaves_the_other_constants_alone():
    known = load_gloo_fit()
    truth = (known.overhead_s, 90e-6, 0.8e9, known.reduce_bytes_per_s)
    fit = fit_gloo("g", [gloo_log(CollectiveKind.ALL_REDUCE, 4, *truth)], known)
    assert (fit.step_s, fit.connection_bytes_per_s) == pytest.approx((90e-6, 0.8e9), rel=1e-3)
    assert (fit.overhead_s, fit.reduce_bytes_per_s) == (known.overhead_s, known.reduce_bytes_per_s)


def test_numbers_have_four_digits_and_no_exponent():
    assert [number(value) for value in (0.0, 1.0, 152.149, 0.00001234567, 1234567.0)] == [
        "0",
        "1",
        "152.1",
        "0.00001235",
        "1235000",
    ]


def test_listing_and_comparing_bundled_fits():
    one, other = list_fit("nccl_a100_nvswitch"), list_fit("nccl_h100_nvswitch")
    assert one.kind == "communication fit"
    rows = {path: difference for path, *_, difference in compare(one, other)}
    shared = {"overhead", "latency_scale", "bandwidth_scale", "nvls_scale", "ramp", "ll.scale", "ll.ramp"}
    assert set(rows) == shared | {"nvls_ramp", "ll128.scale", "ll128.ramp"}
    assert rows["nvls_ramp"] == rows["ll128.scale"] == "only one has it"
    assert all(difference == "" for *_, difference in compare(one, one))
    profile = list_fit("a100_sxm_80gb")
    paths = {row.path: row for row in profile.rows}
    assert (paths["matmul.fp16.plateau"].value, paths["matmul.fp16.plateau"].mark) == ("0.762", "measured")
    with pytest.raises(UnknownNameError):
        list_fit("nccl_a1000_nvswitch")


def run(*arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_fit_show_and_diff(nccl_log, tmp_path, measured):
    source, made = tmp_path / "run.txt", tmp_path / "mine.yaml"
    source.write_text(nccl_log([(int(size), time * 1e6) for size, time in measured.timed() if size >= 2**20], 16, 2))
    fit = ("fit", source, "--name", "mine", "--out", made, "--cluster", "dgx_a100")
    assert "all_reduce, 16 ranks" in run(*fit).output
    before = made.read_text()
    with pytest.raises(UsageError, match="--force"):
        run(*fit)
    assert made.read_text() == before
    run(*fit, "--force")
    picture = tmp_path / "fit.svg"
    shown = run("show", made, source, "--cluster", "dgx_a100", "--draw", picture)
    assert "bandwidth_scale" in shown.output
    assert "these readings" in shown.output
    assert picture.read_text().count("<svg") == 1
    assert "nccl_infiniband" in run("diff", made, "nccl_infiniband").output


def test_fit_refuses_what_it_cannot_use(nccl_log, tmp_path):
    source = tmp_path / "run.txt"
    source.write_text(nccl_log([(2**power, 100.0) for power in range(20, 28)], 8, 1))
    with pytest.raises(InfeasibleError, match="need the cluster"):
        run("fit", source, "--name", "x", "--out", tmp_path / "x.yaml")
    with pytest.raises(UsageError, match="no name"):
        run("fit", source, "--name", "a/b", "--cluster", "dgx_a100")
    source.write_text("nothing here\n")
    with pytest.raises(DocumentError, match="no measurement"):
        run("fit", source, "--name", "x", "--cluster", "dgx_a100")
    assert not (tmp_path / "x.yaml").exists()
