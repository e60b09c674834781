"""A file of measurements, whatever wrote it."""

from __future__ import annotations

import re
from pathlib import Path

from simdml.calibration.logs.collective_log import CollectiveLog
from simdml.calibration.logs.gloo import parse_gloo
from simdml.calibration.logs.lines import read_log
from simdml.calibration.logs.nccl_json import parse_nccl_json
from simdml.calibration.logs.nccl_tests import parse_nccl_runs
from simdml.calibration.logs.osu import parse_osu
from simdml.calibration.logs.readings import FORMAT, Readings, collective_logs, parse_readings

_OSU = re.compile(r"^#\s*OSU ", re.MULTILINE)
_GLOO = re.compile(r"^Options:.*\bprocesses=", re.MULTILINE)


def load_measurements(path: Path) -> Readings | tuple[CollectiveLog, ...]:
    """Return kernel readings, or collectives: of nccl-tests (text or JSON), OSU, gloo's benchmark or collectives.py.

    Raises:
        DocumentError: the file cannot be read, is damaged, or is none of these.
    """
    text, name = read_log(path), str(path)
    if text.lstrip().startswith("{"):
        if f'"{FORMAT}"' not in text:
            return (parse_nccl_json(text, name),)
        readings = parse_readings(text, name)
        return collective_logs(readings) if readings.program == "collectives" else readings
    if _OSU.search(text):
        return (parse_osu(text, name),)
    return (parse_gloo(text, name),) if _GLOO.search(text) else parse_nccl_runs(text, name)
