"""What is not as it should be: the entries of ``faults``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from simdml.documents.quantities import DocumentModel, Percent

Factor = Annotated[float, Field(gt=1, le=1000)]


class SlowSpec(DocumentModel):
    """GPUs or NICs that are slower than others of their kind."""

    slow: str
    """What: "gpu 17", "node 3", "node 3 gpu 5" or "node 3 nic 2", from 0; or "2 % of gpus", of nodes, of nics."""
    by: Factor | Literal["lognormal", "exponential"]
    """How many times longer its kernels, or what it sends and receives, take; or how what is above 1 is distributed."""
    mean: Factor | None = None
    """With a distribution, the mean factor."""
    cv: Annotated[float, Field(gt=0, le=10)] | None = None
    """With lognormal, standard deviation over mean of what is above 1."""

    @model_validator(mode="after")
    def _distributed(self) -> SlowSpec:
        needs = {"lognormal": ("mean", "cv"), "exponential": ("mean",)}.get(str(self.by), ())
        missing = [key for key in needs if getattr(self, key) is None]
        surplus = [key for key in ("mean", "cv") if key not in needs and getattr(self, key) is not None]
        if missing:
            raise ValueError(f"by: {self.by} needs {' and '.join(missing)}")
        if surplus:
            raise ValueError(f"{' and '.join(surplus)} does not go with by: {self.by}")
        return self


class JitterSpec(DocumentModel):
    """Kernels of varying length."""

    jitter: Literal["lognormal"]
    """Distribution of a factor of mean 1, drawn for every rank and step."""
    cv: Annotated[float, Field(gt=0, le=10)]
    """Coefficient of variation: standard deviation over mean."""


class SkewSpec(DocumentModel):
    """GPUs of one kind that are not equally fast, of which the slowest sets the pace."""

    skew: Percent
    """Standard deviation of how long kernels take from GPU to GPU; all take as long as on the slowest of the job's."""


def _kind(fault: object) -> str:
    """Return which entry is meant by its first key, so that errors speak of that one alone."""
    if not isinstance(fault, Mapping):
        return type(fault).__name__
    return next((name for key, name in (("jitter", "JitterSpec"), ("skew", "SkewSpec")) if key in fault), "SlowSpec")


FaultSpec = Annotated[
    Annotated[SlowSpec, Tag("SlowSpec")]
    | Annotated[JitterSpec, Tag("JitterSpec")]
    | Annotated[SkewSpec, Tag("SkewSpec")],
    Discriminator(_kind),
]
