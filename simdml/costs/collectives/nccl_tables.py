"""Constants of NCCL's performance model, by library version, in NCCL's own units (us, GB/s = 1e9 B/s).

Source: NVIDIA/nccl ``src/graph/tuning.cc`` and ``src/graph/topo.h`` at the tags named in ``_HISTORY``. The structure of
the formulas is the same from 2.18 to 2.30; only tables differ. A version between two rows uses the older row, and all
have the CollNet latencies of the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache

from simdml.errors import InfeasibleError


class Algorithm(IntEnum):
    """Algorithms of ``tuning.cc``, in its order."""

    TREE = 0
    RING = 1
    COLLNET_DIRECT = 2
    COLLNET_CHAIN = 3
    NVLS = 4
    NVLS_TREE = 5
    PAT = 6


class Protocol(IntEnum):
    """Wire protocols: LL (8 B data with 8 B flags), LL128 (120 of 128 B), Simple (fenced chunks)."""

    LL = 0
    LL128 = 1
    SIMPLE = 2


class Hardware(IntEnum):
    """Rows of the step latency table."""

    NVLINK = 0
    PCI = 1
    NET = 2


class Architecture(IntEnum):
    """Rows of the bandwidth cap tables, by the minimum compute capability in the communicator."""

    VOLTA = 0
    AMPERE = 1
    HOPPER = 2
    BLACKWELL = 3


Row = tuple[float, float, float]
Latencies = tuple[Row, Row, Row, Row, Row, Row, Row]
Caps = tuple[Row, Row, Row, Row]


@dataclass(frozen=True, slots=True)
class TuningTables:
    """One version's constants: latencies in us, bandwidths in GB/s.

    ``base_us[algorithm][protocol]``; ``step_us[hardware][algorithm][protocol]``; every cap table is indexed
    ``[architecture][scale]`` with scale 0, 1, 2 for one, two, three or more nodes. The NVLS latency of a node is the
    NVLINK entry of ``step_us``; versions that list it as a base latency carry it there too.
    """

    version: tuple[int, int, int]
    base_us: Latencies
    step_us: tuple[Latencies, Latencies, Latencies]
    ll_cap: Caps
    ring_ll128_cap: Caps
    tree_ll128_cap: Caps
    tree_cap: Caps
    nvls_tree_cap: Caps
    nvls_efficiency: tuple[float, float, float, float]
    tree_correction: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    network_post_overhead: bool
    nvls: bool
    pat: bool
    quarter_ll: bool = False
    """Rings by LL reckoned with a quarter of the graph's rate, a third for gathers and broadcasts of one node; later
    with half."""


_ZERO: Row = (0.0, 0.0, 0.0)
_SAME_20: Row = (20.0, 20.0, 20.0)
_HOPPER_LL128: Row = (36.7, 36.7, 36.7)

_TREE_CORRECTION = (
    (1, 1, 1, 1, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1, 1, 1),
    (1, 1, 1, 1, 1, 0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.8, 0.9, 0.9, 0.9, 0.9, 1, 1, 1),
    (
        *(0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.8, 0.7, 0.7),
        *(0.8, 0.9, 0.9, 0.9),
    ),
)

_LATEST = TuningTables(
    version=(2, 30, 7),
    base_us=((6.8, 14.0, 8.4), (6.6, 14.0, 8.4), _ZERO, _ZERO, _ZERO, _ZERO, (8.0, 8.0, 8.0)),
    step_us=(
        (
            *((0.6, 1.25, 4.0), (0.6, 1.9, 3.4), (0.0, 0.0, 3.7), (0.0, 0.0, 2.8)),
            *((0.0, 0.0, 25.0), (0.0, 0.0, 25.0), (0.0, 0.0, 4.0)),
        ),
        (
            *((1.0, 1.9, 4.0), (1.0, 2.5, 5.7), (0.0, 0.0, 3.7), (0.0, 0.0, 2.8)),
            *(_ZERO, _ZERO, (0.0, 0.0, 4.0)),
        ),
        (
            *((5.0, 8.5, 14.0), (2.7, 4.0, 14.0), (0.0, 0.0, 31.0), (0.0, 0.0, 30.0)),
            *((0.0, 0.0, 18.0), (0.0, 0.0, 20.9), (0.0, 0.0, 14.0)),
        ),
    ),
    ll_cap=((39.0, 39.0, 20.4), (87.7, 22.5, 19.0), (141.0, 45.0, 35.0), (282.0, 90.0, 70.0)),
    ring_ll128_cap=(_SAME_20, _SAME_20, _HOPPER_LL128, (40.0, 40.0, 40.0)),
    tree_ll128_cap=(_SAME_20, _SAME_20, (36.7, 36.7, 29.0), (55.6, 31.67, 20.0)),
    tree_cap=((26.5, 18.5, 10.0), (24.0, 23.6, 17.8), (38.7, 41.4, 36.0), (70.0, 42.8, 24.0)),
    nvls_tree_cap=((26.5, 18.5, 10.0), (24.0, 23.6, 17.8), (0.0, 57.7, 45.5), (0.0, 96.0, 80.0)),
    nvls_efficiency=(0.0, 0.0, 0.85, 0.74),
    tree_correction=_TREE_CORRECTION,
    network_post_overhead=True,
    nvls=True,
    pat=True,
)


@dataclass(frozen=True, slots=True)
class _Change:
    """What one tag's table differs by: ``tree_simple_us`` and ``nvls_us`` by hardware (NVLINK, PCI, NET)."""

    version: tuple[int, int, int]
    tree_base_us: Row
    ring_base_us: Row
    tree_simple_us: Row
    ring_ll_nvlink_us: float
    ring_simple_net_us: float
    nvls_us: Row | None
    hopper_ll_cap: bool = False
    network_post_overhead: bool = True
    pat: bool = False


