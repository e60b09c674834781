"""Logs in the formats of nccl-tests releases, written from sizes and times."""

from __future__ import annotations

import pytest

OLD_HEADER = """#
#                                                     out-of-place                       in-place
#       size         count    type   redop     time   algbw   busbw  error     time   algbw   busbw  error
#        (B)    (elements)                     (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""
NEW_HEADER = """#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""


def row(size, time_us, ranks, *, new=True, slower=1.1):
    factor = 2 * (ranks - 1) / ranks
    groups = ""
    for time in (time_us * slower, time_us):
        algorithm = size / time / 1e3
        wrong = "0" if new else "5e-07"
        groups += f" {time:8.2f} {algorithm:7.2f} {algorithm * factor:7.2f} {wrong:>6}"
    return f"{size:12} {size // 4:13} float sum {'-1' if new else ''} {groups}\n"


def log_text(points, ranks, nodes, *, new=True):
    """``points`` of (bytes, us in place)."""
    share = ranks // nodes
    lines = "# nThread 1 nGpus 1 minBytes 8 maxBytes 67108864 step: 2(factor) warmup iters: 5 iters: 20 validation: 1\n"
    lines += "#\n# Using devices\n"
    group = " Group  0" if new else ""
    for rank in range(ranks):
        lines += (
            f"#  Rank {rank:2}{group} Pid  100{rank} on node{rank // share} "
            f"device {rank % share:2} [0x1b] NVIDIA A100-SXM4-40GB\n"
        )
    lines += "NCCL version 2.18.5+cuda12.2\n" + (NEW_HEADER if new else OLD_HEADER)
    lines += "".join(row(size, time, ranks, new=new) for size, time in points)
    return lines + "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 10.0\n#\n"


@pytest.fixture
def nccl_log():
    return log_text
