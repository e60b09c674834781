"""A whole scenario file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from simdml.documents.quantities import Count, CountOrZero, DocumentModel, Percent
from simdml.documents.sections import section
from simdml.resources import available
from simdml.scenario.schema.costs import CommunicationSpec, ProfileName, ProfileSpec
from simdml.scenario.schema.model import ModelName, ModelSpec
from simdml.scenario.schema.names import offering
from simdml.scenario.schema.strategy import StrategyName, StrategySpec
from simdml.scenario.schema.training import TrainingSpec
from simdml.scenario.schema.vary import Vary

if TYPE_CHECKING:
    from simdml.scenario.schema.cost import CostSpec, EnergySpec
    from simdml.scenario.schema.evaluation import EvaluationSpec
    from simdml.scenario.schema.faults import FaultSpec
    from simdml.scenario.schema.fleet import FleetSpec
    from simdml.scenario.schema.goodput import GoodputSpec
    from simdml.scenario.schema.input import InputSpec
    from simdml.scenario.schema.plan import PlanSpec
    from simdml.scenario.schema.target import TargetSpec
else:
    CostSpec = section("simdml.scenario.schema.cost:CostSpec")
    EnergySpec = section("simdml.scenario.schema.cost:EnergySpec")
    EvaluationSpec = section("simdml.scenario.schema.evaluation:EvaluationSpec")
    FaultSpec = section("simdml.scenario.schema.faults:FaultSpec")
    FleetSpec = section("simdml.scenario.schema.fleet:FleetSpec")
    GoodputSpec = section("simdml.scenario.schema.goodput:GoodputSpec")
    InputSpec = section("simdml.scenario.schema.input:InputSpec")
    PlanSpec = section("simdml.scenario.schema.plan:PlanSpec")
    TargetSpec = section("simdml.scenario.schema.target:TargetSpec")

ClusterName = Annotated[str, Field(json_schema_extra=offering(available("topologies")))]
ClusterMapping = Annotated[
    dict[str, Any],
    Field(title="ClusterMapping", description="A cluster, or with name: changes to the cluster of that name."),
]


class SimulateSpec(DocumentModel):
    """How the simulation runs."""

    steps: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Steps simulated, of which the last is reported; by default until they repeat, or their mean is known."""
    half_width: Percent = 0.01
    """How well the mean step of a run with jitter or asynchronous workers is known in the end, at 95 % confidence."""
    seed: CountOrZero = 0
    """Seed of everything random."""
    fold: bool = True
    """Whether equal ranks are simulated once; the result is the same."""


class ScenarioSpec(DocumentModel):
    """A training job on a cluster."""

    description: str = ""
    """One sentence about it."""
    cluster: ClusterName | ClusterMapping
    """A bundled cluster or a file by name, a mapping with name and changes, or a whole cluster."""
    gpus: Count | None = None
    """GPUs the job uses, from node 0 on; all by default."""
    model: ModelName | ModelSpec
    """What is trained."""
    training: TrainingSpec
    """What one step trains, and with which arithmetic."""
    strategy: StrategyName | StrategySpec = "ddp"
    """How the work is divided; PyTorch's DistributedDataParallel by default."""
    input: InputSpec | None = None
    """How training data come to the GPUs; they are there when they are needed by default."""
    evaluation: EvaluationSpec | None = None
    """Evaluation between training steps; none by default."""
    profile: ProfileName | ProfileSpec | None = None
    """Measured costs of the device; its default profile by default."""
    communication: Literal["nccl", "gloo"] | CommunicationSpec = CommunicationSpec()
    """The collective library."""
    faults: tuple[FaultSpec, ...] = ()
    """What is slower than it should be, or varies; nothing by default."""
    simulate: SimulateSpec = SimulateSpec()
    """How the simulation runs."""
    target: TargetSpec | None = None
    """How much has to be trained, for the time, cost and energy of all of it."""
    cost: CostSpec | None = None
    """What the cluster costs; nothing is said of it by default."""
    energy: EnergySpec | None = None
    """What the cluster draws; nothing is said of it by default."""
    goodput: GoodputSpec | None = None
    """Weeks of training with failures, for simdml goodput; others leave it alone."""
    fleet: FleetSpec | None = None
    """More jobs than one on the cluster, for simdml fleet; others leave it alone."""
    plan: PlanSpec | None = None
    """What simdml plan may choose, what has to be met, and what is best; others leave it alone."""
    vary: Vary | None = None
    """What simdml sweep varies: a grid of paths with their values, zipped ones, or a list; others leave it alone."""
