"""The orders of torch.distributed.pipelining's multi-stage schedules, without processes or modules."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch.distributed.pipelining import schedules

TORCH = {
    "looped_bfs": schedules.ScheduleLoopedBFS,
    "interleaved_1f1b": schedules.ScheduleInterleaved1F1B,
    "interleaved_zero_bubble": schedules.ScheduleInterleavedZeroBubble,
    "zb_v": schedules.ScheduleZBVZeroBubble,
    "dual_pipe_v": schedules.ScheduleDualPipeV,
}


@dataclass
class MockStage:
    """As much of a PipelineStage as the schedules' constructors look at."""

    group_size: int
    num_stages: int
    stage_index: int
    group_rank: int = 0
    group: object = None
    has_backward: bool = True
    device: str = "cpu"
    submod: torch.nn.Module = field(default_factory=torch.nn.Identity)
    stage_index_to_group_rank: object = None

    @property
    def is_first(self):
        return self.stage_index == 0

    @property
    def is_last(self):
        return self.stage_index == self.num_stages - 1


def torch_schedule(name, depth, microbatches, chunks):
    """Return torch's schedule object for device 0; ValueError where it refuses."""
    stages = [MockStage(depth, depth * chunks, chunk * depth) for chunk in range(chunks)]
    return TORCH[name](stages, microbatches, loss_fn=lambda *_: 0)


def torch_order(name, depth, microbatches, chunks):
    """Return torch's actions by device, as it prints them, idle slots left out."""
    order = torch_schedule(name, depth, microbatches, chunks).pipeline_order
    return [" ".join(str(action) for action in order[device] if action is not None) for device in range(depth)]
