"""The file of spreads: read strictly, every number with its source."""

import pytest
import yaml

from simdml.calibration.cost_groups import GROUP_OF_FAMILY, CostGroup
from simdml.calibration.spreads import load_spreads
from simdml.calibration.spreads_file import read_spreads
from simdml.errors import DocumentError
from simdml.workload.operators import Family


def number(source="runs"):
    return {"value": 0.1, "mark": "measured", "source": source}


def write(path, **changes):
    names = ("tail", "step", "carried_over", "doubling")
    content = {
        "date": "2026-11-25",
        "sources": {"runs": "some runs"},
        **{name: number() for name in names},
        "groups": {group.value: number() for group in CostGroup},
    }
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_bundled_spreads_say_where_they_are_from():
    found = load_spreads()
    assert set(found.groups) == set(CostGroup)
    assert all(each.provenance.source for each in found.groups.values())
    assert found.groups[CostGroup.PRODUCTS].measured


def test_every_family_of_kernels_is_in_a_group():
    assert set(GROUP_OF_FAMILY) == set(Family)


def test_a_file_is_read(tmp_path):
    found = read_spreads(write(tmp_path / "mine.yaml"))
    assert (found.name, found.step.value, found.step.provenance.source) == ("mine", 0.1, "some runs")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"groups": {"attention": number()}}, "groups lacks matrix_products"),
        ({"step": number("nobody")}, "no source is called 'nobody'"),
        ({"groups": {group.value: number("nobody") for group in CostGroup}}, "no source is called"),
    ],
)
def test_what_lacks_is_told(tmp_path, changes, reason):
    with pytest.raises(DocumentError, match=reason):
        read_spreads(write(tmp_path / "mine.yaml", **changes))
