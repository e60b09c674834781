"""Where a rank's step goes: every instant of a window booked to one account.

The compute stream is followed through the window. Kernels book to their activity; a wait books to what it waited for,
found by following blame into the stream (or server) that released it. The accounts add up to the window exactly.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from simdml.engine.execution import PEERS, Execution, Kind, Meaning, RankExecution, Segment
from simdml.engine.stream import Stream
from simdml.engine.track import Blame, Entry, Track
from simdml.program.instructions import INPUT

LAUNCH: Final = "launch"
BUBBLE: Final = "bubble"
SERVER: Final = "server wait"

SERVER_WORK: Final = Meaning("sum and update", Kind.BUSY, SERVER)
_DEPTH: Final = 64


def exposed(account: str) -> str:
    """Return the account of time spent waiting for data of ``account`` to move; input is one account, hidden or not."""
    return account if account == INPUT else f"exposed {account}"


class Meanings:
    """What each operation of each track of an execution stands for, and how its time is booked."""

    def __init__(self, execution: Execution) -> None:
        self._booked: dict[int, tuple[dict[str, float], float]] = {}
        self._by_track = {
            id(stream): meanings
            for rank in execution.ranks
            for stream, meanings in zip(rank.streams, rank.meanings, strict=True)
        }

    def of(self, track: Track, entry: Entry) -> Meaning:
        """Return the meaning of ``entry`` of ``track``."""
        return self._by_track[id(track)][entry.operation] if isinstance(track, Stream) else SERVER_WORK

    def booked(self, meaning: Meaning) -> tuple[dict[str, float], float]:
        """Return the seconds of a BUSY operation by account, and their sum; exact, as times are on the tick."""
        found = self._booked.get(id(meaning))
        if found is None:
            accounts: dict[str, float] = defaultdict(float)
            for segment in meaning.segments:
                accounts[account_of(segment)] += segment.seconds
            found = self._booked[id(meaning)] = (accounts, sum(accounts.values()))
        return found


def account_of(segment: Segment) -> str:
    """Return the account that a part of a BUSY operation is booked to."""
    return exposed(segment.account) if segment.kind is Kind.COMMUNICATION else segment.account


def stretch(entry: Entry, seconds: float) -> float:
    """Return how many times longer an operation took than the ``seconds`` its parts say: jitter, or left unfinished."""
    took = entry.end - entry.start
    return took / seconds if seconds and took != seconds else 1.0


@dataclass(slots=True)
class _Ledger:
    meanings: Meanings
    accounts: dict[str, float]

    def book(self, account: str, begin: float, end: float) -> None:
        if end > begin:
            self.accounts[account] += end - begin

    def kernels(self, meaning: Meaning, entry: Entry, low: float, high: float) -> None:
        clock = entry.start
        accounts, seconds = self.meanings.booked(meaning)
        scale = stretch(entry, seconds)
        if scale != 1.0:
            accounts, seconds = {name: part * scale for name, part in accounts.items()}, entry.end - clock
        if clock >= low and clock + seconds <= high:
            for account, part in accounts.items():
                if part:
                    self.accounts[account] += part
            return
        for segment in meaning.segments:
            self.book(account_of(segment), max(clock, low), min(clock + segment.seconds * scale, high))
            clock += segment.seconds * scale

    def released(self, blame: Blame | None, low: float, high: float, depth: int) -> None:
        """Book ``low`` to ``high``, spent until everything before ``blame`` was done."""
        index = blame.track.before(blame.position) if blame is not None else None
        if blame is None or index is None or depth > _DEPTH:
            self.book(PEERS, low, high)
            return
        while high > low:
            if index < 0:
                self.book(PEERS, low, high)
                return
            entry = blame.track.entries[index]
            self.book(PEERS, max(low, entry.end), high)
            high = min(high, entry.end)
            self.entry(blame.track, entry, low, high, depth)
            high = min(high, max(low, entry.ready))
            index -= 1

    def entry(self, track: Track, entry: Entry, low: float, high: float, depth: int = 0) -> None:
        """Book the part of an entry between ``low`` and ``high``."""
        meaning = self.meanings.of(track, entry)
        start = max(entry.start, entry.ready)
        if not isinstance(track, Stream):
            self.book(SERVER, max(low, entry.ready), min(high, entry.end))
        elif meaning.kind in {Kind.BUSY, Kind.JOINT}:
            idle = LAUNCH if meaning.kind is Kind.BUSY else PEERS
            self.book(idle, max(low, entry.ready), min(high, start))
            self.kernels(meaning, entry, low, high)
        elif meaning.kind is Kind.WAIT:
            self.released(entry.blame, max(low, entry.ready), min(high, entry.end), depth + 1)
        else:
            self.book(_idle(meaning), max(low, entry.ready), min(high, start))
            self.book(exposed(meaning.account), max(low, start), min(high, entry.end))


def _idle(meaning: Meaning) -> str:
    if meaning.account in {"push", "pull"}:
        return SERVER
    return BUBBLE if meaning.account == "pp" else PEERS


def account(rank: RankExecution, meanings: Meanings, begin: float, end: float) -> dict[str, float]:
    """Return seconds by account of ``rank`` between ``begin`` and ``end``; they add up to the window."""
    ledger = _Ledger(meanings, defaultdict(float))
    compute = rank.streams[0]
    covered = begin
    for entry in compute.entries:
        if entry.end > begin and entry.ready < end:
            ledger.entry(compute, entry, begin, end)
            covered = max(covered, min(entry.end, end))
    ledger.book(BUBBLE, covered, end)
    return dict(ledger.accounts)
