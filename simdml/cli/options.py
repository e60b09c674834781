"""Arguments and options that commands share: one spelling, one type, one help line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import click

from simdml.cli.writing import PicturePath

Command = TypeVar("Command", bound=Callable[..., Any])


class Option(Protocol):
    """Gives a command an option or an argument."""

    def __call__(self, command: Command, /) -> Command:
        """Return the command that has it."""
        ...


scenario_file: Final[Option] = click.argument("file")
jobs: Final[Option] = click.option(
    "--jobs", type=click.IntRange(1, 1024), metavar="N", help="Processes; as many as cores by default."
)
dask: Final[Option] = click.option(
    "--dask", metavar="ADDRESS", help="Use the Dask cluster whose scheduler is at ADDRESS."
)


def assignments(of: str = "the scenario") -> Option:
    """``--set PATH=VALUE`` changes ``of``, before anything else is done with it."""
    help_line = f"Change one value of {of}."
    return click.option("--set", "assignments", metavar="PATH=VALUE", multiple=True, help=help_line)


def as_json(what: str = "the result") -> Option:
    """``--json`` prints ``what`` for programs instead of people."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def figure(what: str) -> Option:
    """``--figure FILE`` draws ``what``; a name that is no picture's is refused before anything is computed."""
    return click.option("--figure", type=PicturePath(), metavar="FILE", help=f"Draw {what} (png, svg, pdf).")


def out(help_line: str) -> Option:
    """``--out DIR`` is where files go."""
    return click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help=help_line)
