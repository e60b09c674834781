"""The ``strategy.data_parallel`` section into a plan with the defaults of the system it names."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from simdml.errors import InfeasibleError
from simdml.program.mesh import Mesh
from simdml.scenario.choices import Choices
from simdml.scenario.costs import Priced
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located
from simdml.strategies.data_parallel.kind import Kind, option_name
from simdml.strategies.data_parallel.kinds import KINDS, find_kind, refuse_combinations
from simdml.strategies.job import DataParallelPlan, ReplicaPlan, gradient_ranks

if TYPE_CHECKING:
    from simdml.scenario.schema.data_parallel import DataParallelSpec

PATH = ("strategy", "data_parallel")


def kind_of(scenario: Scenario, section: DataParallelSpec | None) -> Kind:
    """Return the strategy that the section names, ddp without one; raises UnknownNameError."""
    with located(scenario.document, *PATH, "kind"):
        return find_kind(section.kind if section is not None else "ddp")


def data_parallel_plan(
    scenario: Scenario, section: DataParallelSpec | None, mesh: Mesh, system: str, choices: Choices
) -> ReplicaPlan | None:
    """Return how the replicas of ``mesh`` share their work; for one replica None, or what says how its state lies.

    What the section leaves open is the default of ``system`` for ddp and of its own system for another kind.

    Raises:
        UnknownNameError: no such kind.
        InfeasibleError: an option that the kind does not have.
    """
    kind = kind_of(scenario, section)
    given = _given(scenario, section, kind)
    if gradient_ranks(mesh) == 1:
        return kind.plan if kind.alone and not given else None
    with located(scenario.document, "strategy", "mesh"):
        refuse_combinations(kind, mesh)
    for name, value in kind.options.items():
        if name not in given and value is not None and kind.strategy.name != "ddp":
            choices.note(".".join((*PATH, name)), value, kind.strategy.system)
    plan: ReplicaPlan = replace(kind.plan, **_by_field(kind, given))
    if isinstance(plan, DataParallelPlan):
        _refuse_idle(scenario, plan, given)
    return _ddp(plan, given, system, choices) if isinstance(plan, DataParallelPlan) else plan


def _given(scenario: Scenario, section: DataParallelSpec | None, kind: Kind) -> dict[str, Any]:
    if section is None:
        return {}
    written = section.model_fields_set - {"kind"}
    given = {name: getattr(section, name) for name in sorted(written) if getattr(section, name) is not None}
    for name in given:
        if name not in kind.options:
            having = ", ".join(other for other, each in KINDS.items() if name in each.options)
            raise InfeasibleError(
                f"{kind.strategy.name} has no option {name}",
                place=scenario.document.place((*PATH, name)),
                hint=f"it is one of {having}; {kind.strategy.name} has {', '.join(kind.options) or 'no options'}",
            )
    return given


def _refuse_idle(scenario: Scenario, plan: DataParallelPlan, given: dict[str, Any]) -> None:
    """Refuse options of PowerSGD where ddp does not compress with it: they would change nothing."""
    idle = [name for name in given if name.startswith("powersgd") and not plan.comm_hook.endswith("powersgd")]
    if plan.comm_hook == "batched_powersgd" and "powersgd_min_compression_rate" in given:
        idle = ["powersgd_min_compression_rate"]
    for name in idle:
        raise InfeasibleError(
            f"{name} says nothing about comm_hook: {plan.comm_hook}",
            place=scenario.document.place((*PATH, name)),
            hint="comm_hook: powersgd, or leave it out",
        )


def _by_field(kind: Kind, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options under the names of the plan's fields; sizes are whole bytes there."""
    named = {option_name(field.name): field.name for field in fields(kind.plan)}
    return {named[name]: int(value) if "bytes" in named[name] else value for name, value in given.items()}


def with_clock(plan: ReplicaPlan | None, priced: Priced) -> ReplicaPlan | None:
    """Return ``plan`` with what kernels take on the job's first device, where a strategy decides by that."""
    if plan is None or plan.kind != "horovod":
        return plan
    from simdml.strategies.data_parallel.fusion import KernelClock
    from simdml.strategies.data_parallel.horovod import HorovodPlan

    assert isinstance(plan, HorovodPlan)
    costs = priced.costs
    compute = next(iter(costs.compute.values()))
    return plan.timed(KernelClock(compute, costs.precision, costs.host_launch_s, costs.dispatch))


def offloads(plan: ReplicaPlan | None) -> bool:
    """Return whether ``plan`` keeps part of the training state in host memory."""
    options = ("offload_optimizer", "offload_param", "cpu_offload")
    return any(getattr(plan, option, "none") not in {"none", False} for option in options)


def launch_scale(plan: ReplicaPlan | None, gpus: int) -> int:
    """Return how many GPUs the thread that launches kernels launches them for."""
    return gpus if plan is not None and plan.kind == "dataparallel" else 1


def _ddp(plan: DataParallelPlan, given: dict[str, Any], system: str, choices: Choices) -> DataParallelPlan:
    """Return DistributedDataParallel with what PyTorch and Megatron-LM do differently."""
    pytorch, path = system == "PyTorch", ".".join(PATH)
    overlap = choices.given_or(given.get("overlap"), f"{path}.overlap", pytorch, system)
    view = choices.given_or(
        given.get("gradient_as_bucket_view"), f"{path}.gradient_as_bucket_view", not pytorch, system
    )
    if plan.bucket_cap_bytes is None and overlap:
        choices.note(f"{path}.bucket_cap", "1 MiB first, then 25 MiB", "PyTorch")
    return replace(plan, overlap=overlap, gradient_as_bucket_view=view)
