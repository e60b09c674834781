"""Logs of nccl-tests, OSU, gloo and p2pBandwidthLatencyTest: old, new, in part, and damaged."""

from __future__ import annotations

import json

import pytest

from simdml.calibration.logs.collective_log import bus_factor, ranks_of_factor
from simdml.calibration.logs.gloo import parse_gloo
from simdml.calibration.logs.lines import read_log
from simdml.calibration.logs.loading import load_measurements
from simdml.calibration.logs.nccl_json import parse_nccl_json
from simdml.calibration.logs.nccl_tests import parse_nccl_runs, parse_nccl_tests
from simdml.calibration.logs.osu import parse_osu
from simdml.calibration.logs.p2p import parse_p2p
from simdml.calibration.logs.readings import parse_readings
from simdml.errors import DocumentError

POINTS = [(1048576, 75.0), (4194304, 140.0), (67108864, 712.5)]


@pytest.mark.parametrize("new", [False, True])
def test_old_and_new_releases_say_the_same(nccl_log, new):
    log = parse_nccl_tests(nccl_log(POINTS, 16, 2, new=new), "x.txt")
    assert (log.collective, log.ranks, log.nodes, log.version) == ("all_reduce", 16, 2, "2.18.5")
    assert log.device == "NVIDIA A100-SXM4-40GB"
    assert log.timed() == [(size, pytest.approx(time * 1e-6)) for size, time in POINTS]
    assert log.rows[0].out_of_place_s == pytest.approx(82.5e-6)


def test_rows_alone_are_enough(nccl_log):
    rows = [line for line in nccl_log(POINTS, 8, 1).splitlines() if line.strip() and not line.startswith("#")]
    log = parse_nccl_tests("\n".join(rows[1:]) + "\n", "excerpt")
    assert (len(log.rows), log.ranks, log.collective, log.nodes) == (3, 8, "all_reduce", 0)


def test_what_launchers_put_before_lines_is_dropped(nccl_log):
    text = "\n".join(f"[1,0]<stdout>:{line}" for line in nccl_log(POINTS, 8, 1).splitlines())
    assert parse_nccl_tests(text, "x").timed() == parse_nccl_tests(nccl_log(POINTS, 8, 1), "x").timed()


def test_a_device_list_in_part_yields_to_the_bandwidths(nccl_log):
    lines = nccl_log(POINTS, 32, 4).splitlines()
    kept = [line for line in lines if "Rank" not in line or int(line.split()[2]) < 5]
    log = parse_nccl_tests("\n".join(kept), "x")
    assert (log.ranks, log.nodes) == (32, 0)


def test_broadcast_has_a_root_and_no_operation():
    text = """#       size         count    type    root     time   algbw   busbw  error     time   algbw   busbw  error
     1048576        262144   float       0    54.94   19.09   19.09  0e+00    53.34   19.66   19.66  0e+00
"""
    log = parse_nccl_tests(text, "x")
    assert log.collective == "broadcast"
    assert log.timed() == [(1048576, 53.34e-6)]


def test_columns_of_options_are_found_by_the_header():
    header = "#  size  count  type  redop  root  time  algbw  busbw  #wrong {0} time  algbw  busbw  #wrong {0} {1}\n"
    numbers = "100.0 10.49 18.35 0 {0} 50.00 20.97 36.70 N/A {0} {1}\n"
    per_iteration = header.format("i_min i_max i_p99 i_cv%", "timestamp")
    values = numbers.format("1 2 3 4.5", "2025-11-02 10:00:01")
    log = parse_nccl_tests(f"{per_iteration}1048576 262144 float sum -1 {values}", "x")
    assert log.rows[0].seconds == pytest.approx(50e-6)
    cpu = header.replace("time  algbw", "cputime  algbw").format("", "")
    log = parse_nccl_tests(f"{cpu}1048576 262144 float sum -1 {numbers.format('', '')}", "x")
    assert log.rows[0].out_of_place_s == pytest.approx(100e-6)


def test_numbers_in_exponent_form():
    row = "17179869184 4294967296 float sum -1 1.25e+05 137.44 240.52 0 1.2e+05 143.17 250.54 0\n"
    assert parse_nccl_tests(row, "x").rows[0].in_place_s == pytest.approx(0.12)


