"""Names without imports, and under every name the entry that calls itself so."""

from __future__ import annotations

import subprocess
import sys

from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS
from simdml.strategies.schedules import SCHEDULES
from simdml.workload.catalog import available_models, find_model

NAMES_ALONE = """
import sys
from simdml.registry import Registry
records = Registry("xml.dom", {"one": "minidom:Node", "two": "nowhere:NOTHING"})
assert list(records) == ["one", "two"] and len(records) == 2 and "one" in records and "three" not in records
assert "xml.dom.minidom" not in sys.modules
assert records["one"].__name__ == "Node" and "xml.dom.minidom" in sys.modules
"""


def test_names_import_nothing():
    subprocess.run([sys.executable, "-c", NAMES_ALONE], check=True)


def test_every_entry_is_called_what_it_is_found_by():
    assert [kind.strategy.name for kind in KINDS.values()] == list(KINDS)
    assert [schedule.name for schedule in SCHEDULES.values()] == list(SCHEDULES)
    assert [system.strategy.name for system in SYSTEMS.values()] == list(SYSTEMS)
    assert [find_model(name).name for name in available_models()] == list(available_models())
