"""What a scenario left open, and what was taken instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Choice:
    """The value taken for ``path``, and whose default it is."""

    path: str
    value: object
    reason: str


@dataclass(slots=True)
class Choices:
    """Collects choices while a scenario is built."""

    made: list[Choice] = field(default_factory=list)

    def given_or(self, value: Value | None, path: str, default: Value, reason: str) -> Value:
        """Return ``value`` if it was given, else ``default``, noted with its reason."""
        if value is not None:
            return value
        self.note(path, default, reason)
        return default

    def given_or_find(self, value: Value | None, path: str, default: Callable[[], Value], reason: str) -> Value:
        """Return ``value`` if it was given, else what ``default`` finds, noted with its reason."""
        return value if value is not None else self.given_or(None, path, default(), reason)

    def note(self, path: str, value: object, reason: str) -> None:
        """Note that ``value`` was taken for ``path``."""
        self.made.append(Choice(path, value, reason))
