"""What a reader of a prediction should know about the measurements it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simdml.calibration.communication import CommunicationFit
from simdml.calibration.profile import Profile
from simdml.costs.collectives.by_name import Forcing
from simdml.errors import listed
from simdml.program.mesh import Mesh
from simdml.strategies.job import DATA_AXES


def profile_notes(profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Yield a note for each device that borrows the profile of another."""
    for device, profile in profiles.items():
        if device != profile.device:
            yield f"profile {profile.name} was made for {profile.device}; {device} takes its efficiencies"


def forcing_notes(forcing: Forcing) -> Iterator[str]:
    """Yield a note where an algorithm is asked for in general that some kinds of collective do not have."""
    for rule in forcing.rules:
        if len(rule.algorithms) == 1 and rule.kind is None:
            kinds = listed(map(str, rule.kinds))
            yield f"{rule.algorithms[0]} is for {kinds} alone; other collectives are as without it"


def fit_notes(fit: CommunicationFit, mesh: Mesh, nodes: int) -> Iterator[str]:
    """Yield a note where collectives have more ranks than were measured."""
    used = fit.network if nodes > 1 else fit.node
    ranks = max(mesh.size(axis) for axis in ("tp", *DATA_AXES))
    measured = used.provenance.max_ranks
    if ranks > measured:
        yield f"collectives of {ranks:,} ranks are beyond the {measured:,} that {used.name} was fitted on"
