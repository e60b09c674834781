"""The ``strategy`` section into a mesh and the plans of :mod:`simdml.strategies.job`.

What is for parameter servers alone is imported for them alone, for start-up time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simdml.cluster.cluster import Cluster
from simdml.errors import InfeasibleError, UnknownNameError
from simdml.program.mesh import Mesh
from simdml.scenario.balancing import By
from simdml.scenario.choices import Choices
from simdml.scenario.data_parallel import data_parallel_plan, kind_of
from simdml.scenario.degrees import build_mesh
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located
from simdml.scenario.schedules import chosen_schedule
from simdml.scenario.schema.strategy import (
    STRATEGY_NAMES,
    LayerPlacementSpec,
    MeshSpec,
    PipelineSpec,
    StrategySpec,
)
from simdml.scenario.spreads import chosen_spread
from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.job import PLAIN, PipelinePlan, ReplicaPlan, Spread
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS
from simdml.strategies.schedules import SCHEDULES

if TYPE_CHECKING:
    from simdml.strategies.parameter_server.plan import ParameterServerPlan

STRATEGY = "strategy"
PYTORCH = "PyTorch"
MEGATRON = "Megatron-LM"
ONE_STAGE = PipelinePlan()


@dataclass(frozen=True, slots=True)
class Plans:
    """How the work is divided, by default as ``system`` does; ``pipelined`` where a micro-batch has to be given."""

    mesh: Mesh
    pipeline: PipelinePlan = ONE_STAGE
    data_parallel: ReplicaPlan | None = None
    parameter_server: ParameterServerPlan | None = None
    system: str = PYTORCH
    pipelined: bool = False
    spread: Spread = PLAIN
    balance_by: By | None = None

    @property
    def by_megatron(self) -> bool:
        """Whether what the scenario leaves open is done as Megatron-LM does it."""
        return self.system == MEGATRON

    @property
    def local_steps(self) -> int:
        """Optimizer steps in one step of the program."""
        return int(getattr(self.data_parallel, "local_steps", 1))

    @property
    def gpus_per_replica(self) -> int:
        """GPUs one model is spread over."""
        return self.mesh.size("tp") * self.mesh.size("cp") * self.mesh.size("pp")


def _short(schedule: str) -> Callable[[int], StrategySpec]:
    return lambda gpus: StrategySpec(mesh=MeshSpec(pp=gpus), pipeline=PipelineSpec(schedule=schedule))


def _kind(name: str) -> Callable[[int], StrategySpec]:
    return lambda _: _data_parallel(name)


def _data_parallel(kind: str) -> StrategySpec:
    from simdml.scenario.schema.data_parallel import DataParallelSpec

    return StrategySpec(data_parallel=DataParallelSpec(kind=kind))


def _servers(preset: str | None = None) -> StrategySpec:
    from simdml.scenario.schema.parameter_server import ParameterServerSpec

    asked = ParameterServerSpec() if preset is None else ParameterServerSpec(preset=preset)
    return StrategySpec(parameter_server=asked)


SHORT_NAMES: dict[str, Callable[[int], StrategySpec]] = {
    "layer_placement": lambda _: StrategySpec(layer_placement=LayerPlacementSpec()),
    "parameter_server": lambda _: _servers(),
}
SHORT_NAMES |= {schedule: _short(schedule) for schedule in SCHEDULES}
SHORT_NAMES |= {kind: _kind(kind) for kind in KINDS}
SHORT_NAMES["ddp"] = lambda _: StrategySpec.model_construct()
"""What a strategy is that says nothing."""


def strategy_section(scenario: Scenario, gpus: int) -> StrategySpec:
    """Return the strategy, short names written out for so many GPUs.

    Raises:
        UnknownNameError: no such short name.
    """
    section = scenario.spec.strategy
    if isinstance(section, str) and section in SYSTEMS:
        section = _servers(section)
    if not isinstance(section, str):
        if section.parameter_server is None:
            return section
        from simdml.scenario.servers import with_preset

        return with_preset(scenario, section)
    if section not in SHORT_NAMES:
        raise UnknownNameError("strategy", section, STRATEGY_NAMES, place=scenario.document.place((STRATEGY,)))
    return SHORT_NAMES[section](gpus)


def build_plans(scenario: Scenario, cluster: Cluster, gpus: int, choices: Choices) -> Plans:
    """Return the plans of the scenario for the first ``gpus`` GPUs of ``cluster``.

    Raises:
        UnknownNameError: no such strategy or schedule.
        InfeasibleError: degrees or servers that the cluster cannot have.
    """
    section = strategy_section(scenario, gpus)
    if section.parameter_server is not None:
        from simdml.scenario.servers import build_servers, note_preset

        note_preset(scenario, choices)
        servers = build_servers(scenario, section.parameter_server, cluster, gpus, choices)
        ways = section.parameter_server.model_parallel
        mesh = Mesh((("pp", ways), ("dp", gpus // ways)) if ways > 1 else (("dp", gpus),))
        return Plans(mesh, PipelinePlan("gpipe", balance="flops"), parameter_server=servers)
    if section.layer_placement is not None:
        return _layer_placement(scenario, section, gpus, choices)
    asked = section.mesh or MeshSpec(pp=1 if section.pipeline is None else gpus)
    kind = kind_of(scenario, section.data_parallel)
    mesh = build_mesh(asked, gpus, scenario.document, kind, node_gpus=len(cluster.gpus_of(cluster.node_of(0))))
    for axis in kind.axes if section.mesh is not None or len(kind.axes) > 1 else ():
        if getattr(asked, axis, None) is None:
            size = mesh.size(axis) * (mesh.size("ep") if axis == kind.axes[0] else 1)
            given = " x ".join(f"{each} {getattr(asked, each)}" for each in ("tp", "cp", "pp") if each in mesh.sizes)
            choices.note(f"strategy.mesh.{axis}", size, f"what {given} leave of {gpus} GPUs")
    deep = mesh.size("pp") > 1
    pipeline = _pipeline(scenario, section.pipeline or PipelineSpec(), choices) if deep else ONE_STAGE
    system = kind.framework or (PYTORCH if section.mesh is None and section.pipeline is None else MEGATRON)
    data_parallel = data_parallel_plan(scenario, section.data_parallel, mesh, system, choices)
    spread = chosen_spread(scenario, section, mesh, system, choices)
    asked_balance = section.pipeline.balance if section.pipeline is not None and deep else None
    by = _by(asked_balance)
    return Plans(mesh, pipeline, data_parallel, system=system, pipelined=deep, spread=spread, balance_by=by)


def _by(balance: object) -> By | None:
    """Return what the job's own costs have to be asked for."""
    return "time" if balance == "time" else "memory" if balance == "memory" else None


