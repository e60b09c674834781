"""What a cluster draws: shares of TDP by what a GPU is doing, and the hosts beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final, Literal

from pydantic import Field

from simdml.cluster.device import Device
from simdml.documents.loading import load_document
from simdml.documents.quantities import DocumentModel, Percent, Power
from simdml.documents.validation import validate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity
from simdml.resources import find
from simdml.scenario.schema.cost import EnergySpec

PUBLISHED: Final = "power/published"
EXPOSED: Final = "exposed "
ACTIVITIES: Final = frozenset(map(str, Activity))
Mark = Literal["vendor", "estimate"]


class _Share(DocumentModel):
    share: Percent
    mark: Mark
    source: str


class _Host(DocumentModel):
    gpus: tuple[str, ...]
    host: Power
    mark: Mark
    source: str


class _PowerFile(DocumentModel):
    shares: dict[Literal["computing", "communicating", "waiting"], _Share]
    hosts: Annotated[tuple[_Host, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Shares of its TDP that a GPU draws, and the watts of a host for each GPU it has (None: unknown)."""

    computing: float
    communicating: float
    waiting: float
    host_w: float | None = None

    def gpu_joules(self, device: Device, account_s: Mapping[str, float]) -> float:
        """Return the energy of a GPU that spends its time so."""
        return device.tdp_watts * sum(self.share(account) * seconds for account, seconds in account_s.items())

    def share(self, account: str) -> float:
        """Return the share of TDP while time is booked to ``account``: kernels, exposed communication, or neither."""
        if account in ACTIVITIES:
            return self.computing
        return self.communicating if account.startswith(EXPOSED) else self.waiting

    @property
    def least_share(self) -> float:
        """The share that a GPU draws at least, whatever it does."""
        return min(self.computing, self.communicating, self.waiting)

    def host_of(self, device: Device) -> float:
        """Return the watts of a host for each GPU of a type.

        Raises:
            InfeasibleError: no rating is known.
        """
        known = _published_hosts()
        if self.host_w is None and device.name not in known:
            raise InfeasibleError(
                f"nothing is known of what a node draws beside its {device.name}",
                hint="add energy: {host: 300 W}, for each GPU",
            )
        return known[device.name] if self.host_w is None else self.host_w


def power_model(spec: EnergySpec) -> PowerModel:
    """Return the model with what ``spec`` gives, and the published shares for the rest."""
    shares = {name: entry.share for name, entry in _published().shares.items()}
    given = {name: value for name in shares if (value := getattr(spec, name)) is not None}
    return PowerModel(**{**shares, **given}, host_w=spec.host)


def published_shares() -> list[tuple[str, float, str, str]]:
    """Return name, share of TDP, mark and source of every activity."""
    return [(name, entry.share, entry.mark, entry.source) for name, entry in _published().shares.items()]


def refuse_unknown_power(device: Device) -> None:
    """Refuse a device whose TDP is not known; raises InfeasibleError."""
    if not device.tdp_watts:
        raise InfeasibleError(f"what {device.name} draws is not known", hint="add power: to its device file")


@cache
def _published() -> _PowerFile:
    return validate(load_document(find("calibrate", PUBLISHED)), _PowerFile)


@cache
def _published_hosts() -> dict[str, float]:
    return {gpu: entry.host for entry in _published().hosts for gpu in entry.gpus}
