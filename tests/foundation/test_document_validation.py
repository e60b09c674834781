from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from simdml.documents import quantities as q
from simdml.documents.document import from_mapping
from simdml.documents.loading import load_document, parse_document
from simdml.documents.overriding import override
from simdml.documents.quantities import DocumentModel
from simdml.documents.validation import validate
from simdml.errors import DocumentError


class Precision(StrEnum):
    BF16 = "bf16"
    FP32 = "fp32"


class Mesh(DocumentModel):
    tp: int = Field(1, gt=0)
    pp: int = 1
    dp: int
    """Copies of the model."""


class Pipeline(DocumentModel):
    kind: Literal["pipeline"]
    schedule: Literal["gpipe", "1f1b"] = "1f1b"
    pipeline: int = 1


class Server(DocumentModel):
    kind: Literal["server"]
    shards: int
    push: q.Bytes | Literal["whole"] = "whole"

    @model_validator(mode="after")
    def check(self):
        if self.shards > 8:
            raise ValueError("there are 8 nodes to put shards on")
        return self


class Card(DocumentModel):
    memory: q.Bytes
    power: q.Power | None = None


class Job(DocumentModel):
    name: str = "job"
    mesh: Mesh | None = None
    strategy: Annotated[Pipeline | Server, Field(discriminator="kind")] | None = None
    untagged: Pipeline | Server | None = None
    card: str | Card | list[Card] = "H100"
    link: q.Bandwidth = 50e9
    latency: q.SecondsOrZero = 0.0
    tokens: q.Count = 1
    precision: Precision = Precision.BF16
    sizes: tuple[int, ...] = ()
    table: dict[int, float] = Field(default_factory=dict)
    active: bool = True


def job(text):
    return validate(parse_document(text, "f"), Job)


def refusal(text):
    with pytest.raises(DocumentError) as caught:
        job(text)
    assert caught.value.exit_code == 3
    return caught.value


def test_good_documents_become_models():
    built = job(
        "mesh: {tp: 8, dp: 2}\nstrategy: {kind: server, shards: 2, push: 4 MB}\ncard: {memory: 80 GiB, power: 700 W}\n"
        "link: 400 Gbps\nlatency: 0 us\ntokens: 300 B\nprecision: fp32\nsizes: [1, 2]\ntable: {8: 0.5, 16: 1}\n"
    )
    assert built.mesh == Mesh(tp=8, dp=2)
    assert built.strategy.push == 4e6
    assert built.card.memory == 80 * 2**30
    assert (built.link, built.latency, built.tokens) == (50e9, 0.0, 300 * 10**9)
    assert built.precision is Precision.FP32
    assert built.sizes == (1, 2)
    assert built.table == {8: 0.5, 16: 1.0}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("mesh:\n  tpp: 8\n  dp: 1", "f:2:3: mesh.tpp", ['unknown key "tpp"; did you mean "tp"', "tp, pp, dp"]),
        ("mesh: {tp: 8}", "f:1:1: mesh.dp", ['missing key "dp"', "Copies of the model."]),
        ("mesh: 8", "f:1:7: mesh", ["expected a mapping, found 8"]),
        ("mesh: {dp: '8'}", "f:1:12: mesh.dp", ['expected a whole number, found text "8"']),
        ("mesh: {dp: true}", "f:1:12: mesh.dp", ["expected a whole number, found true"]),
        ("mesh: {dp: 1.5}", "f:1:12: mesh.dp", ["expected a whole number, found 1.5"]),
        ("mesh: {dp: 1, tp: 0}", "f:1:19: mesh.tp", ["must be greater than 0, found 0"]),
        ("name: 8", "f:1:7: name", ["expected text, found 8"]),
        ("name:", "f:1:6: name", ["expected text, found nothing"]),
        ("active: yes", "f:1:9: active", ['expected true or false, found text "yes"']),
        ("sizes: 3", "f:1:8: sizes", ["expected a list, found 3"]),
        ("sizes: [1, x]", "f:1:12: sizes[1]", ["expected a whole number"]),
        ("table: {x: 1}", "f:1:12: table.x", ["expected a whole number"]),
        ("precision: fp23", "f:1:12: precision", ['"bf16", "fp32"; did you mean "fp32"']),
        ("link: 400 Gb", "f:1:7: link", ["did you mean Gbps (gigabit per second)?", '"25 GB/s"']),
        ("link: 400", "f:1:7: link", ["a bare number has no unit"]),
        ("link: 0 Gbps", "f:1:7: link", ["more than zero"]),
        ("link: -1 Gbps", "f:1:7: link", ["negative"]),
        ("link: ['400 Gbps']", "f:1:7: link", ["a number with its unit is needed"]),
        ("strategy: {kind: pipelin}", "f:1:18: strategy.kind", ['"pipeline", "server"; did you mean "pipeline"']),
        ("strategy: {shards: 2}", "f:1:1: strategy.kind", ['missing key "kind"', "pipeline, server"]),
        ("strategy: {kind: server, shards: 9}", "f:1:11: strategy", ["there are 8 nodes"]),
        (
            "strategy: {kind: server, shard: 1, shards: 2}",
            "f:1:26: strategy.shard",
            ["allowed here: kind, shards, push"],
        ),
        ("strategy: {kind: server, shards: 1, push: 4 mb}", "f:1:43: strategy.push", ["did you mean MB"]),
        ("strategy: {kind: server, shards: 1, push: [4]}", "f:1:43: strategy.push", ["number with its unit"]),
        ("strategy: {kind: pipeline, pipeline: x}", "f:1:38: strategy.pipeline", ["expected a whole number"]),
        ("untagged: {kind: serve}", "f:1:18: untagged.kind", ['"pipeline", "server"; did you mean "server"']),
        ("untagged: {kind: server, shards: x}", "f:1:34: untagged.shards", ["expected a whole number"]),
        ("card: {memory: 80}", "f:1:16: card.memory", ["a bare number has no unit"]),
        ("card: {memry: 80 GB, memory: 1 GB}", "f:1:8: card.memry", ['did you mean "memory"']),
        ("card: [{memory: x}]", "f:1:17: card[0].memory", ["not a size in bytes"]),
        ("card: 5", "f:1:7: card", ["expected text or a mapping or a list, found 5"]),
    ],
)
def test_one_problem_one_message(text, place, words):
    error = refusal(text)
    message = str(error)
    assert len(error.problems) == 1, message
    assert message.startswith(place + ": ")
    for part in words:
        assert part in message
    assert "^" in message
    assert len(message.splitlines()) <= 5
    assert error.place.line is not None


