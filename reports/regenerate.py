"""Make the example reports again: ``python reports/regenerate.py [NAME...]``, all of them by default."""

from __future__ import annotations

import sys
from pathlib import Path

from simdml.cli.main import main

REPORTS = Path(__file__).parent
QUESTIONS = REPORTS.parent / "scenarios" / "questions"


def regenerate(names: list[str]) -> None:
    """Write the report on every question of ``names``."""
    for name in names:
        try:
            main(["report", str(QUESTIONS / f"{name}.yaml"), "-o", str(REPORTS / f"{name}.html")])
        except SystemExit as ended:
            if ended.code:
                raise


if __name__ == "__main__":
    regenerate(sys.argv[1:] or sorted(path.stem for path in QUESTIONS.glob("*.yaml")))
