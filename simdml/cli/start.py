"""Where the command line begins: an interrupt ends it in the same way while simdml is still being loaded."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Load and run the command line; ends with 130 when it is interrupted."""
    try:
        # click and all commands are loaded here, so that an interrupt meanwhile is caught.
        from simdml.cli.main import main as run

        run()
    except KeyboardInterrupt:
        forget_interrupt()
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)


def forget_interrupt() -> None:
    """Let Python end with the status it is given.

    An interrupt inside an ``eval`` of text, as imports have them, makes Python end by the signal although the interrupt
    was caught later; the next text that it runs clears that (CPython, Python/pythonrun.c, run_eval_code_obj).
    """
    exec("")