def test_programs_one_after_another_are_parted(nccl_log):
    first = "# Collective test starting: all_reduce_perf\n" + nccl_log(POINTS, 8, 1)
    second = (
        "# Collective test starting: all_to_all_perf\n# size count type redop root time algbw busbw #wrong\n"
        "1048576 32768 float none -1 46.56 22.52 19.70 N/A\n"
    )
    logs = parse_nccl_runs(first + second, "x")
    assert [(log.collective, len(log.rows)) for log in logs] == [("all_reduce", 3), ("alltoall", 1)]
    damaged = first + second.replace("22.52", "92.52")
    with pytest.raises(DocumentError) as found:
        parse_nccl_runs(damaged, "x")
    assert found.value.problems[0].place.line == (first + second).count("\n")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("float sum -1", "float sum", "12 columns"),
        ("float", "flaot", "'flaot' is not a data type"),
        ("712.50   94.19", "712.50   49.19", "algbw says 49.19"),
        ("712.50", "7x2.50", "is not time, algbw and busbw"),
        ("712.50", "-712.50", "negative"),
    ],
)
def test_a_damaged_row_is_refused_with_its_line(nccl_log, before, after, words):
    text = nccl_log(POINTS, 8, 1)
    number = next(n for n, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("67108864"))
    lines = text.splitlines()
    assert before in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(before, after)
    with pytest.raises(DocumentError) as found:
        parse_nccl_tests("\n".join(lines), "run.txt")
    place = found.value.problems[0].place
    assert (place.file, place.line) == ("run.txt", number)
    assert words in str(found.value)
    assert "expected" in str(found.value)


def test_a_row_cut_short_is_refused(nccl_log):
    text = nccl_log(POINTS, 8, 1)
    cut = text[: text.rindex("67108864") + 8]
    with pytest.raises(DocumentError, match="cut or damaged") as found:
        parse_nccl_tests(cut, "x")
    assert found.value.problems[0].place.line == cut.count("\n") + 1


def test_a_file_without_rows_is_refused():
    with pytest.raises(DocumentError, match="no measurement"):
        parse_nccl_tests("# nThread 1 nGpus 8\nhello\n", "x")


def test_bus_factors_and_back():
    assert bus_factor("all_reduce", 8) == 1.75
    assert bus_factor("alltoall", 8) == 0.875
    assert bus_factor("broadcast", 8) == 1.0
    for ranks in (2, 3, 8, 96, 128):
        assert ranks_of_factor(bus_factor("all_reduce", ranks), 2) == ranks
    assert ranks_of_factor(0.5, 2) == 0


def nccl_json():
    devices = [{"rank": rank, "hostname": f"n{rank // 4}", "device_info": "NVIDIA H100"} for rank in range(8)]
    group = {"time": 100.0, "alg_bw": 10.49, "bus_bw": 18.35, "nwrong": 0}
    result = {"size": 1048576, "count": 262144, "type": "float", "redop": "sum", "root": -1}
    return {
        "version": 3,
        "args": ["./build/all_reduce_perf", "-J", "out.json"],
        "nccl_version": "2.28.3+cuda12.9",
        "config": {"validation": "true", "devices": devices},
        "results": [result | {"out_of_place": group, "in_place": group | {"time": 90.0}}],
        "out_of_bounds": {"okay": "true"},
    }


def test_json():
    log = parse_nccl_json(json.dumps(nccl_json()), "x.json")
    assert (log.collective, log.ranks, log.nodes, log.version) == ("all_reduce", 8, 2, "2.28.3")
    assert log.timed() == [(1048576, pytest.approx(90e-6))]


def test_json_cut_short_names_the_line():
    with pytest.raises(DocumentError) as found:
        parse_nccl_json(json.dumps(nccl_json(), indent=1)[:-40], "x.json")
    assert found.value.problems[0].place.line > 10
    broken = nccl_json()
    del broken["results"][0]["size"]
    with pytest.raises(DocumentError, match="damaged"):
        parse_nccl_json(json.dumps(broken), "x.json")


OSU = """# OSU MPI Allreduce Latency Test v5.9
# Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations
4                       3.08              3.00              3.21        1000
1048576              1302.55           1299.10           1310.00         100
"""


def test_osu():
    log = parse_osu(OSU, "osu.txt", ranks=4)
    assert (log.collective, log.version, log.ranks) == ("all_reduce", "5.9", 4)
    assert log.timed() == [(4, pytest.approx(3.08e-6)), (1048576, pytest.approx(1302.55e-6))]
    with pytest.raises(DocumentError) as found:
        parse_osu(OSU.replace("1302.55           1299.10           1310.00         100", ""), "osu.txt")
    assert found.value.problems[0].place.line == 4


GLOO = """Device:      tcp, pci=0000:00:01.0, iface=eth0, addr=[10.0.0.1]
Algorithm:   new_allreduce_ring
Options:     processes=4, inputs=1, threads=1

   elements   min (us)   p50 (us)   p99 (us)  p995 (us)   max (us)   avg (us)   avg (GB/s)    samples
        256        500        900       1400       1500       2000        950        0.001       1000
     262144       1400       2000       2800       3100       4000       2050        0.477       1000
"""


