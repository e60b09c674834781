"""Kernels that are slower while a collective's kernel runs beside them on the same device.

Which kernels run beside which collectives is known once a job has been simulated, and then it is simulated again with
kernels that are slower by as much: those of one activity (forward, backward, recomputation) together, each by what its
kind loses times the part of the activity's time that a collective ran beside it. A collective counts from when its
stream came to it, as its blocks wait for peers on the device. Where kernels that take longer have more collectives
beside them, this is repeated once. It is first-order: kernels of one activity share what only some of them lose, the
first rank of a program stands for all of that program on equally fast devices, and kernels do not slow collectives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from simdml.costs.interference import Interference, TakesChannels
from simdml.costs.model import CostModel
from simdml.engine.conditions import AS_RATED, Alike, Conditions, Slowing
from simdml.engine.execution import Execution, Kind, Meaning, RankExecution
from simdml.engine.outline import is_beside
from simdml.engine.simulator import Recording
from simdml.engine.track import Entry
from simdml.program.instructions import Activity, Collective

NOTICED: Final = 2e-3
"""Kernels that are slower by less than this are left as they are."""
SETTLED: Final = 5e-3
"""Factors that change by less than this are not looked at again."""
MOST_REPEATS: Final = 2

Span = tuple[float, float]
Taken = tuple[float, float, int]
"""From when to when a collective was on a device, and its channels."""
Simulate = Callable[[Conditions], Recording]


@dataclass(slots=True)
class Overlap:
    """Seconds of kernels of one activity in a step, those beside a collective, and channels times such seconds."""

    busy_s: float = 0.0
    beside_s: float = 0.0
    channel_s: float = 0.0


Slowings = Mapping[Alike, tuple[Slowing, ...]]
Overlaps = dict[Alike, dict[Activity, Overlap]]
"""By which ranks, and by activity."""


def simulate_together(simulate: Simulate, costs: CostModel, conditions: Conditions) -> Recording:
    """Return the recording of a job under ``conditions``, kernels slowed by the collectives beside them.

    Stochastic and asynchronous runs are left as they are, whose kernels run beside something else in every step.
    """
    recording = simulate(conditions)
    if not costs.interference or recording.asynchronous or conditions.jitter_cv:
        return recording
    alone = overlaps(recording, costs, conditions)
    slowing: Slowings = {}
    found, least = alone, NOTICED
    for _ in range(MOST_REPEATS):
        wanted = _slowing(costs, alone, found)
        if not _differ(wanted, slowing, least):
            break
        slowing, least = wanted, SETTLED
        recording = simulate(replace(conditions, beside=slowing))
        found = overlaps(recording, costs, conditions)
    return recording


def overlaps(recording: Recording, costs: CostModel, conditions: Conditions = AS_RATED) -> Overlaps:
    """Return what ran beside collectives in the last step: of the first rank of every program and kind of device."""
    execution = recording.execution
    firsts: dict[Alike, int] = {}
    for position in sorted(range(len(execution.ranks)), key=lambda position: execution.ranks[position].rank):
        rank = execution.ranks[position]
        gpu = execution.program.device(rank.rank)
        alike = Alike(rank.program_class, execution.cluster.device(gpu).name, conditions.slowdown(gpu))
        firsts.setdefault(alike, position)
    return {
        alike: _overlaps_of(execution, execution.ranks[position], costs, recording.own_window(position))
        for alike, position in firsts.items()
    }


def _overlaps_of(execution: Execution, rank: RankExecution, costs: CostModel, window: Span) -> dict[Activity, Overlap]:
    channels = _channels(execution, rank, costs)
    beside = _merged(_collectives(rank, channels, window)) if channels else []
    found: dict[Activity, Overlap] = {}
    if sum(end - begin for begin, end, _ in beside) < NOTICED * (window[1] - window[0]):
        return found
    sums: dict[int, dict[Activity, float]] = {}
    index = 0
    for entry in rank.streams[0].entries:
        meaning = rank.meanings[0][entry.operation]
        if entry.start < window[0] or entry.end > window[1] or meaning.kind not in {Kind.BUSY, Kind.JOINT}:
            continue
        if id(meaning) not in sums:
            sums[id(meaning)] = _seconds(meaning)
        for activity, seconds in sums[id(meaning)].items():
            found.setdefault(activity, Overlap()).busy_s += seconds
        while index < len(beside) and beside[index][1] <= entry.start:
            index += 1
        if index < len(beside) and beside[index][0] < entry.end:
            _overlap(entry.start, meaning, beside, index, found)
    return found


def _seconds(meaning: Meaning) -> dict[Activity, float]:
    """Return seconds of kernels by activity."""
    sums: dict[Activity, float] = {}
    for segment in meaning.segments:
        activity = _ACTIVITIES.get(segment.account)
        if activity is not None and segment.kind is Kind.BUSY:
            sums[activity] = sums.get(activity, 0.0) + segment.seconds
    return sums


def _overlap(
    clock: float, meaning: Meaning, beside: Sequence[Taken], index: int, found: Mapping[Activity, Overlap]
) -> None:
    """Add what of an operation that begins at ``clock`` is beside collectives from number ``index`` on."""
    for segment in meaning.segments:
        begin, clock = clock, clock + segment.seconds
        while index < len(beside) and beside[index][1] <= begin:
            index += 1
        activity = _ACTIVITIES.get(segment.account)
        if activity is None or segment.kind is not Kind.BUSY:
            continue
        following = index
        while following < len(beside) and beside[following][0] < clock:
            since, until, taken = beside[following]
            together = min(until, clock) - max(since, begin)
            found[activity].beside_s += together
            found[activity].channel_s += together * taken
            following += 1


def _channels(execution: Execution, rank: RankExecution, costs: CostModel) -> dict[str, int]:
    """Return the channels of every group whose collectives have a stream beside the kernels' own."""
    program_class = execution.program.classes[rank.program_class]
    found: dict[str, int] = {}
    for stream in program_class.streams[1:]:
        for instruction, _ in stream.counts:
            if not isinstance(instruction, Collective) or instruction.transport or instruction.group in found:
                continue
            library = costs.collectives
            if isinstance(library, TakesChannels):
                members = execution.table.members(instruction, rank.rank).tolist()
                found[instruction.group] = library.channels(tuple(members))
    return found


