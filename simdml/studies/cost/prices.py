"""Prices of rented GPUs: files of them, and the entry that holds for a GPU, a commitment and a day."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from simdml.cluster.device import find_device
from simdml.documents.document import Document
from simdml.documents.loading import load_document
from simdml.documents.quantities import Count, DocumentModel, HourlyPrice
from simdml.documents.validation import validate
from simdml.errors import InfeasibleError
from simdml.resources import find
from simdml.scenario.schema.cost import CostSpec, Date

PUBLISHED, ENTRIES_SHOWN = "prices/published", 6


class Price(DocumentModel):
    """What an ``instance`` with so many GPUs costs, with whom, bound to what, since when."""

    provider: str
    instance: str
    gpu: str
    gpus: Count
    price: HourlyPrice
    commitment: str
    date: Date
    source: str
    mark: Literal["checked", "recalled", "own"] = "own"

    @property
    def gpu_usd_per_s(self) -> float:
        """One GPU for one second."""
        return self.price / self.gpus

    def __str__(self) -> str:
        """Return the entry in words."""
        return f"{self.provider} {self.instance}, {self.commitment}, {self.date}, {self.mark}"


class _PriceFile(DocumentModel):
    prices: Annotated[tuple[Price, ...], Field(min_length=1)]


def read_prices(path: Path) -> tuple[Price, ...]:
    """Return the entries of a price file, GPUs by their full names.

    Raises:
        DocumentError: the file is not one of prices.
        UnknownNameError: a GPU that does not exist.
    """
    document = load_document(path)
    entries = validate(document, _PriceFile).prices
    return tuple(_named(document, index, entry) for index, entry in enumerate(entries))


def price_file(name: str | None) -> Path:
    """Return the file at ``name``, the published prices without one."""
    return find("calibrate", PUBLISHED if name is None else name)


def price_of(gpu: str, spec: CostSpec, prices: Iterable[Price]) -> Price:
    """Return the newest entry for ``gpu`` under the conditions of ``spec``; the first of the file among equals.

    Raises:
        InfeasibleError: there is none; with what there is for this GPU, and what to add.
    """
    of_gpu = [entry for entry in prices if entry.gpu == gpu]
    holding = [entry for entry in of_gpu if _holds(entry, spec)]
    if holding:
        return max(holding, key=lambda entry: entry.date)
    wanted = " ".join(filter(None, (spec.provider, spec.instance, spec.commitment, spec.date and f"by {spec.date}")))
    there = f"there is {'; '.join(map(str, of_gpu[:ENTRIES_SHOWN]))}; " if of_gpu else ""
    raise InfeasibleError(
        f"no price of {gpu} ({wanted})",
        hint=f"{there}add cost: {{gpu_hour: ... USD/h}}, or cost: {{prices: ./mine.yaml}}, a file with an entry for it",
    )


def _holds(entry: Price, spec: CostSpec) -> bool:
    return (
        entry.commitment == spec.commitment
        and spec.provider in {None, entry.provider}
        and spec.instance in {None, entry.instance}
        and (spec.date is None or entry.date <= spec.date)
    )


def _named(document: Document, index: int, entry: Price) -> Price:
    place = document.place(("prices", index, "gpu"))
    return entry.model_copy(update={"gpu": find_device(entry.gpu, place).name})
