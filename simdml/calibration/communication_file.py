"""Communication fits as YAML files, read strictly."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from simdml.calibration.communication import CommunicationFit, GlooFit, NcclFit, Provenance, Wire
from simdml.documents.loading import load_document
from simdml.documents.quantities import Bandwidth, Bytes, Count, CountOrZero, DocumentModel, SecondsOrZero
from simdml.documents.validation import validate
from simdml.errors import DocumentError, Place, UnknownNameError
from simdml.resources import available, find

_FOLDER = "communication/"
_Positive = Annotated[float, Field(gt=0)]


class _ProvenanceFile(DocumentModel):
    sources: tuple[str, ...]
    rows: CountOrZero
    small_log_spread: Annotated[float, Field(ge=0)]
    large_log_spread: Annotated[float, Field(ge=0)]
    min_bytes: Bytes
    max_bytes: Bytes
    max_ranks: Count
    does_not_claim: str = ""

    def provenance(self) -> Provenance:
        return Provenance(**{name: getattr(self, name) for name in type(self).model_fields})


class _WireFile(DocumentModel):
    scale: _Positive
    ramp: SecondsOrZero

    def wire(self) -> Wire:
        return Wire(self.scale, self.ramp)


class _NcclFile(DocumentModel):
    library: Literal["nccl"]
    overhead: SecondsOrZero
    latency_scale: _Positive
    bandwidth_scale: _Positive
    nvls_scale: _Positive
    ramp: SecondsOrZero
    nvls_ramp: SecondsOrZero | None = None
    ll: _WireFile | None = None
    ll128: _WireFile | None = None
    nic: Bandwidth | None = None
    provenance: _ProvenanceFile

    def fit(self, name: str) -> NcclFit:
        return NcclFit(
            name,
            self.overhead,
            self.latency_scale,
            self.bandwidth_scale,
            self.nvls_scale,
            self.ramp,
            self.provenance.provenance(),
            math.inf if self.nic is None else self.nic,
            self.nvls_ramp,
            self.ll.wire() if self.ll else None,
            self.ll128.wire() if self.ll128 else None,
        )


class _GlooFile(DocumentModel):
    library: Literal["gloo"]
    overhead: SecondsOrZero
    step: SecondsOrZero
    connection: Bandwidth
    reduce: Bandwidth
    staging: Bandwidth
    provenance: _ProvenanceFile

    def fit(self, name: str) -> GlooFit:
        return GlooFit(
            name,
            self.overhead,
            self.step,
            self.connection,
            self.reduce,
            self.staging,
            self.provenance.provenance(),
        )


class _FitFile(DocumentModel):
    fit: Annotated[_NcclFile | _GlooFile, Field(discriminator="library")]


def load_nccl_fit(name: str) -> NcclFit:
    """Return the NCCL fit of a bundled name (``"nccl_a100_nvswitch"``) or of a file.

    Raises:
        UnknownNameError: there is no such fit.
        DocumentError: the file is not a fit of NCCL.
    """
    fit = _load(name)
    if not isinstance(fit, NcclFit):
        raise DocumentError(f"{name} is a fit of gloo, not of NCCL", place=Place(name))
    return fit


def load_gloo_fit(name: str = "gloo_tcp") -> GlooFit:
    """Return the gloo fit of a bundled name or of a file; raises as :func:`load_nccl_fit`."""
    fit = _load(name)
    if not isinstance(fit, GlooFit):
        raise DocumentError(f"{name} is a fit of NCCL, not of gloo", place=Place(name))
    return fit


def load_communication_fit(node: str, network: str) -> CommunicationFit:
    """Return the pair of NCCL fits called ``node`` and ``network``; raises as :func:`load_nccl_fit`."""
    return CommunicationFit(load_nccl_fit(node), load_nccl_fit(network))


def _load(name: str) -> NcclFit | GlooFit:
    path = Path(name)
    if path.is_file():
        return _load_file(path)
    known = available("calibrate")
    if _FOLDER + name not in known:
        bundled = [each.removeprefix(_FOLDER) for each in known if each.startswith(_FOLDER)]
        raise UnknownNameError("communication fit", name, bundled)
    return _load_file(find("calibrate", _FOLDER + name))


@lru_cache(maxsize=64)
def _load_file(path: Path) -> NcclFit | GlooFit:
    document = load_document(path)
    return validate(document, _FitFile).fit.fit(path.stem)
