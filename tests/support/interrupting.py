"""Ctrl-C as a terminal sends it, and how much a program still computes before it ends (Linux)."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def members(group):
    """Return the processes of a process group."""
    return [pid for pid, fields in _processes() if int(fields[2]) == group and fields[0] != "Z"]


def interrupt(process):
    """Interrupt a program that leads a group of its own; return seconds it and its children computed since, and texts.

    Seconds of the processor, not of the clock: on a machine that others share, the program does not end later for them.
    """
    before_s = sum(sum(map(int, f[11:15])) for _, f in _processes() if int(f[2]) == process.pid) * TICK_S
    ended_s = _children_s()
    os.killpg(process.pid, signal.SIGINT)
    text, messages = process.communicate(timeout=30)
    return _children_s() - ended_s - before_s, text, messages


def _children_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _processes():
    """Yield each process with the fields of its ``stat`` from the third on: state, parent, group, ..."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield path.parent.name, path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
