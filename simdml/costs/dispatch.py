"""What a framework's host thread does for a kernel before the driver launches it.

An eager framework runs Python for every layer and decides, records and calls one operation after another; in backward
its engine calls what was recorded. ``calibrate/host.py`` times that with tensors that take no time, on one core of an
EPYC 9004 (Zen 4): seconds a kernel of a layer, all between two kernels counted in, modules, views and functions too
(``calibrate/readings/cpu_epyc_1thread_host.json``). A slower or faster core takes longer or shorter by the product of
clock and instructions a cycle (:data:`THREAD_SPEED`).

Executors of graphs, in C++, need far less: an operation of TensorFlow's takes 0.3 us, by chains of 200 and of 1,200
additions of 4 x 4 elements in a compat.v1 session on one core of the same kind, best of 30 (TensorFlow 2.21; identities
0.1 us, small products 1.3 us). MXNet's until 1.2 is another matter: the thread of a device waits for each operation
before it takes the next, so that the device has nothing to do meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from simdml.program.instructions import Activity


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Seconds of the host for a kernel, by what it is part of, beside ``launch_share`` of what the driver takes.

    ``recompute_s`` is for kernels of a forward that is run again in backward: what checkpoints do before and after,
    such as putting random states back, is spread over its kernels. ``wait_s`` is how long the device has nothing to do
    after every kernel, because a thread waits for its end before it launches the next.
    """

    forward_s: float = 0.0
    recompute_s: float = 0.0
    backward_s: float = 0.0
    update_s: float = 0.0
    launch_share: float = 1.0
    wait_s: float = 0.0

    def of(self, activity: Activity) -> float:
        """Return seconds for one kernel of ``activity``."""
        match activity:
            case Activity.FORWARD:
                return self.forward_s
            case Activity.RECOMPUTE:
                return self.recompute_s
            case Activity.BACKWARD:
                return self.backward_s
            case Activity.OPTIMIZER | Activity.CAST:
                return self.update_s

    def launch_s(self, driver_s: float, activity: Activity) -> float:
        """Return seconds of the host for one kernel of ``activity``, of which the driver would take ``driver_s``."""
        return driver_s * self.launch_share + self.of(activity)

    def times(self, factor: float) -> Dispatch:
        """Return what takes ``factor`` times as long."""
        return Dispatch(
            factor * self.forward_s,
            factor * self.recompute_s,
            factor * self.backward_s,
            factor * self.update_s,
            self.launch_share,
            factor * self.wait_s,
        )


NOTHING: Final = Dispatch()
"""Launches by the driver alone."""

OPERATION_S: Final = 1.9e-6
"""One operation called from Python that nothing is recorded of (``operation`` of the readings)."""

GRAPH_OPERATION_S: Final = 0.3e-6
"""One operation of a TensorFlow graph, by its executor."""

MXNET_WAIT_S: Final = 12.5e-6
"""What a device waits after a kernel of MXNet until 1.2: fitted to ResNet-50 on one K80 with 0.9 and 1.2, 12 runs
(apache/mxnet, docs/faq/perf.md) that are right on average with it; P100's and V100's are blind."""

DISPATCHES: Final[Mapping[str, Dispatch]] = MappingProxyType(
    {
        # Modules in modules, functions with a backward in Python, trackers of random states, hooks of gradients.
        "megatron": Dispatch(23.0e-6, 34.9e-6, 12.8e-6, OPERATION_S),
        # Plain modules and operations.
        "pytorch": Dispatch(13.0e-6, 21.8e-6, 9.5e-6, OPERATION_S),
        # Those under torch.compile, a layer each: 13 kernels forward and 19 backward in place of 24 and 41, with
        # what guards and calls of compiled functions take spread over them. Read on a busy machine (readings/
        # cpu_epyc_1thread_host_compiled.json; plain layers took 2 and 13 % longer there), to some 20 %.
        "compiled": Dispatch(20.7e-6, 48.9e-6, 11.3e-6, OPERATION_S),
        # Executors of a graph that was built before, in C++.
        "graph": NOTHING,
        "tensorflow": Dispatch(*(GRAPH_OPERATION_S,) * 4),
        # ThreadedEngine: the stream is waited for after every operation (executor/graph_executor.cc, InitCachedOps); in
        # later versions after 15 of them (MXNET_EXEC_BULK_EXEC_MAX_NODE_TRAIN).
        "mxnet": Dispatch(wait_s=MXNET_WAIT_S),
        # A straight line of kernels recorded as a CUDA graph is launched at once: 2.5 us and 1 ns a kernel (NVIDIA,
        # "Constant Time Launch for Straight-Line CUDA Graphs", 2024), where a launch by itself takes some 5 us.
        "cuda_graphs": Dispatch(launch_share=0.0),
    }
)

_ZEN_2, _ZEN_3, _ZEN_4 = 1.0, 1.19, 1.19 * 1.14
_BROADWELL, _SKYLAKE, _SUNNY_COVE, _GOLDEN_COVE = 1.0 / 1.1, 1.0, 1.18, 1.18 * 1.19
"""Instructions a cycle by vendors' claims for a generation over the one before: Zen 3 19 % and Zen 4 14 % (AMD), Sunny
Cove 18 % and Golden Cove 19 % (Intel), Skylake 10 % over Broadwell, which is taken to equal Haswell; Zen 2 is taken to
equal Skylake, and Neoverse V2 Golden Cove."""


def _speed(clock_ghz: float, instructions_a_cycle: float) -> float:
    return clock_ghz * instructions_a_cycle / (3.7 * _ZEN_4)


THREAD_SPEED: Final[Mapping[str, float]] = MappingProxyType(
    # By the highest clock of a core (GHz, vendor) of those in published GPU servers, over that of the measured core.
    {
        "haswell": _speed(3.3, _BROADWELL),
        "broadwell": _speed(3.6, _BROADWELL),
        "skylake": _speed(3.7, _SKYLAKE),
        "cascade_lake": _speed(3.9, _SKYLAKE),
        "ice_lake": _speed(3.5, _SUNNY_COVE),
        "sapphire_rapids": _speed(3.8, _GOLDEN_COVE),
        "emerald_rapids": _speed(4.0, _GOLDEN_COVE),
        "rome": _speed(3.4, _ZEN_2),
        "milan": _speed(3.5, _ZEN_3),
        "genoa": _speed(3.7, _ZEN_4),
        "grace": _speed(3.4, _GOLDEN_COVE),
    }
)
"""How fast one core of a generation runs Python, the measured one being 1."""
