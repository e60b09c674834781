"""``simdml``: finds the command, and turns whatever goes wrong into a message and an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

import click

from simdml import __version__
from simdml.cli.start import INTERRUPTED, forget_interrupt
from simdml.cycles import without_cycle_collection
from simdml.errors import EXIT_CODES, SimdmlError, did_you_mean

DEBUG = "SIMDML_DEBUG"
INTERNAL = 70

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("run", "Predict step time and throughput of a scenario."),
    "check": ("check", "Say what every line of a scenario means, and whether it would run."),
    "sweep": ("sweep", "Predict every variant of a scenario: grids, lists, ranges, in parallel."),
    "compare": ("compare", "Say what differs in scenarios, what changed, and where the difference comes from."),
    "plan": ("plan", "Find the best layout or cluster for a job, and prove that nothing else is better."),
    "sensitivity": ("sensitivity", "Say what would make a job faster, and what binds it."),
    "goodput": ("goodput", "Say how long weeks of training take with failures, checkpoints and spares."),
    "report": ("report", "Write a page on a scenario, a result or a study, for people who decide."),
    "fleet": ("fleet", "Say how long jobs wait for a shared cluster, and how much those on it slow each other."),
    "list": ("listing", "List models, GPUs, clusters, profiles, schedules, strategies, scenarios."),
    "topology": ("topology", "Print a cluster as a table, or draw it."),
    "calibrate": ("calibrate", "Fit, show and compare profiles and communication fits."),
    "validate": ("validate", "Compare predictions with measured runs: tables of them, or real jobs on this machine."),
    "testbed": ("testbed", "A cluster of network namespaces on this machine, for your own programs."),
    "explain": ("explain", "Define a term: formula, unit, source."),
    "schema": ("schema", "Print the JSON Schema of scenario files, for editors."),
}
"""Name, module in this package, one line. A module's ``command`` is imported when it is called."""


class _ReaderLeftError(Exception):
    """Whoever read the output closed it, as ``simdml list | head`` does."""


class _Commands(click.Group):
    """Commands that are imported when they are needed, so that ``simdml --help`` imports nothing else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        with without_cycle_collection():
            command = import_module(f"simdml.cli.{COMMANDS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; click itself would end with 1 where the reader left."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderLeftError from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        del ctx
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])
        formatter.write_paragraph()
        formatter.write_text(f"A traceback of an internal error is printed with {DEBUG}=1 alone.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="simdml")
def simdml() -> None:
    """Predict how fast a distributed training job will run on a cluster, before anyone rents it.

    Results go to standard output, messages to standard error.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its documented code."""
    # simdml has no plugins of pydantic, which looks through every installed package for them when it starts.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What is there at the end goes with the process; Python would look through all of it for cycles first.
    atexit.register(gc.freeze)
    sys.exit(_guarded(lambda: _run(arguments)))


def _run(arguments: Sequence[str] | None) -> int:
    code = simdml.main(args=arguments, prog_name="simdml", standalone_mode=False)
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _guarded(action: Callable[[], int]) -> int:
    try:
        return action()
    except (click.exceptions.Abort, KeyboardInterrupt):
        forget_interrupt()
        _complain("interrupted")
        return INTERRUPTED
    except (_ReaderLeftError, BrokenPipeError):
        return _reader_left()
    except (click.ClickException, SimdmlError) as error:
        return _refused(error)
    except Exception as error:
        return _defect(error)


def _refused(error: click.ClickException | SimdmlError) -> int:
    if isinstance(error, click.ClickException):
        error.show(file=sys.stderr)
    else:
        _complain(f"error: {error}")
    return error.exit_code


def _reader_left() -> int:
    """End quietly, and keep the interpreter from flushing into the closed pipe."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    return 0


def _defect(error: Exception) -> int:
    if os.environ.get(DEBUG, "") not in {"", "0"}:
        import traceback

        traceback.print_exception(error)
    text = " ".join(str(error).split())[:300]
    _complain(
        f"internal error: {type(error).__name__}: {text}\n"
        f"  This is a defect in simdml {__version__}. Please report it to its developers, with your scenario.\n"
        f"  The traceback is printed with {DEBUG}=1."
    )
    return INTERNAL


def _complain(message: str) -> None:
    click.echo(message, err=True)
