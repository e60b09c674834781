"""The ``profile`` and ``communication`` sections: where seconds come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simdml.calibration.profile import available_profiles
from simdml.documents.quantities import DocumentModel
from simdml.resources import available
from simdml.scenario.schema.names import offering
from simdml.workload.operators import Family

ProfileName = Annotated[str, Field(json_schema_extra=offering(available_profiles()))]
FIT_NAMES = [
    name.removeprefix("communication/") for name in available("calibrate") if name.startswith("communication/")
]
FitName = Annotated[str, Field(json_schema_extra=offering(FIT_NAMES))]


class ProfileSpec(DocumentModel):
    """A profile with some of its seconds scaled, as a calibration on runs of one's own gives."""

    name: ProfileName | None = None
    """A bundled profile or a file; the device's default by default."""
    compute_scale: dict[Family, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """What multiplies the seconds of each family of operators."""


class CommunicationSpec(DocumentModel):
    """The collective library, and the measurements that correct its model."""

    library: Literal["nccl", "gloo"] = "nccl"
    """NCCL, or gloo over TCP; NCCL is PyTorch's choice for GPUs."""
    node: FitName | None = None
    """The fit for groups inside a node (NCCL); that measured on the machines most like the cluster by default."""
    network: FitName | None = None
    """The fit for groups across nodes; that of the cluster's transport by default."""
    version: str | None = None
    """The NCCL whose tables are used."""