def test_all_problems_are_listed_in_reading_order():
    error = refusal("tokens: x\nlnk: 1\nmesh:\n  tp: a\n  dp: b\nname: 3\n")
    assert [problem.place.dotted for problem in error.problems] == ["tokens", "lnk", "mesh.tp", "mesh.dp", "name"]
    assert str(error).startswith("f: 5 problems:\nf:1:9: tokens: ")


def test_a_thousand_problems_fill_one_screen():
    text = str(refusal("".join(f"key{index}: 1\n" for index in range(1000))))
    assert text.startswith("f: 1000 problems")
    assert "... and 992 more" in text
    assert len(text.splitlines()) < 45


def test_problems_of_overrides_and_bases_name_their_origin(tmp_path):
    (tmp_path / "base.yaml").write_text("mesh:\n  tpp: 1\n  dp: 1\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\nname: x\n")
    document = override(load_document(tmp_path / "own.yaml"), "link", "400")
    with pytest.raises(DocumentError) as caught:
        validate(document, Job)
    message = str(caught.value)
    assert '--set link: "400" is not a bandwidth' in message
    assert f"{tmp_path}/base.yaml:2:3: mesh.tpp: unknown key" in message


def test_python_mappings_are_checked_alike():
    with pytest.raises(DocumentError, match=r"<python>: mesh\.tpp: unknown key"):
        validate(from_mapping({"mesh": {"tpp": 1, "dp": 1}}), Job)
    assert validate(from_mapping({"precision": Precision.FP32}), Job).precision is Precision.FP32


@pytest.mark.parametrize(
    ("kind", "dimension"),
    [(q.Bytes, "B"), (q.Bandwidth, "B/s"), (q.SecondsOrZero, "s"), (q.FlopsRate, "FLOP/s"), (q.Power, "W")],
)
@given(value=st.floats(min_value=1e-12, max_value=1e24))
def test_json_reads_back_exactly(kind, dimension, value):
    quantity = kind.__metadata__[0]
    assert quantity.write(value).endswith(f" {dimension}")
    assert quantity.parse(quantity.write(value)) == value


@given(value=st.floats(min_value=1e-9, max_value=1e6))
def test_percentages_read_back_exactly(value):
    quantity = q.Percent.__metadata__[0]
    assert quantity.parse(quantity.write(value)) == value


def test_models_dump_to_json_that_loads_again():
    built = job("mesh: {dp: 2}\nlink: 400 Gbps\nlatency: 3 us\ntokens: 2 K\ncard: {memory: 80 GiB}\n")
    dumped = json.loads(built.model_dump_json())
    assert dumped["link"] == "50000000000.0 B/s"
    assert dumped["tokens"] == 2000
    assert validate(from_mapping(dumped), Job) == built


def test_json_schema_helps_an_editor():
    schema = Job.model_json_schema()
    link = schema["properties"]["link"]
    assert link["type"] == "string"
    assert link["examples"] == ["400 Gbps", "25 GB/s"]
    assert link["default"] == "50000000000.0 B/s"
    assert "b is bit" in link["description"]
    for text in [*link["examples"], link["default"]]:
        assert re.search(link["pattern"], text)
    assert not re.search(link["pattern"], "400 Gb")
    assert [kind["type"] for kind in schema["properties"]["tokens"]["anyOf"]] == ["integer", "string"]
    assert schema["$defs"]["Mesh"]["properties"]["dp"]["description"] == "Copies of the model."
