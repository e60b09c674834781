"""The ``fleet`` section: more jobs than one on the scenario's cluster; read by ``simdml fleet`` alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simdml.documents.quantities import Count, DocumentModel, Percent, PercentOrZero, Seconds

PolicyName = Literal["fifo", "priority", "easy_backfill", "conservative_backfill"]
PlacementName = Literal["best_fit", "first_fit", "spread"]


class QueuedJobSpec(DocumentModel):
    """Jobs of one kind that come again and again."""

    name: str
    """What they are called."""
    gpus: Count
    """GPUs of each, all at once or none (gang scheduling): of one node, or whole nodes and a rest on one more."""
    every: Seconds
    """Mean time between two of them; times are exponential."""
    runs: Seconds | None = None
    """How long one runs on average; by default as long as the scenario's own job takes to its target."""
    distribution: Literal["constant", "exponential", "lognormal"] | None = None
    """How that varies; by default exponential, and constant for the scenario's own job."""
    cv: Annotated[float, Field(gt=0, le=100)] = 2.0
    """Coefficient of variation of a lognormal: standard deviation over mean."""
    overestimate: Annotated[float, Field(ge=1, le=1000)] = 1.0
    """How many times as long as it will run its user says; backfilling plans with that."""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    """Higher ones go first, where the policy looks at it."""


class WaitGoalSpec(DocumentModel):
    """How long jobs may wait: the smallest cluster that keeps it is looked for."""

    wait: Seconds
    """The longest wait of the share of jobs below."""
    share: Percent = 0.5
    """The share of jobs that wait no longer; half of them by default."""


class QueueSpec(DocumentModel):
    """A queue of jobs before the cluster."""

    jobs: tuple[QueuedJobSpec, ...] = ()
    """What comes, by kind."""
    trace: str | None = None
    """A CSV file of jobs instead, with columns submit_s, gpus, runtime_s and, if wanted, estimate_s, priority, name."""
    policy: PolicyName = "fifo"
    """Who goes first; with backfilling, whoever delays none of those before (easy: not the first of them)."""
    placement: PlacementName = "best_fit"
    """Which node takes a job smaller than a node: the fullest it fits, the first, or the emptiest."""
    count: Count = 5000
    """Jobs that come in one run."""
    warm_up: PercentOrZero = 0.1
    """The share of them that comes first and is not counted, as the cluster is empty in the beginning."""
    repeats: Annotated[int, Field(ge=2, le=1000)] = 10
    """Runs, with other arrivals each time."""
    goal: WaitGoalSpec | None = None
    """How long jobs may wait: the number of nodes is looked for."""

    @model_validator(mode="after")
    def _one_source(self) -> QueueSpec:
        if bool(self.jobs) == (self.trace is not None):
            raise ValueError("a queue has either jobs or a trace")
        return self


class BesideSpec(DocumentModel):
    """A job that runs at the same time as the scenario's own, on nodes of its own."""

    scenario: str | None = None
    """The scenario of the job, a bundled name or a file, whose cluster does not matter; the own job by default."""
    name: str | None = None
    """What it is called; by default as its scenario."""
    gpus: Count | None = None
    """Its GPUs; as many as the own job has by default. It gets whole nodes."""
    copies: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many of them run."""


class FleetSpec(DocumentModel):
    """More jobs than one on the cluster."""

    queue: QueueSpec | None = None
    """Jobs that come and wait for GPUs."""
    beside: tuple[BesideSpec, ...] = ()
    """Jobs that run at the same time as the scenario's own and share its network."""
    layout: Literal["packed", "spread"] = "packed"
    """Which nodes jobs get: consecutive ones, or one at a time in turn, as on a cluster that has been in use."""
    phases: Annotated[int, Field(ge=1, le=64)] = 4
    """How many offsets between the steps of jobs are tried; step times are averages over them."""
