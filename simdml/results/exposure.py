"""How much of a step each group of costs is: seconds by group on the paths that can decide how long the step is.

A step ends with the longest of its paths, chains of operations each of which waits for the one before, so that its
derivative by the time of a group is the group's time on the critical path (Baccelli et al., "Synchronization and
Linearity", 1992, section 2.3: a max-plus system is the maximum over paths). A path that is a little shorter becomes
critical when its own groups are slower than thought: communication hidden behind kernels, kernels behind
communication, launches behind either. So beside the critical path there is one path for every stream, what leads to its
first operation, all it does in a step, and what waits for its last; and one that is the host's launches alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from simdml.calibration.cost_groups import CostGroup
from simdml.costs.model import CostModel
from simdml.engine.execution import PEERS, Kind, Meaning, RankExecution, Segment
from simdml.engine.simulator import Recording
from simdml.engine.stream import Stream
from simdml.engine.track import Entry, Track
from simdml.results.accounting import Meanings, stretch
from simdml.results.critical_path import cause, last_entry
from simdml.results.pricing import Kernel, Pricing

RANKS_FOLLOWED: Final = 4
"""Representatives whose streams are followed beside the critical path, evenly spread over all."""

PATHS_KEPT: Final = 8

LEAST_SHARE: Final = 0.1
"""Paths shorter than this part of the step never become the longest and are left out."""

TOLERANCE: Final = 1e-3
"""Part of a path that makes no difference."""

Path = Mapping[CostGroup, float]
"""Seconds by group of costs; what is none's, waiting for nothing in particular, is not counted."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """Seconds by group on the paths of a step of ``step_s``; the first path is the critical one.

    Of the first representative, the seconds of every kernel and the bytes of the largest collective by group.
    """

    step_s: float
    paths: tuple[Path, ...]
    kernel_s: Mapping[Kernel, float]
    payload_bytes: Mapping[CostGroup, float]


def exposure(recording: Recording, costs: CostModel) -> Exposure:
    """Return seconds by group on the paths of the last step of a run that was lowered with ``costs``."""
    begin, end = recording.window
    pricing = Pricing(recording.execution, costs)
    walk = _Walk(recording, pricing, begin, end)
    scale = recording.step_time_s / (end - begin)
    critical = walk.critical()
    others = () if recording.execution.shards or recording.asynchronous else walk.beside()
    paths = _longest(critical, others, end - begin)
    scaled = ({group: seconds * scale for group, seconds in path.items() if seconds} for path in paths)
    first = recording.execution.ranks[0].rank
    return Exposure(recording.step_time_s, tuple(scaled), pricing.kernel_s(first), pricing.payloads(first))


def _longest(critical: Path, others: Iterable[Path], step_s: float) -> list[Path]:
    """Return the critical path and the longest others that can become longer than those before them."""
    kept = [critical]
    sized = ((sum(path.values()), path) for path in others)
    for size, path in sorted(sized, key=lambda each: -each[0]):
        possible = LEAST_SHARE * step_s <= size <= step_s * (1 + TOLERANCE)
        if possible and len(kept) < PATHS_KEPT and not any(_exceeds(other, path) for other in kept):
            kept.append(path)
    return kept


def _exceeds(one: Path, other: Path) -> bool:
    return all(one.get(group, 0.0) >= seconds * (1 - TOLERANCE) for group, seconds in other.items())


class _Walk:
    """Follows paths through the last step of a run, from ``begin`` to ``end``."""

    def __init__(self, recording: Recording, pricing: Pricing, begin: float, end: float) -> None:
        self.recording = recording
        self.pricing = pricing
        self.begin = begin
        self.end = end
        self.meanings = Meanings(recording.execution)
        self._whole: dict[tuple[int, int], dict[CostGroup, float]] = {}

    def critical(self) -> dict[CostGroup, float]:
        """Return seconds by group on the critical path."""
        totals: dict[CostGroup, float] = defaultdict(float)
        self._back(last_entry(self.recording, self.end), self.end, totals)
        return totals

    def beside(self) -> Iterator[dict[CostGroup, float]]:
        """Yield seconds by group on the path of every stream of some ranks."""
        ranks = self.recording.execution.ranks
        for rank in ranks[:: max(1, -(-len(ranks) // RANKS_FOLLOWED))]:
            launch_s = self.pricing.launch_s(rank.rank)
            if launch_s:
                yield {CostGroup.LAUNCHES: launch_s}
            for number in range(len(rank.streams)):
                path = self._of_stream(rank, number)
                if path:
                    yield path

    def _back(self, found: tuple[Track, int] | None, high: float, totals: dict[CostGroup, float]) -> None:
        """Add what leads to ``high``, the end or a point before the end of the entry that was ``found``."""
        while found is not None and high > self.begin:
            track, index = found
            entry = track.entries[index]
            low = max(self.begin, min(entry.start, high))
            if entry.blame is None and entry.ready < entry.start and isinstance(track, Stream):
                self._launched(track, entry, high, totals)
                return
            self._add(track, entry, low, high, totals)
            high, found = low, cause(track, index, entry)

    def _launched(self, track: Stream, entry: Entry, high: float, totals: dict[CostGroup, float]) -> None:
        """Add an entry that the host was late to launch, and the host's time since the step began.

        Of kernels in a row, those after the one whose launch they last waited for, as in ``Stretch.add``.
        """
        segments = self.meanings.of(track, entry).segments
        after = best = clock = 0.0
        kept = 0
        for count, segment in enumerate(reversed(segments), start=1):
            ratio = self.pricing.launch_ratio(track.rank, segment.label, segment.account)
            after += segment.seconds
            clock += segment.seconds * ratio
            if segment.kind is Kind.BUSY and after - clock > best:
                best, kept = after - clock, count
        low = high
        for segment in reversed(segments[len(segments) - kept :]):
            self._divide(track.rank, segment, min(segment.seconds, low - self.begin), totals)
            low -= min(segment.seconds, low - self.begin)
        totals[CostGroup.LAUNCHES] += low - self.begin

    def _add(self, track: Track, entry: Entry, low: float, high: float, totals: dict[CostGroup, float]) -> None:
        if high <= low:
            return
        meaning = self.meanings.of(track, entry)
        if not isinstance(track, Stream):
            totals[CostGroup.SERVERS] += high - low
        elif meaning.kind not in {Kind.BUSY, Kind.JOINT} or not meaning.segments:
            if meaning.kind is not Kind.WAIT:
                totals[self.pricing.message(track.rank, meaning.label, meaning.account)] += high - low
        else:
            whole = self._groups(track.rank, meaning)
            scale = stretch(entry, self.meanings.booked(meaning)[1])
            if low <= entry.start and high >= entry.end:
                for group, seconds in whole.items():
                    totals[group] += seconds * scale
                return
            clock = entry.start
            for segment in meaning.segments:
                seconds = min(clock + segment.seconds * scale, high) - max(clock, low)
                if seconds > 0:
                    self._divide(track.rank, segment, seconds, totals)
                clock += segment.seconds * scale

    def _groups(self, rank: int, meaning: Meaning) -> dict[CostGroup, float]:
        key = (rank, id(meaning))
        found = self._whole.get(key)
        if found is None:
            found = self._whole[key] = defaultdict(float)
            for segment in meaning.segments:
                self._divide(rank, segment, segment.seconds, found)
        return found

    def _divide(self, rank: int, segment: Segment, seconds: float, totals: dict[CostGroup, float]) -> None:
        if segment.kind is Kind.COMMUNICATION:
            totals[self.pricing.message(rank, segment.label, segment.account)] += seconds
            return
        shares = self.pricing.kernels(rank, segment.label, segment.account)
        for group, share in shares.items():
            totals[group] += seconds * share
        if not shares and segment.account == PEERS:
            # Peers that come late to a joint stretch compute for longer.
            totals[CostGroup.PRODUCTS] += seconds

    def _of_stream(self, rank: RankExecution, number: int) -> dict[CostGroup, float] | None:
        """Return the path that does all of a stream's work of the step without a pause."""
        stream = rank.streams[number]
        inside = [(index, entry) for index, entry in enumerate(stream.entries) if self.begin <= entry.start < self.end]
        inside = [each for each in inside if rank.meanings[number][each[1].operation].kind is not Kind.WAIT]
        if not inside:
            return None
        totals: dict[CostGroup, float] = defaultdict(float)
        for _, entry in inside:
            self._add(stream, entry, entry.start, min(entry.end, self.end), totals)
        if number:
            first, entry = inside[0]
            self._back(cause(stream, first, entry), entry.start, totals)
            self._waiting_for(rank, number, totals)
        return totals

    def _waiting_for(self, rank: RankExecution, number: int, totals: dict[CostGroup, float]) -> None:
        """Add what the compute stream does after it last waited for the stream."""
        recorded = {each.label for each in rank.meanings[number] if each.kind is Kind.MARK}
        compute = rank.streams[0]
        after: list[Entry] = []
        for entry in reversed(compute.entries):
            meaning = rank.meanings[0][entry.operation]
            if entry.start < self.begin or (meaning.kind is Kind.WAIT and meaning.label in recorded):
                break
            if entry.end <= self.end and meaning.kind is not Kind.WAIT:
                after.append(entry)
        else:
            return
        if entry.start >= self.begin:
            for entry in after:
                self._add(compute, entry, entry.start, entry.end, totals)