_OLD_TREE: Row = (4.4, 4.4, 0.0)
_OLD_RING: Row = (3.6, 10.0, 8.4)
_RING: Row = (6.6, 14.0, 8.4)
_TREE_0: Row = (6.8, 14.0, 0.0)
_TREE_84: Row = (6.8, 14.0, 8.4)
_FLAT_28: Row = (28.0, 28.0, 28.0)
_STEP_4: Row = (4.0, 4.0, 14.0)

# ``nvls_us``: (NVLS in a node, NVLS NET, NVLSTree NET).
_HISTORY = (
    _Change((2, 7, 8), _OLD_TREE, _OLD_RING, (28.0, 28.0, 50.0), 0.47, 9.6, None, False, False),
    _Change((2, 8, 4), _OLD_TREE, _OLD_RING, _FLAT_28, 0.47, 9.6, None, False, False),
    _Change((2, 10, 3), _OLD_TREE, _OLD_RING, _FLAT_28, 0.47, 9.6, None, False, False),
    _Change((2, 12, 12), _OLD_TREE, _OLD_RING, _FLAT_28, 0.47, 28.0, None, False, False),
    _Change((2, 14, 3), _OLD_TREE, _OLD_RING, _FLAT_28, 0.47, 9.6, None, False, False),
    _Change((2, 17, 1), _OLD_TREE, _OLD_RING, _FLAT_28, 0.47, 9.6, (40.0, 0.0, 0.0), False, False),
    _Change((2, 18, 1), _TREE_0, _RING, _FLAT_28, 0.6, 14.0, (23.0, 18.0, 19.0)),
    _Change((2, 18, 3), _TREE_0, _RING, (4.0, 6.0, 14.0), 0.6, 14.0, (23.0, 18.0, 19.0)),
    _Change((2, 19, 3), _TREE_0, _RING, _FLAT_28, 0.6, 14.0, (23.0, 18.0, 14.0)),
    _Change((2, 21, 5), _TREE_0, _RING, _FLAT_28, 0.6, 14.0, (25.0, 18.0, 14.0), True),
    _Change((2, 23, 4), _TREE_84, _RING, _STEP_4, 0.6, 14.0, (25.0, 18.0, 14.0), True),
    _Change((2, 28, 3), _TREE_84, _RING, _STEP_4, 0.6, 14.0, (25.0, 18.0, 14.0), True, pat=True),
    _Change((2, 28, 9), _TREE_84, _RING, _STEP_4, 0.6, 14.0, (25.0, 18.0, 20.9), True, pat=True),
)

_HALF_LL = (2, 12, 12)
"""As recalled of ``tuning.cc``, not read again; which release before 2.18 changed it is not known.

ABCI's logs of 2.8.4 show it: broadcasts over two EDR ports change from LL to Simple between 1 and 2 MiB on 8 ranks and
between 4 and 8 MiB on 32. A quarter says 1.7 and 6.8 MB, half says 5 and 20.
"""

DEFAULT_VERSION = "2.30.7"


def tables(version: str = DEFAULT_VERSION) -> TuningTables:
    """Return the constants of NCCL ``version`` ("2.28.9"): those of the newest known tag not after it.

    Raises InfeasibleError for a malformed version or one older than 2.7.8. The Blackwell rows of 2.28.9 differ from
    2.30.7's; the tag that changed them is not known, so 2.29 and older use 2.28.9's.
    """
    return _tables_at(_parse(version))


