"""The ``profile`` and ``communication`` sections: where seconds come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simdml.calibration.profile import available_profiles
from simdml.costs.collectives.nccl_forced import ALGORITHMS, PROTOCOLS
from simdml.costs.collectives.steps import STEP_ALGORITHMS
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


AlgorithmName = Annotated[str, Field(json_schema_extra=offering((*ALGORITHMS, *STEP_ALGORITHMS)))]
ProtocolName = Annotated[str, Field(json_schema_extra=offering(PROTOCOLS))]
GroupName = Literal["tp", "cp", "ep", "dp", "dp_shard", "dp_replicate", "dp_node", "dp_all", "embedding", "norm"]


class ForceSpec(DocumentModel):
    """An algorithm or a protocol for some collectives."""

    kind: Literal["all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "all_to_all"] | None = None
    """The kind of collective; every one that has the algorithm by default."""
    group: GroupName | None = None
    """The ranks that take part, by the axis along which they differ; all groups by default."""
    algorithm: AlgorithmName | None = None
    """One or several of NCCL's as NCCL_ALGO has them (Ring,Tree), all but some (^NVLS), or one that NCCL has not."""
    protocol: ProtocolName | None = None
    """One or several of NCCL's, or all but some, as NCCL_PROTO has them: LL, LL128 and Simple."""

    @model_validator(mode="after")
    def _says_something(self) -> ForceSpec:
        if self.algorithm is None and self.protocol is None:
            raise ValueError("an entry of force needs an algorithm, a protocol or both")
        return self


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
    algorithm: AlgorithmName | None = None
    """Of every collective that has it (NCCL_ALGO: Ring, or Ring,Tree, or ^NVLS); NCCL's own choice by default."""
    protocol: ProtocolName | None = None
    """Of every collective (NCCL_PROTO: Simple, or ^LL128); NCCL's own choice by default."""
    force: tuple[ForceSpec, ...] = ()
    """The same for a kind of collective or a group of ranks, first come first served, before the two above."""
    pxn: bool = True
    """Whether GPUs use each other's NICs in an all-to-all (NCCL_P2P_PXN_LEVEL 2, NCCL's default)."""
    interference: Literal["multiprocessors", "none"] = "multiprocessors"
    """Whether NCCL's channels take multiprocessors from kernels beside them."""
    collnet: bool = False
    """Whether NCCL may let switches with SHARP reduce (NCCL_COLLNET_ENABLE); no by default."""
