"""Corrections for each protocol: they come back from their formula, and what rows do not tell stays where it was."""

from dataclasses import replace

import pytest

from simdml.calibration.communication import EXACT, NcclFit, Wire
from simdml.calibration.communication_file import load_nccl_fit
from simdml.calibration.fitting.communication_text import communication_text
from simdml.costs.fitting.by_protocol import fit_by_protocol, seconds_by
from simdml.costs.fitting.collectives import Modelled

TRUTH = NcclFit(
    "mine", 4e-6, 1.2, 0.9, 1.05, 15e-6, EXACT, nvls_ramp_s=30e-6, ll=Wire(1.5, 60e-6), ll128=Wire(0.8, 5e-6)
)
RATES = {"ll": 50e9, "ll128": 120e9, "simple": 140e9, "nvls": 270e9}


def rows(*protocols, least=0.0, **changes):
    """Rows of every size whose times are the formula's."""
    found = []
    for protocol in protocols:
        for power in range(8, 32):
            size, switched = 2.0**power, protocol == "nvls"
            name = "simple" if switched else protocol
            latency = {"ll": 15e-6, "ll128": 40e-6, "simple": 56e-6, "nvls": 25e-6}[protocol]
            row = Modelled(protocol, size, 1.0, latency, size / RATES[protocol], switched, 8, name, least * size)
            row = replace(row, **changes)
            found.append(replace(row, seconds=seconds_by(TRUTH, row)))
    return found


def test_coefficients_come_back_but_for_their_weak_priors():
    measured = rows(*RATES)
    fit = fit_by_protocol("mine", measured)
    assert all(seconds_by(fit, row) == pytest.approx(row.seconds, rel=0.02) for row in measured)
    assert fit.latency_scale == pytest.approx(1.2, rel=0.05)
    assert (fit.bandwidth_scale, fit.nvls_scale) == pytest.approx((0.9, 1.05), rel=0.03)
    assert (fit.ramp_s, fit.nvls_ramp_s) == pytest.approx((15e-6, 30e-6), rel=0.25)
    assert fit.ll is not None
    assert fit.ll128 is not None
    assert (fit.ll.scale, fit.ll128.scale) == pytest.approx((1.5, 0.8), rel=0.06)


def test_a_protocol_without_rows_is_as_simple():
    fit = fit_by_protocol("mine", rows("simple", "ll"))
    assert fit.ll128 is None
    assert fit.nvls_scale == fit.bandwidth_scale
    assert fit.wire_s(1e-3, protocol="ll128") == fit.wire_s(1e-3) == fit.wire_s(1e-3, in_switch=True)


def test_of_a_known_fit_only_simple_s_rate_is_fitted():
    slow = [replace(row, wire_s=row.wire_s / 2) for row in rows("simple") if row.size_bytes > 2**24]
    fit = fit_by_protocol("mine", slow, TRUTH)
    assert fit.bandwidth_scale == pytest.approx(0.45, rel=0.03)
    assert (fit.overhead_s, fit.latency_scale, fit.ramp_s) == pytest.approx((4e-6, 1.2, 15e-6))


def test_links_bound_a_fit_as_they_bound_a_plan():
    bound = rows("simple", least=1 / 100e9)
    assert seconds_by(TRUTH, bound[-1]) == pytest.approx(4e-6 + 1.2 * 56e-6 + 2.0**31 / 100e9)
    assert fit_by_protocol("mine", bound).bandwidth_scale > 0.8


def test_rooted_and_streaming_rows_are_not_corrected():
    (row, *_) = rows("ll", rooted=True, streams=True)
    assert seconds_by(TRUTH, row) == pytest.approx(4e-6 + row.latency_s + row.wire_s)


def test_it_reads_back(tmp_path):
    path = tmp_path / "mine.yaml"
    sourced = replace(
        TRUTH, provenance=replace(EXACT, sources=("a log",), min_bytes=8.0, max_bytes=2.0**33, max_ranks=8)
    )
    path.write_text(communication_text(sourced, "a test"))
    read = load_nccl_fit(str(path))
    assert read.nvls_ramp_s == pytest.approx(30e-6)
    for wire, true in ((read.ll, TRUTH.ll), (read.ll128, TRUTH.ll128)):
        assert wire is not None
        assert true is not None
        assert (wire.scale, wire.ramp_s) == pytest.approx((true.scale, true.ramp_s))


def test_a_slow_nic_slows_every_protocol():
    slow = replace(TRUTH, nic_bytes_per_s=5e9).over_nics_of(10e9)
    assert slow.ll is not None
    assert slow.ll128 is not None
    assert (slow.ll.scale, slow.ll128.scale) == pytest.approx((0.75, 0.4))
