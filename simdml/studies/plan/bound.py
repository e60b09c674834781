"""Least step time of a layout from its blocks, in microseconds: what most candidates are judged by.

A step of a pipeline that flushes takes, for every device d, at least: what its first stage waits for (forwards of the
stages before), the device's own micro-batches, and what follows its last backward (backwards of the stages before):
all three lie one after another between the first forward and the last backward of the device with stage 0, which
begins no step before it has ended the one before. With equal stages that is the (p - 1)(F + B) / v bubble of Narayanan
et al. (SC21, section 2.2), for backwards in halves (p - 1)(F + I) less what weight gradients fill (arXiv 2401.10241).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from simdml.studies.plan.blocks import Blocks, Floats, Indices, Seconds
from simdml.studies.plan.holding import SLACK
from simdml.studies.plan.layout import Layout
from simdml.studies.plan.schedules import Order, order_of, waits_for_sends


@dataclass(frozen=True, slots=True)
class DeviceBounds:
    """Least seconds of every device: before and after its work, and for each micro-batch.

    ``busy`` is all that it does for a micro-batch, ``during`` leaves out what may follow its last backward. Messages
    come on top: ``hops`` before and after, ``sends`` for a micro-batch.
    """

    around: Floats
    during: Floats
    busy: Floats
    hops: Floats
    sends: Floats

    def seconds(self, microbatches: int, hop_s: float, send_s: float) -> float:
        """Return the bound of a step of so many micro-batches, with the seconds of each message."""
        sent = self.sends * send_s
        whole = microbatches * (self.busy + sent)
        # The first message in and the last one out are both on the way and the device's own.
        messages = np.maximum(self.hops * hop_s - (self.hops > 0) * send_s, 0.0)
        through = self.around + messages + microbatches * (self.during + sent)
        return float(max(whole.max(), through.max()))


def least_seconds(layout: Layout, blocks: Blocks) -> float | None:
    """Return what a step takes at least; None if the model cannot be cut or ordered so."""
    if layout.pp == 1:
        return SLACK * layout.num_microbatches * max(float(row.seconds.busy.sum()) for row in blocks.rows)
    order = order_of(layout.schedule, layout.pp, layout.num_microbatches, layout.chunks)
    bounds = None if order is None else _device_bounds(layout, blocks, order)
    if bounds is None:
        return None
    hop_s, receive_s = message_seconds(layout, blocks)
    waits = waits_for_sends(layout.schedule, blocks.habits.overlap_p2p)
    return SLACK * bounds.seconds(layout.num_microbatches, hop_s + receive_s, receive_s + (hop_s if waits else 0.0))


def message_seconds(layout: Layout, blocks: Blocks) -> tuple[float, float]:
    """Return the least seconds of a message to the next stage, and of what is done with it there."""
    distance = distance_of(layout, blocks)
    key = ("message", distance)
    if key not in blocks.bounds:
        blocks.bounds[key] = (blocks.hop_s(distance), blocks.receive_s())
    found = blocks.bounds[key]
    assert isinstance(found, tuple)
    return found


def distance_of(layout: Layout, blocks: Blocks) -> int:
    """Return by how many ranks the stages of a pipeline lie apart."""
    return layout.tp * layout.cp * (1 if blocks.habits.pp_inside_dp else layout.dp)


def fastest_stages(layout: Layout, blocks: Blocks, order: Order, begins: Indices) -> Seconds:
    """Return the seconds of stages, each at the fastest pace that its ranks have."""
    every = blocks.stages(begins, kernels_alone=order.paired and layout.ep > 1)
    if len(every) == 1 or order.paths > 1:
        return _least(every, np.ones((len(begins), len(every)), dtype=np.bool_))
    present = blocks.present(distance_of(layout, blocks), layout.pp)[order.device_of_stage]
    return _least(every, present)


def _least(every: Sequence[Seconds], present: NDArray[np.bool_]) -> Seconds:
    def least(name: str) -> Floats:
        found: Floats = np.where(present, np.array([getattr(row, name) for row in every]).T, np.inf).min(axis=1)
        return found

    return Seconds(*(least(part.name) for part in fields(Seconds)))


def _device_bounds(layout: Layout, blocks: Blocks, order: Order) -> DeviceBounds | None:
    several = len(blocks.rows) > 1 and distance_of(layout, blocks)
    key = (layout.schedule, layout.pp, layout.chunks, layout.balance, several)
    if key not in blocks.bounds:
        blocks.bounds[key] = _bounds(layout, blocks, order)
    found = blocks.bounds[key]
    assert found is None or isinstance(found, DeviceBounds)
    return found


def _bounds(layout: Layout, blocks: Blocks, order: Order) -> DeviceBounds | None:
    begins = blocks.cuts.begins(order.placement.num_stages, layout.balance)
    if begins is None:
        return None
    count = order.placement.num_stages
    neighbours: Floats = np.full(count, 2.0)
    neighbours[0] -= 1
    neighbours[-1] -= 1
    during, busy = _of_devices(layout, blocks, order, begins)
    if order.paths > 1:
        nothing = np.zeros(count)
        return DeviceBounds(nothing, during, busy, nothing, (neighbours + neighbours[::-1]) / 2)
    stages = fastest_stages(layout, blocks, order, begins)
    back = stages.inputs if order.split else stages.backward
    around: Floats = np.concatenate([[0.0], np.cumsum(stages.forward + back)])[order.first_stages]
    hops = 2.0 * order.first_stages.astype(np.float64)
    return DeviceBounds(around, during, busy, hops, np.bincount(order.device_of_stage, neighbours).astype(np.float64))


def _of_devices(layout: Layout, blocks: Blocks, order: Order, begins: Indices) -> tuple[Floats, Floats]:
    """Return what a micro-batch takes on every device, up to its last backward and in all, at its slowest pace."""
    rows = blocks.stages(begins, kernels_alone=order.paired and layout.ep > 1)
    during = [_by_device(row.forward + row.inputs if order.split else row.busy, order) for row in rows]
    busy = [_by_device(row.busy, order) for row in rows]
    if len(rows) == 1:
        return during[0], busy[0]
    present = blocks.present(distance_of(layout, blocks), layout.pp)
    slowest = (np.where(present, np.array(each).T, 0.0).max(axis=1) for each in (during, busy))
    first, second = slowest
    return first, second


def _by_device(of_stages: Floats, order: Order) -> Floats:
    if order.paths > 1:
        # Every device works on a stage from either end, for half the micro-batches each.
        both: Floats = (of_stages + of_stages[::-1]) / 2
        return both
    return np.bincount(order.device_of_stage, of_stages).astype(np.float64)