def test_gloo():
    log = parse_gloo(GLOO, "gloo.txt")
    assert (log.collective, log.ranks, log.library) == ("all_reduce", 4, "gloo")
    assert log.timed() == [(1024, 900e-6), (1048576, 2000e-6)]
    with pytest.raises(DocumentError, match="8 columns") as found:
        parse_gloo(GLOO.replace("        0.477", ""), "gloo.txt")
    assert found.value.problems[0].place.line == 7


P2P = """[P2P (Peer-to-Peer) GPU Bandwidth Latency Test]
Device: 0, Tesla V100-SXM2-16GB, pciBusID: 3d, pciDeviceID: 0, pciDomainID:0
Device: 1, Tesla V100-SXM2-16GB, pciBusID: 3e, pciDeviceID: 0, pciDomainID:0
P2P Connectivity Matrix
     D\\D     0     1
     0\t     1     1
     1\t     1     1
Unidirectional P2P=Disabled Bandwidth Matrix (GB/s)
   D\\D     0      1
     0 778.36   9.55
     1   9.58 781.25
Bidirectional P2P=Enabled Bandwidth Matrix (GB/s)
   D\\D     0      1
     0 779.23  96.91
     1  96.86 778.82
P2P=Enabled Latency (P2P Writes) Matrix (us)
   GPU     0      1
     0   1.82   1.89
     1   1.86   1.82

   CPU     0      1
     0   2.48   2.08
     1   2.22   2.58
"""


def test_p2p():
    log = parse_p2p(P2P, "p2p.txt")
    assert log.devices == ("Tesla V100-SXM2-16GB",) * 2
    assert log.matrix("bandwidth", peer_access=False).values[1][0] == pytest.approx(9.58e9)
    assert log.matrix("bandwidth", peer_access=True, both_ways=True).values[0][1] == pytest.approx(96.91e9)
    assert log.matrix("latency", peer_access=True).values[0][1] == pytest.approx(1.89e-6)
    assert log.matrix("latency", peer_access=False) is None


@pytest.mark.parametrize(("gone", "line"), [("     1  96.86 778.82\n", 15), ("  96.91", 14)])
def test_p2p_damaged(gone, line):
    with pytest.raises(DocumentError) as found:
        parse_p2p(P2P.replace(gone, ""), "p2p.txt")
    assert found.value.problems[0].place.line == line


def readings(**changes):
    case = {"family": "collective", "op": "all_reduce", "dtype": "fp32", "bytes": 1024, "ranks": 2, "nodes": 1,
            "backend": "gloo"}  # fmt: skip
    entry = {"case": case, "seconds": 1e-3, "spread": 0.01, "repeats": 30, "noisy": False}
    cases = [entry, entry | {"noisy": True}, entry | {"case": case | {"bytes": 2048}, "seconds": 2e-3}]
    return {
        "format": "simdml-readings-1",
        "program": "collectives",
        "environment": {"device": "a CPU", "torch": "2.13.0"},
        "runs": [{"date": "2026-11-23T10:00:00+00:00"}],
        "cases": cases,
    } | changes


def test_readings_leave_noise_out(tmp_path):
    path = tmp_path / "collectives.json"
    path.write_text(json.dumps(readings()))
    (log,) = load_measurements(path)
    assert (log.library, log.ranks, log.nodes) == ("gloo", 2, 1)
    assert log.timed() == [(1024, 1e-3), (2048, 2e-3)]
    whole = parse_readings(path.read_text(), "x")
    assert (len(whole.stable), len(whole.noisy), whole.date) == (2, 1, "2026-11-23")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "not a file of readings"),
        ({"cases": None}, "no list of cases"),
        ({"cases": [{"case": {}, "seconds": 0.0, "spread": 0, "repeats": 1, "noisy": False}]}, "cases[0] is damaged"),
        ({"cases": [{"case": {}, "seconds": 1.0}]}, "cases[0] is damaged"),
    ],
)
def test_damaged_readings(changes, words):
    with pytest.raises(DocumentError) as found:
        parse_readings(json.dumps(readings(**changes)), "x.json")
    assert words in str(found.value)


def test_files_are_told_apart(tmp_path, nccl_log):
    texts = {"nccl": nccl_log(POINTS, 8, 1), "osu": OSU, "gloo": GLOO, "json": json.dumps(nccl_json())}
    libraries = {"nccl": "nccl", "osu": "mpi", "gloo": "gloo", "json": "nccl"}
    for name, text in texts.items():
        path = tmp_path / name
        path.write_text(text)
        (log,) = load_measurements(path)
        assert log.library == libraries[name]


def test_a_log_that_cannot_be_read(tmp_path):
    with pytest.raises(DocumentError, match="no file"):
        read_log(tmp_path / "absent.txt")
    with pytest.raises(DocumentError, match="folder"):
        read_log(tmp_path)
    (tmp_path / "core").write_bytes(b"\x7fELF\0\0")
    with pytest.raises(DocumentError, match="binary"):
        read_log(tmp_path / "core")
