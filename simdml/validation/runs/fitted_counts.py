"""How many coefficients of every GPU generation were fitted to whole training steps, and how many to kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from simdml.calibration.profile import Mark, Profile, Provenance, available_profiles, load_profile
from simdml.cluster.device import find_device
from simdml.documents.loading import load_document
from simdml.resources import find
from simdml.validation.runs.coefficients import value_at

MOST_OF_WHOLE_STEPS: Final = 15
"""A generation may have no more coefficients that were fitted to whole steps or chosen by how well these come out."""

_WHOLE_STEPS: Final = re.compile(r"training runs|whole networks|whole steps|step times|single-GPU rows|images/s", re.I)

COLUMNS: Final = ("generation", "to whole steps", "to kernels", "by a rule", "by a vendor", "which, of whole steps")


@dataclass(frozen=True, slots=True)
class GenerationCounts:
    """Coefficients of the profiles of one generation, each value counted once.

    ``whole_steps`` names those fitted to whole training steps or chosen by these, here or where they were carried over
    from; ``kernels`` were fitted to kernels, ``rule`` were derived from others or estimated, ``vendor`` printed.
    """

    generation: str
    whole_steps: tuple[str, ...]
    kernels: int
    rule: int
    vendor: int


def counts_by_generation() -> list[GenerationCounts]:
    """Return the counts of every generation that a bundled profile is of, the oldest first."""
    found: dict[str, dict[tuple[str, float], Provenance]] = {}
    profiles = [load_profile(name) for name in available_profiles()]
    for profile in sorted(profiles, key=lambda each: find_device(each.devices[0]).compute_capability):
        of_generation = found.setdefault(find_device(profile.devices[0]).arch, {})
        for coefficient, provenance in _coefficients(profile).items():
            # One that was fitted in one of its profiles was fitted, wherever else it was carried over to.
            if provenance.mark is Mark.MEASURED or coefficient not in of_generation:
                of_generation[coefficient] = provenance
    return [_counted(generation, coefficients) for generation, coefficients in found.items()]


def counts_cells(each: GenerationCounts) -> tuple[str, ...]:
    """Return a generation's cells, one for each of ``COLUMNS``."""
    numbers = (len(each.whole_steps), each.kernels, each.rule, each.vendor)
    return (each.generation, *map(str, numbers), ", ".join(dict.fromkeys(each.whole_steps)) or "-")


def of_whole_steps(provenance: Provenance) -> bool:
    """Return whether a coefficient was fitted to whole training steps, or chosen by how well these come out."""
    return provenance.mark is not Mark.VENDOR and _WHOLE_STEPS.search(provenance.source) is not None


def _coefficients(profile: Profile) -> Mapping[tuple[str, float], Provenance]:
    """Return the coefficients that make a prediction, by path and value; spreads only make its interval."""
    data: Any = load_document(find("calibrate", f"profiles/{profile.name}")).data
    return {
        (path, value_at(data, path)): provenance
        for path, provenance in profile.provenance.items()
        if not path.startswith("spread.")
    }


def _counted(generation: str, coefficients: Mapping[tuple[str, float], Provenance]) -> GenerationCounts:
    whole = tuple(path for (path, _), provenance in coefficients.items() if of_whole_steps(provenance))
    others = [provenance for provenance in coefficients.values() if not of_whole_steps(provenance)]
    return GenerationCounts(
        generation,
        whole,
        _marked(others, Mark.MEASURED),
        _marked(others, Mark.DERIVED),
        _marked(others, Mark.VENDOR),
    )


def _marked(provenances: Iterable[Provenance], mark: Mark) -> int:
    return sum(provenance.mark is mark for provenance in provenances)