def _parse(version: str) -> tuple[int, int, int]:
    parts = version.split(".")
    if not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in parts):
        raise InfeasibleError(f"NCCL version {version!r} is not of the form 2.18.5")
    numbers = [int(part) for part in parts]
    # "2.18" means the last of its patch releases.
    major, minor, patch = numbers if len(numbers) == 3 else (*numbers, 999)
    if (major, minor, patch) < _HISTORY[0].version:
        raise InfeasibleError(f"NCCL {version} is older than 2.7.8, the first whose constants are known")
    return major, minor, patch


@lru_cache(maxsize=64)
def _tables_at(version: tuple[int, int, int]) -> TuningTables:
    if version >= (2, 30, 0):
        return _LATEST
    change = [row for row in _HISTORY if row.version <= version][-1]
    return replace(
        _older_caps(change),
        version=change.version,
        base_us=(change.tree_base_us, change.ring_base_us, _ZERO, _ZERO, _ZERO, _ZERO, _LATEST.base_us[Algorithm.PAT]),
        step_us=_step_latencies(change),
        network_post_overhead=change.network_post_overhead,
        nvls=change.nvls_us is not None,
        pat=change.pat,
        quarter_ll=change.version < _HALF_LL,
    )


def _step_latencies(change: _Change) -> tuple[Latencies, Latencies, Latencies]:
    nvls_node, nvls_net, nvls_tree_net = change.nvls_us or _ZERO
    rows = []
    for hardware in Hardware:
        tree, ring, direct, chain, nvls, nvls_tree, pat = _LATEST.step_us[hardware]
        tree = (tree[0], tree[1], change.tree_simple_us[hardware])
        if hardware is Hardware.NVLINK:
            ring = (change.ring_ll_nvlink_us, ring[1], ring[2])
            nvls = nvls_tree = (0.0, 0.0, nvls_node)
        elif hardware is Hardware.NET:
            ring = (ring[0], ring[1], change.ring_simple_net_us)
            nvls, nvls_tree = (0.0, 0.0, nvls_net), (0.0, 0.0, nvls_tree_net)
        rows.append((tree, ring, direct, chain, nvls, nvls_tree, pat))
    return rows[0], rows[1], rows[2]


def _older_caps(change: _Change) -> TuningTables:
    def with_row(table: Caps, row: Architecture, values: Row) -> Caps:
        rows = list(table)
        rows[row] = values
        return rows[0], rows[1], rows[2], rows[3]

    caps = replace(
        _LATEST,
        ring_ll128_cap=with_row(_LATEST.ring_ll128_cap, Architecture.BLACKWELL, (73.4, 34.6, 73.4)),
        nvls_tree_cap=with_row(_LATEST.nvls_tree_cap, Architecture.BLACKWELL, (0.0, 96.0, 43.8)),
    )
    if not change.hopper_ll_cap:
        ampere = _LATEST.ll_cap[Architecture.AMPERE]
        caps = replace(caps, ll_cap=with_row(caps.ll_cap, Architecture.HOPPER, ampere))
    if change.version <= (2, 8, 4):
        caps = replace(caps, tree_cap=with_row(caps.tree_cap, Architecture.AMPERE, (24.0, 22.5, 16.0)))
    return caps


_NVLINK_NOMINAL_AND_MODEL_GB_PER_S = {
    60: (20.0, 18.0),
    70: (25.0, 20.0),
    80: (25.0, 20.0),
    86: (14.0625, 12.0),
    90: (25.0, 20.6),
    100: (50.0, 40.1),
}


def nvlink_model_share(compute_capability: int) -> float:
    """Share of a link's nominal rate NCCL reckons with: 0.8 for V100 and A100, 0.824 for Hopper (``topo.h``)."""
    known = [cc for cc in _NVLINK_NOMINAL_AND_MODEL_GB_PER_S if cc <= compute_capability]
    nominal, model = _NVLINK_NOMINAL_AND_MODEL_GB_PER_S[known[-1] if known else 60]
    return model / nominal


PCIE_X16_GB_PER_S = {0: 96.0, 3: 12.0, 4: 24.0, 5: 48.0, 6: 96.0}
"""What NCCL reckons a x16 slot carries, by generation (``topo.h``); 0 stands for NVLink-C2C, which never limits."""

SOCKET_GB_PER_S = {
    "haswell": 6.0,
    "broadwell": 6.0,
    "skylake": 10.0,
    "cascade_lake": 10.0,
    "ice_lake": 10.0,
    "sapphire_rapids": 22.0,
    "emerald_rapids": 40.0,
    "rome": 16.0,
    "milan": 16.0,
    "genoa": 16.0,
}
"""What NCCL reckons the link between two sockets carries, by processor generation (``topo.h``)."""
