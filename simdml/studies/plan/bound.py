"""Least step time of a layout from its blocks, in microseconds: what most candidates are judged by.

A step of a pipeline that flushes takes, for every device d, at least: what its first stage waits for (forwards of the
stages before), the device's own micro-batches, and what follows its last backward (backwards of the stages before):
all three lie one after another between the first forward and the last backward of the device with stage 0, which
begins no step before it has ended the one before. With equal stages that is the (p - 1)(F + B) / v bubble of Narayanan
et al. (SC21, section 2.2), for backwards in halves (p - 1)(F + I) less what weight gradients fill (arXiv 2401.10241).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdml.studies.plan.blocks import Blocks, Floats
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
        through = self.around + self.hops * hop_s + microbatches * (self.during + sent)
        return float(max(whole.max(), through.max()))


def least_seconds(layout: Layout, blocks: Blocks) -> float | None:
    """Return what a step takes at least; None if the model cannot be cut or ordered so."""
    if layout.pp == 1:
        return SLACK * layout.num_microbatches * float(blocks.seconds.busy.sum())
    order = order_of(layout.schedule, layout.pp, layout.num_microbatches, layout.chunks)
    bounds = None if order is None else _device_bounds(layout, blocks, order)
    if bounds is None:
        return None
    hop_s, receive_s = message_seconds(layout, blocks)
    waits = waits_for_sends(layout.schedule, blocks.habits.overlap_p2p)
    return SLACK * bounds.seconds(layout.num_microbatches, hop_s + receive_s, receive_s + (hop_s if waits else 0.0))


def message_seconds(layout: Layout, blocks: Blocks) -> tuple[float, float]:
    """Return the least seconds of a message to the next stage, and of what is done with it there."""
    distance = layout.tp * layout.cp * (1 if blocks.habits.pp_inside_dp else layout.dp)
    key = ("message", distance)
    if key not in blocks.bounds:
        blocks.bounds[key] = (blocks.hop_s(distance), blocks.receive_s())
    found = blocks.bounds[key]
    assert isinstance(found, tuple)
    return found


def _device_bounds(layout: Layout, blocks: Blocks, order: Order) -> DeviceBounds | None:
    key = (layout.schedule, layout.pp, layout.chunks, layout.balance)
    if key not in blocks.bounds:
        blocks.bounds[key] = _bounds(layout, blocks, order)
    found = blocks.bounds[key]
    assert found is None or isinstance(found, DeviceBounds)
    return found


def _bounds(layout: Layout, blocks: Blocks, order: Order) -> DeviceBounds | None:
    begins = blocks.cuts.begins(order.placement.num_stages, layout.balance)
    if begins is None:
        return None
    stages = (blocks.kernels if order.paired and layout.ep > 1 else blocks.seconds).of_stages(begins)
    count = order.placement.num_stages
    neighbours: Floats = np.full(count, 2.0)
    neighbours[0] -= 1
    neighbours[-1] -= 1
    during: Floats = (stages.forward + stages.inputs) if order.split else stages.busy
    if order.paths > 1:
        # Every device works on a stage from either end, for half the micro-batches each.
        both = (during + during[::-1]) / 2, (stages.busy + stages.busy[::-1]) / 2
        nothing = np.zeros(count)
        return DeviceBounds(nothing, *both, nothing, (neighbours + neighbours[::-1]) / 2)
    back = stages.inputs if order.split else stages.backward
    before: Floats = np.concatenate([[0.0], np.cumsum(stages.forward + back)])[order.first_stages]

    def by_device(of_stages: Floats) -> Floats:
        return np.bincount(order.device_of_stage, of_stages, layout.pp).astype(np.float64)

    hops = 2.0 * order.first_stages.astype(np.float64)
    return DeviceBounds(before, by_device(during), by_device(stages.busy), hops, by_device(neighbours))
