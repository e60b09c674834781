"""A campaign: one long training run in numbers, ready to be simulated, and its closed forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf

from simdml.studies.goodput.intervals import expected_wall_s, slowdown


@dataclass(frozen=True, slots=True)
class Interruption:
    """A cause of interruptions: ``rate_per_s`` for the whole job, found after ``detection_s``.

    ``replaced`` sends a node to repair; ``planned`` writes a checkpoint first. ``events`` is how many the rate was
    counted from, 0 where it is taken as exact.
    """

    name: str
    rate_per_s: float
    detection_s: float = 0.0
    replaced: bool = True
    planned: bool = False
    events: int = 0


@dataclass(frozen=True, slots=True)
class SlowNodes:
    """Nodes of the job get slow ``rate_per_s`` times a second: steps take ``factor`` times as long until found."""

    rate_per_s: float
    factor: float
    found_after_s: float


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """A checkpoint after every ``interval_s`` of training at the rated speed.

    Training waits ``stall_s``; the checkpoint can be relied on ``write_s`` later, 0 for synchronous ones. ``load_s`` is
    what reading it takes.
    """

    interval_s: float
    stall_s: float
    write_s: float = 0.0
    load_s: float = 0.0

    @property
    def whole_s(self) -> float:
        """From when training stops until the checkpoint can be relied on."""
        return self.stall_s + self.write_s


@dataclass(frozen=True, slots=True)
class Campaign:
    """Training that takes ``work_s`` at the rated speed (infinite: for ever), or is watched for ``period_s``.

    A restart takes ``scheduling_s``, loading the checkpoint and ``warm_up_s``, and failures strike during it too. They
    do not while a failure is looked for or a node is waited for. ``spares`` None means that another node is always at
    hand.
    """

    work_s: float
    checkpoints: Checkpointing
    interruptions: tuple[Interruption, ...] = ()
    period_s: float = inf
    scheduling_s: float = 0.0
    warm_up_s: float = 0.0
    spares: int | None = None
    repair_s: float = 0.0
    slow: SlowNodes | None = None
    causes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = [interruption.name for interruption in self.interruptions]
        object.__setattr__(self, "causes", (*names, "slow node") if self.slow is not None else tuple(names))

    @property
    def restart_s(self) -> float:
        """From the first process to the first step that counts."""
        return self.scheduling_s + self.checkpoints.load_s + self.warm_up_s

    @property
    def mtbf_s(self) -> float:
        """Mean time between failures of the whole job, planned interruptions left out."""
        rate = sum(each.rate_per_s for each in self.interruptions if not each.planned)
        return 1 / rate if rate else inf

    @property
    def detection_s(self) -> float:
        """Mean time until a failure is found."""
        failures = [each for each in self.interruptions if not each.planned]
        rate = sum(each.rate_per_s for each in failures)
        return sum(each.rate_per_s * each.detection_s for each in failures) / rate if rate else 0.0

    @property
    def undisturbed_s(self) -> float:
        """Wall time without any failure: training, and the checkpoints, the last of which is waited for."""
        return self.work_s + (self.last_cycle * self.checkpoints.stall_s + self.checkpoints.whole_s)

    @property
    def last_cycle(self) -> int:
        """Number of the cycle, from 0, that ends training: whole intervals before it."""
        return max(ceil(self.work_s / self.checkpoints.interval_s * (1 - 1e-12)) - 1, 0)

    @property
    def last_interval_s(self) -> float:
        """Training in the last cycle."""
        return self.work_s - self.last_cycle * self.checkpoints.interval_s

    def closed_form_slowdown(self) -> float:
        """Return the mean wall time of a second of training with failures alone: enough spares, no slow nodes."""
        return slowdown(
            self.checkpoints.interval_s,
            self.checkpoints.stall_s,
            self.mtbf_s,
            write_s=self.checkpoints.write_s,
            detection_s=self.detection_s,
            restart_s=self.restart_s,
        )

    def closed_form_wall_s(self) -> float:
        """Return the mean wall time with failures alone; exact for synchronous checkpoints, a limit for others."""
        if self.checkpoints.write_s:
            return self.work_s * self.closed_form_slowdown()
        segments = [self.checkpoints.interval_s + self.checkpoints.stall_s] * self.last_cycle
        segments.append(self.last_interval_s + self.checkpoints.stall_s)
        return expected_wall_s(segments, self.mtbf_s, detection_s=self.detection_s, restart_s=self.restart_s)
