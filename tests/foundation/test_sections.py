"""A section that is imported when it is there is read, refused and described as one that always is."""

from __future__ import annotations

import pytest

from simdml.documents.document import from_mapping
from simdml.documents.loading import parse_document
from simdml.documents.quantities import Bytes, DocumentModel
from simdml.documents.sections import section
from simdml.documents.validation import validate
from simdml.errors import DocumentError

COST = "simdml.scenario.schema.cost:CostSpec"
FAULT = "simdml.scenario.schema.faults:FaultSpec"


def models():
    """Return the same model with sections imported before and on demand."""
    from simdml.scenario.schema.cost import CostSpec
    from simdml.scenario.schema.faults import FaultSpec

    def made(cost, fault):
        names = {"cost": cost | None, "faults": tuple[fault, ...], "size": Bytes}
        body = {"__annotations__": names, "cost": None, "faults": (), "size": 1.0, "__module__": __name__}
        return type("Job", (DocumentModel,), body)

    return made(CostSpec, FaultSpec), made(section(COST), section(FAULT))


WRONG = [
    "cost: {storage: {size: 5}}",
    "cost: {commitmend: spot}",
    "cost: {traffic: {size: 1 TB}}",
    "cost: [1]",
    "cost: {date: yesterday, gpu_hour: {a100: 1}}",
    "faults: [{slow: gpu 1, by: 0.5}]",
    "faults: [{jitter: normal, cv: 1}, {slow: 5, by: 2}]",
    "size: 5",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_reads_the_same(text):
    told = []
    for model in models():
        with pytest.raises(DocumentError) as caught:
            validate(parse_document(text, "job.yaml"), model)
        told.append([(problem.message, problem.place, problem.hint) for problem in caught.value.problems])
    assert told[0] == told[1]


def test_values_are_the_same():
    data = {"cost": {"gpu_hour": "2.5 USD/h"}, "faults": [{"slow": "gpu 1", "by": 2}]}
    before, on_demand = (validate(from_mapping(data), model) for model in models())
    assert before.model_dump() == on_demand.model_dump()
    assert type(on_demand.cost) is type(before.cost)
