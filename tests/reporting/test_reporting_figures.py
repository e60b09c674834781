"""Figures: what is drawn, not how it looks."""

import pytest
import sample_results

from simdml.engine.execution import Kind
from simdml.errors import OutputError
from simdml.reporting.calibration_figure import fit_figure
from simdml.reporting.figures import figure_bytes, result_figure, save_figure
from simdml.reporting.gantt import ROWS, Lane, choose_lanes, hidden_accounts, merge_blocks, spread
from simdml.results.timeline import Span, timeline

KINDS = list(sample_results.every_kind())


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_has_bars_that_fill_the_step_and_a_timeline(kind):
    result = sample_results.every_kind()[kind]
    bars, gantt, *_ = result_figure(result).axes
    ends = [patch.get_x() + patch.get_width() for patch in bars.patches]
    assert max(ends) == pytest.approx(result.step_time_s)
    assert gantt.get_xlim() == (0.0, pytest.approx(result.step_time_s))
    assert gantt.collections
    labels = [label.get_text() for label in gantt.get_yticklabels()]
    assert 0 < len(labels) <= ROWS


def test_rows_of_a_deep_pipeline_are_spread_over_its_stages():
    result = sample_results.pipeline(depth=12, microbatches=4)
    lanes = choose_lanes(result, timeline(result))
    ranks = [lane.rank for lane in lanes if lane.height == 1.0]
    assert len(lanes) <= ROWS
    assert (ranks[0], ranks[-1], len(ranks)) == (0, 11, 8)
    assert spread([1, 2, 3], 5) == [1, 2, 3]


def test_servers_have_rows_and_alike_workers_one():
    result = sample_results.parameter_server()
    labels = [lane.label for lane in choose_lanes(result, timeline(result))]
    assert labels == ["rank 0", "push", "pull", "server 0", "server 1"]


def span(account, start, end, operation=0, kind=Kind.BUSY):
    return Span(0, "compute", account, account, kind, start, end, operation)


def test_short_pieces_are_drawn_with_the_computation_around_them():
    spans = [
        span("forward", 0.0, 1.0),
        span("tp", 1.0, 1.1, kind=Kind.COMMUNICATION),
        span("recompute", 1.1, 1.3),
        span("backward", 1.3, 3.0),
        span("waiting", 3.0, 3.1, 1, Kind.WAIT),
        span("optimizer", 3.1, 4.0, 2),
    ]
    drawn = [(block.account, block.start_s, block.end_s) for block in merge_blocks(spans, 0.5)]
    assert drawn == [("forward", 0.0, 1.1), ("backward", 1.1, 3.0), ("waiting", 3.0, 3.1), ("optimizer", 3.1, 4.0)]
    assert len(merge_blocks(spans, 0.05)) == len(spans)


def test_long_blocks_of_different_operations_stay_apart_and_short_ones_join():
    spans = [span("forward", float(index), index + 1.0, index) for index in range(4)]
    assert len(merge_blocks(spans, 0.5)) == 4
    assert len(merge_blocks(spans, 2.0)) == 1


def test_merging_keeps_all_the_time():
    result = sample_results.ddp()
    for lane in choose_lanes(result, timeline(result)):
        blocks = merge_blocks(lane.spans, 0.5)
        assert sum(block.seconds for block in blocks) == pytest.approx(sum(each.seconds for each in lane.spans))


def test_what_is_hidden_is_named():
    spans = (span("forward", 0.0, 1.0), span("tp", 1.0, 1.1, kind=Kind.COMMUNICATION), span("dp", 2.0, 2.1))
    lanes = [Lane(0, "rank 0", 1.0, spans)]
    assert hidden_accounts(lanes, [merge_blocks(spans, 0.5)]) == ["tp"]
    assert hidden_accounts(lanes, [merge_blocks(spans, 0.05)]) == []


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_equal_results_give_equal_pictures(kind):
    result = sample_results.pipeline()
    assert figure_bytes(result, kind) == figure_bytes(result, kind)


def test_saving(tmp_path):
    save_figure(sample_results.ddp(), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputError, match=r"\.png, \.svg, \.pdf"):
        save_figure(sample_results.ddp(), tmp_path / "x.bmp")


@pytest.mark.parametrize(("longest_s", "numbers"), [(3e-5, {"20 us", "30 us"}), (2e-3, {"20 us", "50 us", "1 ms"})])
def test_fits_have_times_on_their_axes_that_do_not_overlap(longest_s, numbers):
    axes = fit_figure("a fit", {"matmul": [(1.5e-5, 1.6e-5), (longest_s, longest_s)]}).axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 1 < len(ticks) <= 9
    assert numbers <= {axes.xaxis.get_major_formatter()(tick) for tick in ticks}
    assert not any(axes.xaxis.get_minor_formatter()(tick) for tick in axes.get_xticks(minor=True))
