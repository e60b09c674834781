"""The command line called in this process."""

from __future__ import annotations

import pytest

from simdml.cli.main import main


def call(arguments, capsys):
    """Return exit code and standard output."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0), capsys.readouterr().out
