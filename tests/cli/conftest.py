"""The command line called in this process: exit code, standard output and standard error."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from simdml.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str
    messages: str


@pytest.fixture
def simdml(capsys):
    """Return a function that runs ``simdml`` with arguments."""

    def call(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return call
