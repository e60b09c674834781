"""The ``cost`` and ``energy`` sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simdml.documents.quantities import (
    Bytes,
    CarbonIntensity,
    DataPrice,
    DocumentModel,
    HourlyPrice,
    Percent,
    Power,
    StoragePrice,
)

Date = Annotated[str, Field(pattern=r"^\d{4}(-\d{2}){0,2}$")]


class RentedStorageSpec(DocumentModel):
    """Storage rented while the job runs."""

    size: Bytes
    """How much."""
    price: StoragePrice
    """What it costs."""


class TrafficSpec(DocumentModel):
    """Data moved once, such as the dataset on its way in."""

    size: Bytes
    """How much."""
    price: DataPrice
    """What it costs."""


class CostSpec(DocumentModel):
    """What the cluster costs: a price, or an entry of a price file."""

    gpu_hour: HourlyPrice | dict[str, HourlyPrice] | None = None
    """A GPU for an hour, or by type of GPU; from the price file by default."""
    prices: str | None = None
    """A price file, relative to the scenario; simdml's published prices by default."""
    commitment: str = "on_demand"
    """The commitment whose prices hold."""
    provider: str | None = None
    """The provider; any by default, the newest price first."""
    instance: str | None = None
    """The instance; any by default."""
    date: Date | None = None
    """The newest price that is not later than this day holds; the newest of all by default."""
    server_hour: HourlyPrice | None = None
    """A node without GPUs for an hour."""
    storage: RentedStorageSpec | None = None
    """Storage rented beside it."""
    traffic: TrafficSpec | None = None
    """Data paid for by the byte, for the whole target."""


class EnergySpec(DocumentModel):
    """What the cluster draws."""

    pue: Annotated[float, Field(ge=1.0)] | None = None
    """Energy of the building over that of its computers; without it energy is the computers' alone."""
    carbon: CarbonIntensity | None = None
    """Emissions of the electricity; without it there are none in the result."""
    computing: Percent | None = None
    """Share of its TDP that a computing GPU draws; 100 % by default."""
    communicating: Percent | None = None
    """Share that a GPU draws while it communicates and computes nothing; 50 % by default, an estimate."""
    waiting: Percent | None = None
    """Share that a waiting GPU draws; 20 % by default, an estimate."""
    host: Power | None = None
    """What a node draws beside its GPUs, for each of them; from its rating by default."""
    server: Power | None = None
    """What a node without GPUs draws."""
