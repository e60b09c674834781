"""What a data-parallel strategy is to the rest: its plan, its compiler, and what it goes with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

from simdml.program.mesh import Group
from simdml.strategies.data_parallel.replica import Replica
from simdml.strategies.data_parallel.units import SHARD
from simdml.strategies.strategy import Strategy

MakeReplica = Callable[..., Replica]
"""Makes the rank of a job that holds some code, as a plan has it; the last argument is its role if a kind has any."""

PYTORCH: Final = "PyTorch"
MEGATRON: Final = "Megatron-LM"
TENSORFLOW: Final = "TensorFlow"
NODE_AXIS: Final = "dp_node"
DP: Final = ("dp",)
NODES: Final = (NODE_AXIS, "dp")
SHARDED: Final = (SHARD, "dp_replicate")
ALL: Final = ("tp", "pp", "cp", "ep")


@dataclass(frozen=True, slots=True)
class Kind:
    """A data-parallel strategy: what it stands for, its plan with that system's defaults, and its compiler.

    ``axes`` are the mesh axes its replicas lie on; ``combines`` the degrees of model parallelism it goes with,
    ``lacks`` those of the others that the system itself has not got, and ``instead`` what to use where it does not.
    ``framework`` is whose defaults hold for the rest of the job; empty for PyTorch's alone and Megatron-LM's with a
    mesh. ``accumulates`` says that the model's own kernels add gradients of micro-batches; otherwise the strategy does.
    ``groups`` are those beside the ones along each data-parallel axis; ``roles`` names the first rank and the others
    where they do different things. ``alone`` says that the training state lies as the strategy has it on a single
    rank too.
    """

    strategy: Strategy
    plan: Any
    replica: MakeReplica
    axes: tuple[str, ...] = DP
    combines: tuple[str, ...] = ("tp", "pp")
    lacks: tuple[str, ...] = ("tp", "pp")
    instead: str = "ddp"
    framework: str = ""
    accumulates: bool = True
    groups: tuple[Group, ...] = ()
    roles: tuple[str, ...] = ()
    alone: bool = False

    @property
    def options(self) -> dict[str, object]:
        """The options of the strategy with their defaults; units at the end of a name left out."""
        return {
            option_name(field.name): getattr(self.plan, field.name)
            for field in fields(self.plan)
            if field.metadata.get("option", True)
        }


def option_name(field_name: str) -> str:
    """Return how a scenario calls a field of a plan: quantities carry their units there."""
    for unit in ("_bytes", "_s"):
        field_name = field_name.removesuffix(unit)
    return field_name
