"""A profile: what measurement told us about one device with one generation of software.

A profile is a named, immutable set of coefficients with, for every number, whether it was measured, derived from a
measurement by a stated rule, or taken from the vendor, and the source it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from simdml.calibration.curves import AttentionCurve, ConvolutionCurve, MatmulCurve, StreamCurve
from simdml.errors import InfeasibleError, UnknownNameError
from simdml.resources import available, find

_FOLDER = "profiles/"


class Mark(StrEnum):
    """How a number came to be: fitted to measurements, carried over from one by a rule, or printed by a vendor."""

    MEASURED = "measured"
    DERIVED = "derived"
    VENDOR = "vendor"


@dataclass(frozen=True, slots=True)
class Provenance:
    """The mark of a number, and the source it names, in full."""

    mark: Mark
    source: str


@dataclass(frozen=True, slots=True)
class Range:
    """Where the coefficients were fitted: from ``low`` to ``high`` in the unit the name of the range states."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MemoryCoefficients:
    """Device memory taken beside tensors, in bytes.

    Reserved memory of activations and buffers is ``allocator_factor`` x their allocated peak.

    ``context_bytes`` is the driver's context with loaded kernels, ``communicator_bytes`` what the collective
    library adds at its first collective, ``workspace_bytes`` the matmul library's per handle and stream.
    """

    context_bytes: float
    communicator_bytes: float
    workspace_bytes: float
    allocator_factor: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Coefficients by family and precision, how sure they are, and what they do not claim.

    ``spread`` is the standard deviation of ln(measured / predicted) of single kernels of a family.
    ``host_launch_s`` is the time the framework's host thread takes to issue one kernel. ``compute_scale``
    multiplies the seconds of a family: 1 as fitted; a scenario may calibrate it, an interval may sample it.
    ``batch_norm`` is the normalization of images, where it differs from that of rows.
    ``provenance`` maps the dotted path of every number in the file to where it came from.
    """

    name: str
    devices: tuple[str, ...]
    default: bool
    software: str
    date: str
    sources: Mapping[str, str]
    does_not_claim: tuple[str, ...]
    validity: Mapping[str, Range]
    matmul: Mapping[str, MatmulCurve]
    batched_matmul: Mapping[str, MatmulCurve]
    convolution: Mapping[str, ConvolutionCurve]
    attention: Mapping[str, AttentionCurve]
    streams: Mapping[str, StreamCurve]
    host_launch_s: float
    memory: MemoryCoefficients
    spread: Mapping[str, float]
    provenance: Mapping[str, Provenance] = field(repr=False)
    compute_scale: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    batch_norm: StreamCurve | None = None

    @property
    def device(self) -> str:
        """The device the profile was made for; the other ``devices`` share its kernels."""
        return self.devices[0]

    def scale(self, family: str) -> float:
        """Return what multiplies the seconds of ``family``."""
        return self.compute_scale.get(family, 1.0)

    def scaled(self, compute_scale: Mapping[str, float]) -> Profile:
        """Return the profile with the seconds of some families multiplied, on top of earlier scales.

        Raises InfeasibleError unless every scale is above zero.
        """
        for family, scale in compute_scale.items():
            if not scale > 0.0:
                raise InfeasibleError(f"compute_scale of {family} must be above 0, got {scale}")
        combined = dict(self.compute_scale)
        for family, scale in compute_scale.items():
            combined[str(family)] = self.scale(family) * scale
        return replace(self, compute_scale=MappingProxyType(combined))


def available_profiles() -> tuple[str, ...]:
    """Return the names of bundled profiles, sorted."""
    return tuple(name.removeprefix(_FOLDER) for name in available("calibrate") if name.startswith(_FOLDER))


@cache
def load_profile(name: str) -> Profile:
    """Return the bundled profile ``name``, or the one in the file at that path.

    Raises:
        UnknownNameError: no such profile.
        DocumentError: the file is not a profile.
    """
    # pydantic is loaded for files alone.
    from simdml.calibration.profile_file import read_profile

    known = available_profiles()
    if name in known:
        return read_profile(find("calibrate", _FOLDER + name))
    if name.endswith((".yaml", ".yml")):
        return read_profile(find("calibrate", name))
    raise UnknownNameError("profile", name, known)


@cache
def default_profile(device_name: str) -> Profile:
    """Return the default profile of a device; raises UnknownNameError where there is none."""
    for name in available_profiles():
        if _mentions(name, device_name):
            profile = load_profile(name)
            if profile.default and device_name in profile.devices:
                return profile
    profiles = [load_profile(name) for name in available_profiles()]
    covered = sorted({device for profile in profiles for device in profile.devices if profile.default})
    raise UnknownNameError(
        "profile for device",
        device_name,
        covered,
        hint=f"devices with a profile: {', '.join(covered)}; or name a profile in the scenario",
    )


def _mentions(profile_name: str, device_name: str) -> bool:
    """Whether a bundled file may be about a device: reading all of them costs start-up time."""
    return device_name in find("calibrate", _FOLDER + profile_name).read_text(encoding="utf-8")
