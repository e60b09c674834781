"""What two scenarios give, leave to defaults and amount to, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass

from simdml.scenario.building import Built
from simdml.scenario.explaining import VARY, defaults, describe_job, explain_lines, shown
from simdml.scenario.short_forms import SHORT_FORMS

NOTHING = ""
_WORDS = ("description",)


@dataclass(frozen=True, slots=True)
class InputChange:
    """A key of the scenario, or a fact about the job, and its value in both; empty where one has none."""

    key: str
    before: str
    after: str


def input_changes(reference: Built, other: Built) -> tuple[InputChange, ...]:
    """Return what differs: keys in the order of the scenarios, defaults among them, then what they amount to."""
    return (
        *_changes(_effective(reference), _effective(other)),
        *_changes(dict(describe_job(reference)), dict(describe_job(other))),
    )


def _changes(before: dict[str, str], after: dict[str, str]) -> list[InputChange]:
    keys = dict.fromkeys([*before, *after])
    pairs = [InputChange(key, before.get(key, NOTHING), after.get(key, NOTHING)) for key in keys]
    return [pair for pair in pairs if pair.before != pair.after]


def _effective(built: Built) -> dict[str, str]:
    """Return every value by its path; a section in short form has it at the key that this stands for."""
    given = {line.path: line.value for line in explain_lines(built)}
    taken = {choice.path: shown(choice.value) for choice in defaults(built)}
    values = {path: value for path, value in {**given, **taken}.items() if not path.startswith((*_WORDS, VARY))}
    return {f"{path}.{SHORT_FORMS[path]}" if path in SHORT_FORMS else path: value for path, value in values.items()}
