"""How often parts of a cluster fail, by published record: counts of events over so many units and days.

A record is counts, not rates: a mean time between failures of ``k`` events is known to about ``1 / sqrt(k)``, and
studies draw rates accordingly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from simdml.errors import UnknownNameError

Unit = Literal["gpu", "node", "nic", "job"]
"""Of what a rate is: of every GPU, node or NIC of the job, or of the job as a whole."""
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class FailureMode:
    """A cause of interruptions: ``mtbf_s`` between events of one ``unit``.

    ``replaced`` says that the node goes to repair and another takes its place; otherwise the job starts again where it
    was. ``events`` is how many were counted, 0 where the rate is given rather than counted.
    """

    name: str
    unit: Unit
    mtbf_s: float
    replaced: bool = True
    events: int = 0


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """Failure modes of one fleet, where they were published, and what they do not claim."""

    name: str
    meaning: str
    source: str
    does_not_claim: str
    modes: tuple[FailureMode, ...]


def _counted(name: str, events: int, unit_days: float, unit: Unit, *, replaced: bool = True) -> FailureMode:
    return FailureMode(name, unit, unit_days * DAY_S / events, replaced, events)


_LLAMA3_GPU_DAYS: Final = 54.0 * 16_384
_LLAMA3_NODE_DAYS: Final = _LLAMA3_GPU_DAYS / 8
_LLAMA3_GPU: Final = (
    ("faulty GPU", 148),
    ("GPU HBM3 memory", 72),
    ("GPU SRAM memory", 19),
    ("GPU system processor", 17),
    ("silent data corruption", 6),
    ("GPU thermal interface and sensor", 6),
)
_LLAMA3_NODE: Final = (
    ("unplanned host maintenance", 32),
    ("SSD", 3),
    ("power supply", 3),
    ("server chassis", 2),
    ("IO expansion board", 2),
    ("CPU", 2),
    ("system memory", 2),
)
_LLAMA3_ELSEWHERE: Final = (
    ("software bug", 54),
    ("network switch or cable", 35),
    ("NCCL watchdog timeout", 7),
    ("dependency", 2),
)

_RECORDS: Final = (
    FailureRecord(
        "llama3_2024",
        "419 unexpected interruptions of 16,384 H100 in 54 days, by cause",
        "Llama 3 (arXiv 2407.21783), table 5",
        "that software bugs and network faults grow with the number of GPUs, as they are taken to; other fleets",
        (
            *(_counted(name, count, _LLAMA3_GPU_DAYS, "gpu") for name, count in _LLAMA3_GPU),
            _counted("NIC", 7, _LLAMA3_GPU_DAYS, "nic"),
            *(_counted(name, count, _LLAMA3_NODE_DAYS, "node") for name, count in _LLAMA3_NODE),
            *(_counted(name, count, _LLAMA3_GPU_DAYS, "gpu", replaced=False) for name, count in _LLAMA3_ELSEWHERE),
        ),
    ),
    FailureRecord(
        "meta_rsc1",
        "6.50 failures in 1,000 node-days of 16 k A100 over eleven months",
        "Kokolis et al. (HPCA 2025, arXiv 2410.21680)",
        "causes; failures of jobs that no node is to blame for",
        (FailureMode("node", "node", 1000 * DAY_S / 6.50),),
    ),
    FailureRecord(
        "meta_rsc2",
        "2.34 failures in 1,000 node-days of 8 k A100 over eleven months",
        "Kokolis et al. (HPCA 2025, arXiv 2410.21680)",
        "causes; failures of jobs that no node is to blame for",
        (FailureMode("node", "node", 1000 * DAY_S / 2.34),),
    ),
)

RECORDS: Final[Mapping[str, FailureRecord]] = MappingProxyType({record.name: record for record in _RECORDS})


def find_failure_record(name: str) -> FailureRecord:
    """Return the record called ``name``; raises UnknownNameError with the nearest names."""
    if name not in RECORDS:
        raise UnknownNameError("failure record", name, RECORDS)
    return RECORDS[name]
