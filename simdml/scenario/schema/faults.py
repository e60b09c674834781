"""What is not as it should be: the entries of ``faults``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from simdml.documents.quantities import DocumentModel

Factor = Annotated[float, Field(gt=1, le=1000)]


class SlowSpec(DocumentModel):
    """GPUs or NICs that are slower than others of their kind."""

    slow: str
    """What: "gpu 17", "node 3", "node 3 gpu 5" or "node 3 nic 2", counted from 0."""
    by: Factor
    """How many times longer its kernels, or what it sends and receives, take."""


class JitterSpec(DocumentModel):
    """Kernels of varying length."""

    jitter: Literal["lognormal"]
    """Distribution of a factor of mean 1, drawn for every rank and step."""
    cv: Annotated[float, Field(gt=0, le=10)]
    """Coefficient of variation: standard deviation over mean."""


def _kind(fault: object) -> str:
    """Return which entry is meant by its first key, so that errors speak of that one alone."""
    jitter = "jitter" in fault if isinstance(fault, Mapping) else isinstance(fault, JitterSpec)
    return "JitterSpec" if jitter else "SlowSpec"


FaultSpec = Annotated[
    Annotated[SlowSpec, Tag("SlowSpec")] | Annotated[JitterSpec, Tag("JitterSpec")], Discriminator(_kind)
]
