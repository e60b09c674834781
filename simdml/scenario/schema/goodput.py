"""The ``goodput`` section: weeks of training with failures; read by ``simdml goodput`` alone."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from simdml import units
from simdml.calibration.failure_rates import RECORDS
from simdml.documents.quantities import Bandwidth, Bytes, Count, DocumentModel, Seconds, SecondsOrZero
from simdml.errors import UnitError
from simdml.scenario.schema.names import offering

RecordName = Annotated[str, Field(json_schema_extra=offering(RECORDS))]
_NODES = re.compile(r"\s*(\d{1,6})\s*(nodes?)?\s*", re.ASCII)


def _nodes(value: object) -> object:
    """Return ``2 nodes`` as 2."""
    if isinstance(value, str):
        found = _NODES.fullmatch(value)
        if found is None:
            raise ValueError(f"{value!r} is no number of nodes: write for example 2 nodes")
        return int(found[1])
    return value


NodeCount = Annotated[
    int,
    Field(ge=0, le=100_000),
    BeforeValidator(_nodes),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _NODES.pattern}]}),
]


def _interval(value: object) -> float | str:
    """Return seconds, or the word ``optimal``."""
    if value == "optimal":
        return "optimal"
    try:
        return units.parse_time(value)
    except UnitError as error:
        raise UnitError(error.message, hint=f'{error.hint}; or "optimal"') from None


Interval = Annotated[
    float | str,
    PlainValidator(_interval),
    WithJsonSchema({"anyOf": [{"const": "optimal"}, {"type": "string", "pattern": units.TIME.pattern}]}),
]


class FailureModeSpec(DocumentModel):
    """A cause of interruptions and how often it comes."""

    component: str
    """What fails."""
    mtbf: Seconds
    """Mean time between failures of one of them; times between failures are exponential."""
    of: Literal["gpu", "node", "nic", "job"] = "node"
    """Of what: every GPU, node or NIC of the job, or the job as a whole."""
    replaced: bool = True
    """Whether the node goes to repair and another takes its place; otherwise the job starts again where it was."""
    detection: SecondsOrZero | None = None
    """Until it is found; that of the section by default."""
    planned: bool = False
    """Whether it is announced: a checkpoint is written first, and nothing is lost."""


class CheckpointSpec(DocumentModel):
    """Checkpoints: how often, how large, where to."""

    every: Interval = "optimal"
    """Training time between two, rounded to whole steps; by default the one that loses least time."""
    every_steps: Count | None = None
    """The same in steps."""
    to: Bandwidth
    """What the storage takes from the whole job."""
    per_node: Bandwidth | None = None
    """What one node can write and read; no limit by default."""
    reading: Bandwidth | None = None
    """What the storage gives to the whole job; as it takes by default."""
    mode: Literal["synchronous", "asynchronous"] = "synchronous"
    """Whether training waits until it is written, or only until it is copied to the memory of the nodes."""
    size: Bytes | None = None
    """By default weights and optimizer state of the model."""

    @model_validator(mode="after")
    def _one_interval(self) -> CheckpointSpec:
        if self.every_steps is not None and "every" in self.model_fields_set:
            raise ValueError("a checkpoint has every or every_steps, not both")
        return self


class RestartSpec(DocumentModel):
    """What a restart takes besides loading the checkpoint."""

    scheduling: SecondsOrZero = 300.0
    """Until processes run on all nodes; with detection MegaScale's 15 minutes (arXiv 2402.15627) by default."""
    warm_up: SecondsOrZero = 0.0
    """Communicators, compilation and slow first steps; none by default."""


class SlowNodesSpec(DocumentModel):
    """Nodes that get slow without failing, and the whole synchronous job with them."""

    mtbf: Seconds
    """Mean time until one node gets slow."""
    by: Annotated[float, Field(gt=1, le=1000)]
    """How many times longer a step takes then."""
    found_after: Seconds
    """Until it is found; then a checkpoint is written and the node replaced."""


class GoodputSpec(DocumentModel):
    """Weeks of training with failures, checkpoints, restarts and spares."""

    failures: RecordName | tuple[RecordName | FailureModeSpec, ...] = ()
    """A published record of failures, or a list of records and causes; none by default."""
    failure_scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """How many times as often everything fails."""
    checkpoint: CheckpointSpec
    """Checkpoints: how often, how large, where to."""
    period: Seconds | None = None
    """How long the job is watched, instead of to the scenario's target."""
    step_time: Seconds | None = None
    """Step time without failures; simulated by default."""
    detection: SecondsOrZero = 600.0
    """Until a failure is found and diagnosed; under ten minutes in MegaScale (arXiv 2402.15627)."""
    restart: RestartSpec = RestartSpec()
    """What a restart takes besides loading the checkpoint."""
    spares: NodeCount | None = None
    """Healthy nodes that stand by, such as 2 nodes; always enough by default."""
    repair: Seconds = 86_400.0
    """Until a node that was replaced is healthy again: a day, which is an assumption."""
    slow_nodes: SlowNodesSpec | None = None
    """Nodes that get slow without failing; none by default."""
    start: date | None = None
    """The day training begins, so that its end is a date."""
    finish_within: Seconds | None = None
    """How long it may take: the share of runs that make it is told."""
    runs: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """How many times it is simulated, with other failures each time."""
