"""One way to lay a model out on the GPUs of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from simdml.documents.document import Document, from_mapping
from simdml.documents.overriding import assign
from simdml.strategies.stages import Balance

PLAN: Final = "plan"
OVERLAPPED: Final = {
    "ddp": {"overlap": True},
    "distributed_optimizer": {"overlap_grad_reduce": True, "overlap_param_gather": True},
}
"""Options that a planner turns on: both of Megatron-LM's are off by default, and on wherever speed is asked for."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Degrees, schedule, micro-batch, recomputation and sharding of a job; ``dp`` is what the others leave.

    ``schedule`` is empty for one stage. ``balance`` is how stages are cut. Without ``mesh`` a job is PyTorch's alone,
    and so are its kernels, whatever the degrees.
    """

    tp: int
    cp: int
    ep: int
    pp: int
    dp: int
    sharding: str
    microbatch: int
    num_microbatches: int
    recompute: str = "none"
    sequence_parallel: bool = False
    schedule: str = ""
    chunks: int = 1
    balance: Balance = "blocks"
    mesh: bool = True

    def __str__(self) -> str:
        """Return what differs from plain data parallelism, in one line."""
        degrees = (("tp", self.tp), ("cp", self.cp), ("ep", self.ep), ("pp", self.pp))
        words = [f"{axis} {size}" for axis, size in degrees if size > 1]
        words.append(f"dp {self.dp}")
        if self.schedule:
            words.append(self.schedule + (f" x{self.chunks}" if self.chunks > 1 else ""))
        words += [f"micro-batch {self.microbatch}", self.sharding]
        words += [f"{self.recompute} recompute"] if self.recompute != "none" else []
        return ", ".join(words + (["sequence parallel"] if self.sequence_parallel else []))

    def applied(self, document: Document) -> Document:
        """Return the scenario ``document`` with this layout; options of its strategy that go with it stay."""
        base = document.data.get("strategy")
        strategy = self._strategy(base if isinstance(base, dict) else {})
        training = {**document.data["training"], "microbatch": self.microbatch, "recompute": self.recompute}
        if not self.mesh:
            training.setdefault("kernels", "eager")
        for section, value in (("strategy", strategy), ("training", training)):
            document = assign(document, (section,), from_mapping(value), PLAN)
        return document

    def _strategy(self, base: dict[str, Any]) -> dict[str, Any]:
        degrees = {"tp": self.tp, "cp": self.cp, "ep": self.ep, "pp": self.pp}
        strategy: dict[str, Any] = {"mesh": {axis: size for axis, size in degrees.items() if size > 1 or axis == "tp"}}
        if not self.mesh and self.tp * self.cp * self.ep * self.pp == 1:
            return {"data_parallel": self._data_parallel(base.get("data_parallel") or {})}
        if isinstance(order := (base.get("mesh") or {}).get("order"), list):
            strategy["mesh"]["order"] = order
        if self.tp > 1:
            tensor = {**(base.get("tensor_parallel") or {}), "sequence_parallel": self.sequence_parallel}
            tensor["overlap"] = self.sequence_parallel and bool(tensor.get("overlap"))
            strategy["tensor_parallel"] = tensor
        if self.cp > 1 and base.get("context_parallel"):
            strategy["context_parallel"] = base["context_parallel"]
        if base.get("expert_parallel"):
            strategy["expert_parallel"] = base["expert_parallel"]
        if self.pp > 1:
            kept = {key: value for key, value in (base.get("pipeline") or {}).items() if key != "microbatch"}
            strategy["pipeline"] = {**kept, "schedule": self.schedule, "chunks": self.chunks, "balance": self.balance}
        return strategy | {"data_parallel": self._data_parallel(base.get("data_parallel") or {})}

    def _data_parallel(self, base: dict[str, Any]) -> dict[str, Any]:
        own = base if base.get("kind", "ddp") == self.sharding else {}
        return {"kind": self.sharding, **OVERLAPPED.get(self.sharding, {}), **own}
