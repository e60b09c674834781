"""Jobs that share a network, as a part of a report."""

from __future__ import annotations

from typing import Final

from simdml.reporting.drawings import picture
from simdml.reporting.report import Part, Section, Table, Topic
from simdml.studies.fleet.figure import steps_figure
from simdml.studies.fleet.fleet import SharingStudy
from simdml.studies.fleet.sharing import SharedStep
from simdml.studies.fleet.table import SHARING_COLUMNS, sharing_rows
from simdml.studies.report.findings import Record

_SAME: Final = ("name", "num_gpus", "alone_s", "together_s", "fastest_s", "slowest_s")


def sharing_part(sharing: Record) -> Part:
    """Return what the record of jobs beside each other says."""
    found = read_sharing(sharing)
    slowest = max(found.steps, key=lambda each: each.slowdown)
    answer = f"Beside each other ({found.layout}), {slowest.name} is slowed most: its step takes "
    answer += f"{slowest.slowdown:.3g} times as long as alone."
    alt = "Bars of the step time of each job beside the others over that alone: "
    alt += ", ".join(f"{each.name} {each.slowdown:.2f}" for each in found.steps) + "."
    table = Table("Steps alone and together", SHARING_COLUMNS, tuple(sharing_rows(found)))
    sure = f"Jobs were begun against each other in {found.phases} phases, and the mean over them is given."
    return Part(
        answer=answer,
        certainty=(sure,),
        tiles=tuple((each.name, f"{each.slowdown:.3f} times") for each in found.steps),
        sections=(
            Section(
                Topic.ALTERNATIVES,
                "How much jobs slow each other",
                (picture("sharing", lambda: steps_figure(found), alt), table),
            ),
        ),
    )


def read_sharing(data: Record) -> SharingStudy:
    """Return the study that its record is of; the cluster is not in it."""
    steps = (SharedStep(nodes=tuple(job["nodes"]), **{key: job[key] for key in _SAME}) for job in data["jobs"])
    return SharingStudy("", 0, data["layout"], data["phases"], tuple(steps))