def _collectives(rank: RankExecution, channels: Mapping[str, int], window: Span) -> Iterator[Taken]:
    """Yield when the streams beside the first had a collective on the device, and its channels."""
    low, high = window
    for stream, meanings in zip(rank.streams[1:], rank.meanings[1:], strict=True):
        if is_beside(stream.name):
            continue
        for entry in stream.entries:
            if entry.end <= low or entry.ready >= high:
                continue
            for group, begin, end in _transfers(entry, meanings[entry.operation]):
                taken = channels.get(group, 0)
                if taken and end > low and begin < high:
                    yield max(begin, low), min(end, high), taken


def _transfers(entry: Entry, meaning: Meaning) -> Iterator[tuple[str, float, float]]:
    if meaning.kind is Kind.COMMUNICATION:
        yield meaning.account, entry.ready, entry.end
    elif meaning.kind in {Kind.BUSY, Kind.JOINT}:
        clock = entry.start
        for segment in meaning.segments:
            if segment.kind is Kind.COMMUNICATION:
                yield segment.account, clock, clock + segment.seconds
            clock += segment.seconds


def _merged(spans: Iterable[Taken]) -> list[Taken]:
    """Return spans in order of time without overlaps; of several at once the first one counts."""
    merged: list[Taken] = []
    for begin, end, taken in sorted(spans):
        since = max(begin, merged[-1][1]) if merged else begin
        if end > since:
            merged.append((since, end, taken))
    return merged


_ACTIVITIES: Final = {str(activity): activity for activity in Activity}


def _slowing(costs: CostModel, alone: Overlaps, found: Overlaps) -> Slowings:
    """Return by what factor the kernels of each activity take longer than they would ``alone``."""
    slowing: dict[Alike, tuple[Slowing, ...]] = {}
    for alike, activities in found.items():
        sharing = costs.interference.get(alike.device)
        slowing[alike] = () if sharing is None else tuple(_slower(sharing, alone[alike], activities))
    return slowing


def _slower(
    sharing: Interference, alone: Mapping[Activity, Overlap], found: Mapping[Activity, Overlap]
) -> Iterator[Slowing]:
    for activity, overlap in found.items():
        busy_s = alone[activity].busy_s if activity in alone else 0.0
        if busy_s and overlap.beside_s:
            loss = sharing.loss(overlap.channel_s / overlap.beside_s)
            part = overlap.beside_s / busy_s
            yield Slowing(activity, 1.0 + loss.products * part, 1.0 + loss.others * part)


def _differ(wanted: Slowings, used: Slowings, least: float) -> bool:
    """Return whether a factor is another by ``least`` or more."""
    for alike, slowings in wanted.items():
        before = {each.activity: each for each in used.get(alike, ())}
        for each in slowings:
            was = before.get(each.activity, Slowing(each.activity, 1.0, 1.0))
            if max(abs(each.products - was.products), abs(each.others - was.others)) >= least:
                return True
    return False