def _pipeline(scenario: Scenario, section: PipelineSpec, choices: Choices) -> PipelinePlan:
    path = (STRATEGY, "pipeline")
    schedule = chosen_schedule(scenario, section.schedule)
    chunks = section.chunks or schedule.chunks
    with located(scenario.document, *path, "chunks"):
        schedule.check_chunks(chunks)
    if schedule.any_chunks:
        choices.given_or(section.chunks, "strategy.pipeline.chunks", chunks, "the least that interleaves")
    overlap = choices.given_or(
        section.overlap_p2p,
        "strategy.pipeline.overlap_p2p",
        not schedule.waits_for_sends,
        f"{MEGATRON} waits for its sends in 1f1b alone",
    )
    plan = PipelinePlan(schedule, chunks, overlap, section.scatter_gather, "flops")
    match section.balance:
        case "time" | "memory":
            return plan
        case balance:
            return replace(plan, balance=balance)


def _layer_placement(scenario: Scenario, section: StrategySpec, gpus: int, choices: Choices) -> Plans:
    asked = section.layer_placement
    assert asked is not None
    path = (STRATEGY, "layer_placement")
    if asked.stages is not None and asked.devices is not None and len(asked.stages) != asked.devices:
        raise InfeasibleError(
            f"{len(asked.stages)} stages do not go on {asked.devices} devices",
            place=scenario.document.place((*path, "stages")),
            hint="leave devices out: there is one stage a device",
        )
    devices = len(asked.stages) if asked.stages is not None else asked.devices
    devices = choices.given_or(devices, "strategy.layer_placement.devices", gpus, "every GPU of the job")
    if gpus % devices:
        raise InfeasibleError(
            f"models over {devices} devices do not fill the {gpus} GPUs",
            place=scenario.document.place(path),
            hint=f"gpus: {devices}, for one replica",
        )
    mesh = Mesh((("tp", 1), ("dp", gpus // devices), ("pp", devices)))
    pipeline = PipelinePlan("gpipe", balance="flops" if asked.stages is None else asked.stages)
    data_parallel = data_parallel_plan(scenario, section.data_parallel, mesh, PYTORCH, choices)
    by = _by(asked.balance) if asked.stages is None else None
    return Plans(mesh, pipeline, data_parallel, balance_by=by)
