"""Timelines and traces: spans tile the step, and say what the program says."""

import gzip
import json
from collections import defaultdict
from itertools import pairwise

import pytest
import sample_results

from simdml.engine.execution import Kind
from simdml.errors import OutputError
from simdml.results.timeline import WAITING, rank_of, shown_window, timeline
from simdml.results.trace import trace_events, write_trace

KINDS = list(sample_results.every_kind())
SYNCHRONOUS = [kind for kind in KINDS if not kind.startswith("asynchronous")]


def of(kind):
    return sample_results.every_kind()[kind]


def by_track(spans):
    tracks = defaultdict(list)
    for span in spans:
        tracks[span.rank, span.track].append(span)
    return tracks


@pytest.mark.parametrize("kind", KINDS)
def test_spans_lie_in_the_step_and_do_not_overlap(kind):
    result = of(kind)
    begin, end = shown_window(result.recording)
    for spans in by_track(timeline(result)).values():
        assert spans[0].start_s >= 0.0
        assert spans[-1].end_s <= end - begin
        assert all(before.end_s <= after.start_s for before, after in pairwise(spans))
        assert all(span.seconds > 0.0 for span in spans)


@pytest.mark.parametrize("kind", KINDS)
def test_spans_of_compute_streams_fill_the_step(kind):
    result = of(kind)
    begin, end = shown_window(result.recording)
    tracks = by_track(timeline(result))
    for breakdown in result.breakdowns:
        spans = tracks[breakdown.representative, "compute"]
        assert sum(span.seconds for span in spans) == end - begin


@pytest.mark.parametrize("kind", SYNCHRONOUS)
def test_busy_seconds_are_those_of_the_accounts(kind):
    result = of(kind)
    tracks = by_track(timeline(result))
    for breakdown in result.breakdowns:
        busy = defaultdict(float)
        for span in tracks[breakdown.representative, "compute"]:
            if span.kind is Kind.BUSY or span.account == "launch":
                busy[span.account] += span.seconds
        accounted = {name: breakdown.seconds.get(name, 0.0) for name in busy}
        assert dict(busy) == pytest.approx(accounted, abs=1e-12)


def test_a_span_in_a_coarsened_delay_keeps_its_own_label():
    spans = by_track(timeline(sample_results.ddp()))[0, "compute"]
    forward = [span for span in spans if span.account == "forward"]
    assert [span.label for span in forward] == [f"block{index}" for index in range(4)]
    assert [span.seconds for span in forward] == [1.0] * 4
    assert len({span.operation for span in forward}) == 1


def test_waits_and_late_launches_are_told_apart():
    spans = by_track(timeline(sample_results.ddp()))[0, "compute"]
    waits = {span.account: span.label for span in spans if span.kind is Kind.WAIT}
    assert waits["launch"] == "launch"
    assert waits[WAITING].endswith("reduced")


def test_gradients_are_on_their_own_stream_with_their_bytes():
    spans = by_track(timeline(sample_results.ddp()))[0, "gradients"]
    moving = [span for span in spans if span.kind is Kind.COMMUNICATION]
    assert [span.payload_bytes for span in moving] == [2.0**22] * 4
    assert {span.account for span in moving} == {"dp"}


def test_servers_are_tracks():
    result = sample_results.parameter_server()
    tracks = by_track(timeline(result))
    # Per step each of 2 servers sums 4 workers' halves of 3 keys.
    assert [len(tracks[-1 - index, f"server {index}"]) for index in range(2)] == [12, 12]
    assert by_track(timeline(result, [-2])) == {(-2, "server 1"): tracks[-2, "server 1"]}


def test_any_rank_is_shown_by_its_representative():
    result = sample_results.pipeline(dp=2)
    assert [rank_of(result, rank) for rank in range(8)] == [0, 0, 2, 2, 4, 4, 6, 6]
    seven, six = timeline(result, [7]), timeline(result, [6])
    assert {span.rank for span in seven} == {7}
    assert [(s.track, s.start_s, s.end_s) for s in seven] == [(s.track, s.start_s, s.end_s) for s in six]
    with pytest.raises(ValueError, match="rank 8 is not one of 8 ranks"):
        rank_of(result, 8)


def test_work_cut_off_at_the_end_of_an_asynchronous_run_is_still_work():
    result = sample_results.parameter_server(synchronous=False)
    begin, end = result.recording.window
    for spans in by_track(span for span in timeline(result) if span.rank >= 0 and span.track == "compute").values():
        assert sum(span.seconds for span in spans) == end - begin
        assert all(span.account != "launch" for span in spans)


def complete_events(result):
    return [event for event in trace_events(result) if event["ph"] == "X"]


@pytest.mark.parametrize("kind", KINDS)
def test_trace_events_lie_in_the_step_and_do_not_overlap(kind):
    result = of(kind)
    begin, end = shown_window(result.recording)
    longest = max(end - begin, result.recording.window[1] - result.recording.window[0])
    threads = defaultdict(list)
    for event in complete_events(result):
        threads[event["pid"], event["tid"]].append(event)
        assert 0 <= event["ts"] < event["ts"] + event["dur"] <= longest * 1e6 + 1e-3
    for events in threads.values():
        assert all(before["ts"] + before["dur"] <= after["ts"] + 1e-6 for before, after in pairwise(events))


@pytest.mark.parametrize("kind", KINDS)
def test_trace_names_every_thread_it_uses(kind):
    named, used = {}, set()
    for event in trace_events(of(kind)):
        if event["name"] == "thread_name":
            named[event["pid"], event["tid"]] = event["args"]["name"]
        elif event["ph"] == "X":
            used.add((event["pid"], event["tid"]))
    assert used <= named.keys()


def test_trace_busy_time_is_that_of_the_accounts():
    result = sample_results.pipeline()
    pids = {event["args"]["name"]: event["pid"] for event in trace_events(result) if event["name"] == "process_name"}
    assert list(pids) == ["critical path", *(f"rank {stage} (stage {stage})" for stage in range(4))]
    for breakdown in result.breakdowns:
        pid = pids[f"rank {breakdown.representative} ({breakdown.rank_class})"]
        for account in ("forward", "backward"):
            mine = [e["dur"] for e in complete_events(result) if e["pid"] == pid and e["cat"] == account]
            assert sum(mine) == pytest.approx(breakdown.seconds[account] * 1e6)


def test_critical_path_fills_the_step():
    result = sample_results.pipeline()
    path = [event["dur"] for event in complete_events(result) if event["pid"] == 1]
    assert sum(path) == pytest.approx(result.step_time_s * 1e6)


def test_trace_file_is_json_and_its_bytes_repeat(tmp_path):
    result = sample_results.parameter_server()
    for name in ("a.json", "b.json", "a.json.gz", "b.json.gz"):
        write_trace(result, tmp_path / name)
    written = (tmp_path / "a.json").read_bytes()
    assert json.loads(written)["traceEvents"] == list(trace_events(result))
    assert written == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.json.gz", "b.json", "b.json.gz"]


def test_a_trace_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        write_trace(sample_results.ddp(), tmp_path / "nowhere" / "trace.json")
