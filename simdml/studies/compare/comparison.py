"""``compare``: a scenario against others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simdml.errors import UsageError
from simdml.results.record import record
from simdml.results.saved import Predicted, SavedResult, read_saved
from simdml.scenario.building import Built, build
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import simulate
from simdml.studies.compare.inputs import InputChange, input_changes
from simdml.studies.compare.outputs import OutputChange, output_changes
from simdml.studies.compare.waterfall import RANK, SOURCES, Waterfall, waterfall

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Source = str | os.PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is different in ``name`` from the reference."""

    name: str
    result: Predicted
    inputs: tuple[InputChange, ...]
    outputs: tuple[OutputChange, ...]
    waterfall: Waterfall


@dataclass(frozen=True, slots=True)
class Comparison:
    """A ``reference`` and what is different in others; causes are accounts of the ending rank or critical path."""

    name: str
    reference: Predicted
    others: tuple[Difference, ...]
    source: str = RANK

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        data = {
            "reference": self.name,
            "accounts_of": self.source,
            "step_time_s": self.reference.step_time_s,
            "result": self.reference.to_dict(),
            "comparisons": [_plain(other) for other in self.others],
        }
        return record("compare", data)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a cause of each difference, in seconds; those of a scenario add up to its difference."""
        import pandas as pd

        rows = [(other.name, cause.account, cause.seconds) for other in self.others for cause in other.waterfall.causes]
        return pd.DataFrame(rows, columns=["scenario", "account", "difference_s"])

    def plot(self) -> Figure:
        """Return a figure: a waterfall for each of the others."""
        from simdml.studies.compare.figure import waterfall_figure

        return waterfall_figure(self)


def compare(reference: Source, *others: Source, assignments: Iterable[str] = (), by: str = RANK) -> Comparison:
    """Return what is different in ``others`` from ``reference``: files, bundled names or mappings.

    ``assignments`` are ``path=value`` for all of them, as the command line's ``--set``.
    ``by`` says whose accounts explain the difference: those of the ``rank`` that ends the step, which are those of
    single results, or of the critical ``path``.

    Raises:
        UsageError: nothing to compare with, or another ``by``.
        SimdmlError: anything wrong with a scenario.
    """
    if not others:
        raise UsageError("nothing to compare with", hint="give two scenarios or more")
    if by not in SOURCES:
        raise UsageError(f'by can be {" or ".join(SOURCES)}, not "{by}"')
    given = tuple(assignments)
    built = [build(load_scenario(source, given)) for source in (reference, *others)]
    results = [simulate(each.scenario) for each in built]
    names = _names((reference, *others), built)
    differences = [
        Difference(
            name,
            result,
            input_changes(built[0], each),
            output_changes(results[0], result),
            waterfall(results[0], result, by),
        )
        for name, each, result in zip(names[1:], built[1:], results[1:], strict=True)
    ]
    return Comparison(names[0], results[0], tuple(differences), by)


def read_comparison(data: Mapping[str, Any]) -> Comparison:
    """Return the comparison that :meth:`Comparison.to_dict` wrote; raises KeyError and the like for anything else."""
    reference, by = read_saved(data["result"]), data["accounts_of"]
    others = tuple(_read_difference(other, reference, by) for other in data["comparisons"])
    return Comparison(data["reference"], reference, others, by)


def _read_difference(data: Mapping[str, Any], reference: SavedResult, by: str) -> Difference:
    result = read_saved(data["result"])
    inputs = tuple(InputChange(change["key"], change["before"], change["after"]) for change in data["inputs"])
    outputs, fall = output_changes(reference, result), waterfall(reference, result, by)
    return Difference(data["scenario"], result, inputs, outputs, fall)


def _names(sources: Sequence[Source], built: Sequence[Built]) -> list[str]:
    """Return the scenarios' names, where they differ; else what they were called by, or a number."""
    names = [each.scenario.name for each in built]
    if len(set(names)) < len(names):
        names = [
            name if isinstance(source, Mapping) else str(source) for source, name in zip(sources, names, strict=True)
        ]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return names


def _plain(other: Difference) -> dict[str, Any]:
    outputs = {
        change.output.key: {"before": change.before, "after": change.after, "ratio": change.ratio}
        for change in other.outputs
    }
    return {
        "scenario": other.name,
        "result": other.result.to_dict(),
        "inputs": [{"key": c.key, "before": c.before, "after": c.after} for c in other.inputs],
        "outputs": outputs,
        "waterfall": {
            "before_s": other.waterfall.levels_s()[0],
            "after_s": other.waterfall.levels_s()[-1],
            "causes": [{"account": c.account, "difference_s": c.seconds} for c in other.waterfall.causes],
        },
    }
