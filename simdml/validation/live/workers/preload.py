"""Imported once by the fork server: what every job needs, so that no rank imports it again."""

from __future__ import annotations

import torch
import torch.distributed.rpc
import torch.nn.parallel

# The first optimizer imports torch's compiler, which takes seconds.
torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
