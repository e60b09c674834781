"""Results as plain data and as tables."""

import json
import math
from dataclasses import dataclass
from enum import StrEnum

import pytest
import sample_results

from simdml.results.frames import breakdown_frame, links_frame, memory_frame, path_frame
from simdml.results.plain import SEGMENTS_KEPT, plain, result_to_dict

KINDS = list(sample_results.every_kind())


def of(kind):
    return sample_results.every_kind()[kind]


def as_bytes(result):
    return json.dumps(result_to_dict(result), sort_keys=True, allow_nan=False).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_plain_data_survives_json(kind):
    data = result_to_dict(of(kind))
    assert json.loads(json.dumps(data, allow_nan=False)) == data


@pytest.mark.parametrize("build", [sample_results.ddp, sample_results.pipeline, sample_results.parameter_server])
def test_the_same_job_gives_the_same_bytes(build):
    assert as_bytes(build()) == as_bytes(build.__wrapped__())


@pytest.mark.parametrize("kind", KINDS)
def test_seconds_add_up_to_the_step(kind):
    data = result_to_dict(of(kind))
    for breakdown in data["breakdowns"]:
        assert math.fsum(breakdown["account_s"].values()) == pytest.approx(data["step_time_s"], rel=1e-12)
    assert sum(breakdown["num_ranks"] for breakdown in data["breakdowns"]) == data["num_gpus"]


def test_path_keeps_its_longest_segments_counted_from_the_begin_of_the_step():
    result = sample_results.pipeline()
    path = result_to_dict(result)["critical_path"]
    lengths = [segment["end_s"] - segment["begin_s"] for segment in path["longest_segments"]]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == min(SEGMENTS_KEPT, path["num_segments"])
    assert min(segment["begin_s"] for segment in path["longest_segments"]) == 0.0
    assert max(segment["end_s"] for segment in path["longest_segments"]) == result.step_time_s


def test_everything_but_the_recording_is_there():
    data = result_to_dict(sample_results.ddp())
    missing = {name for name in sample_results.ddp().__dataclass_fields__ if name not in data}
    assert missing == {"recording", "version", "input_plan", "basis_of"}
    assert data["simdml_version"] == sample_results.ddp().version
    assert data["inputs"] == {"cluster": "star", "mesh": {"dp": 4}}


class Colour(StrEnum):
    RED = "red"


@dataclass
class Opaque:
    value: int = 0


def test_plain_values():
    assert plain({"b": (1, 2.5), "a": Colour.RED, 3: None}) == {"3": None, "a": "red", "b": [1, 2.5]}
    assert list(plain({"b": 1, "a": 2})) == ["a", "b"]
    assert plain([math.inf, True]) == ["inf", True]
    assert type(plain(Colour.RED)) is str
    with pytest.raises(TypeError, match="Opaque has no plain form"):
        plain({"x": Opaque()})


@pytest.mark.parametrize("kind", KINDS)
def test_breakdown_frame_has_a_row_a_class_and_seconds_that_add_up(kind):
    result = of(kind)
    frame = breakdown_frame(result)
    assert list(frame["representative_rank"]) == [each.representative for each in result.breakdowns]
    seconds = frame[[name for name in frame if name.endswith("_s")]].sum(axis=1)
    assert list(seconds) == pytest.approx([result.step_time_s] * len(frame), rel=1e-12)
    assert (frame["total_bytes"] == 48 * sample_results.GIB).all()


def test_other_frames():
    result = sample_results.pipeline()
    path = path_frame(result)
    assert path["length_s"].sum() == pytest.approx(result.step_time_s, rel=1e-12)
    assert (path["begin_s"].to_numpy()[1:] == path["end_s"].to_numpy()[:-1]).all()
    assert list(memory_frame(result)["rank_class"]) == [f"stage {stage}" for stage in range(4)]
    links = links_frame(result)
    assert len(links) == len(result.links)
    assert links["utilisation"].is_monotonic_decreasing
