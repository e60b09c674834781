"""Times what the host needs to run layers in Python: tensors are so small that what is computed hardly counts.

    python host.py [--only megatron] [--out readings] [--threads 1 --clock process]

Every case is a layer (``host_layers.py``) and what is done with it. A reading is seconds a kernel: those of twelve
layers, forward or backward, over how many kernels they launch, which PyTorch's dispatcher counts; operations that only
look at a tensor in another way launch none. On a CPU that is what a framework needs to decide on a kernel, to record it
and to call it, without the driver's launch; on a GPU with launches. ``checkpointed`` backward runs every layer forward
once more, and puts random states back before and after. Of a single ``call`` seconds are those of the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import clocks
import host_layers
import measuring
import torch
from host_layers import HIDDEN, LAYERS, TOKENS
from measuring import Case
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

PROGRAM = "host"
DEPTH = 12
CALLS = 200
SECONDS_PER_CASE = 1.0
_SHAPES = ("view", "_unsafe_view", "t", "transpose", "permute", "expand", "squeeze", "unsqueeze", "_reshape_alias")
_PARTS = ("split", "slice", "select", "unbind", "as_strided", "detach", "alias", "empty", "empty_like")
VIEWS = frozenset((*_SHAPES, *_PARTS))


def main() -> None:
    """Measure what the command line asks for."""
    parser = measuring.argument_parser(PROGRAM, __doc__)
    clocks.add_argument(parser)
    arguments = parser.parse_args()
    measuring.leave_to_first_rank()
    device = measuring.choose_device(arguments.device, arguments.threads)
    cases = measuring.choose_cases(all_cases(), arguments)
    clock = clocks.choose(arguments, device)
    journal = measuring.open_journal(PROGRAM, arguments, device, clock=arguments.clock)
    stopping = measuring.stopping(arguments, SECONDS_PER_CASE)
    measuring.run_cases(journal, cases, lambda case: measure_case(case, device, clock, stopping), arguments)


def all_cases() -> list[Case]:
    """Return the cases, layers first."""
    layers = [
        _case(layer, phase, checkpointed=checkpointed)
        for layer in LAYERS
        for checkpointed in (False, True)
        for phase in ("forward", "backward")
    ]
    return layers + [_case(op, "call") for op in _CALLS]


def _case(op: str, phase: str, *, checkpointed: bool = False) -> Case:
    return {"family": "host", "op": op, "phase": phase, "checkpointed": checkpointed, "dtype": "fp32"}


def measure_case(case: Case, device: torch.device, clock: clocks.Clock, stopping: measuring.Stopping) -> dict[str, Any]:
    """Return the reading of a case, seconds a kernel or a call, and of layers how many kernels one launches."""
    if case["phase"] == "call":
        return _measure_call(case, device, clock, stopping)
    stack = Stack(case["op"], device, checkpointed=case["checkpointed"])
    kernels = stack.kernels(case["phase"])

    def sample(count: int) -> list[float]:
        return [stack.seconds(case["phase"], clock) / (DEPTH * kernels) for _ in range(count)]

    sample(5)
    return measuring.reading_entry(measuring.measure(sample, stopping)) | {"kernels": kernels}


class Stack:
    """Twelve layers of one kind."""

    def __init__(self, kind: str, device: torch.device, *, checkpointed: bool) -> None:
        self.kind, self.device = kind, device
        self.layers = nn.ModuleList([LAYERS[kind]() for _ in range(DEPTH)]).to(device)
        if kind == "megatron":
            host_layers.hook_gradients(self.layers)
        self.checkpointed = checkpointed
        self.x = torch.randn(TOKENS, 1, HIDDEN, device=device, requires_grad=True)
        self.gradient = torch.ones(TOKENS, 1, HIDDEN, device=device)
        self.seconds("backward", lambda: 0.0)

    def forward(self) -> Tensor:
        """Run the layers."""
        x = self.x
        for layer in self.layers:
            x = host_layers.Checkpoint.apply(layer, x) if self.checkpointed else layer(x)
        return x

    def seconds(self, phase: str, clock: clocks.Clock) -> float:
        """Return seconds of forward, or of backward, of all layers; the device is idle before and after."""
        marks = [self._mark(clock)]
        out = self.forward()
        marks.append(self._mark(clock))
        if phase == "backward":
            out.backward(self.gradient)
            marks.append(self._mark(clock))
        return marks[-1] - marks[-2]

    def _mark(self, clock: clocks.Clock) -> float:
        measuring.synchronize(self.device)
        return clock()

    def kernels(self, phase: str) -> float:
        """Return how many kernels one layer launches in ``phase``."""
        if self.kind == "compiled":
            return host_layers.compiled_kernels(self.device)[phase]
        forward, backward = _Kernels(), _Kernels()
        with forward:
            out = self.forward()
        with backward:
            out.backward(self.gradient)
        return {"forward": forward, "backward": backward}[phase].count / DEPTH


class _Kernels(TorchDispatchMode):
    """Counts operations that launch a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        self.count += func.overloadpacket.__name__ not in VIEWS
        return func(*args, **(kwargs or {}))


def _operation(device: torch.device) -> Callable[[], object]:
    x = torch.ones(TOKENS, device=device)
    return lambda: torch.add(x, x)


def _recorded_operation(device: torch.device) -> Callable[[], object]:
    x = torch.ones(TOKENS, device=device, requires_grad=True)
    return lambda: torch.add(x, x)


def _view(device: torch.device) -> Callable[[], object]:
    x = torch.ones(TOKENS, device=device)
    return lambda: x.view(2, -1)


def _module(device: torch.device) -> Callable[[], object]:
    module, x = nn.Identity(), torch.ones(TOKENS, device=device)
    return lambda: module(x)


def _function(device: torch.device) -> Callable[[], object]:
    x = torch.ones(TOKENS, device=device, requires_grad=True)
    return lambda: host_layers.Region.apply(x)


def _random_states(device: torch.device) -> Callable[[], object]:
    del device
    return lambda: host_layers.TRACKER.restore(host_layers.TRACKER.all())


_CALLS: dict[str, Callable[[torch.device], Callable[[], object]]] = {
    "operation": _operation,
    "recorded_operation": _recorded_operation,
    "view": _view,
    "module": _module,
    "function": _function,
    "random_states": _random_states,
}


def _measure_call(
    case: Case, device: torch.device, clock: clocks.Clock, stopping: measuring.Stopping
) -> dict[str, Any]:
    call = _CALLS[case["op"]](device)

    def sample(count: int) -> list[float]:
        return [_seconds_of(call, device, clock) for _ in range(count)]

    sample(2)
    return measuring.reading_entry(measuring.measure(sample, stopping))


def _seconds_of(call: Callable[[], object], device: torch.device, clock: clocks.Clock) -> float:
    measuring.synchronize(device)
    begin = clock()
    for _ in range(CALLS):
        call()
    measuring.synchronize(device)
    return (clock() - begin) / CALLS


if __name__ == "__main__":
    main()
