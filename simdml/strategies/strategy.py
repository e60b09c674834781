"""What a strategy is to its users: a name, the system it stands for, what it models and where that comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy as a scenario names it.

    ``models`` and ``leaves_out`` are sentences, ``defaults`` what an option is unless a scenario says otherwise, and
    ``written`` how a scenario asks for it, where that is not by its name alone.
    """

    name: str
    system: str
    meaning: str
    models: tuple[str, ...] = ()
    leaves_out: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict)
    written: str = ""
