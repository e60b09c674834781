"""Make the example reports again.

    python reports/regenerate.py [NAME ...]

makes the named ones, all of them by default.

    python reports/regenerate.py accuracy --sets DIR [--keep FOLDER] [--jobs N]

first replays the published tables below DIR (reports/accuracy/sets.yaml names them) and writes what is kept of
their rows, reports/accuracy/rows.csv, from which the accuracy report takes its section on whole sets. Some 5,800 rows
take ten minutes or so of two cores; finished ones are kept in FOLDER (.accuracy beside this folder by default), so
that a replay that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from simdml.cli.main import main
from simdml.errors import SimdmlError

REPORTS = Path(__file__).parent
SCENARIOS = REPORTS.parent / "scenarios"
KEEP = REPORTS.parent / ".accuracy"
EXAMPLES = {
    "llama3_70b_30_days": "plans/llama3_70b_30_days.yaml",
    "gpt3_175b_8_or_4_nics": "plans/gpt3_175b_8_or_4_nics.yaml",
    "resnet50_64_v100": "plans/resnet50_64_v100.yaml",
    "mixture_on_nvl72_or_hgx": "questions/mixture_on_nvl72_or_hgx.yaml",
    "mixed_gpus_with_stragglers": "questions/mixed_gpus_with_stragglers.yaml",
}
"""The scenario that each report is on."""


ACCURACY = "accuracy"
"""The report on published runs beside predictions, as a page and as text, which takes a few minutes."""
REPORT_NAMES = (*EXAMPLES, ACCURACY)


def regenerate(name: str) -> None:
    """Write the report ``name``."""
    path = str(REPORTS / f"{name}.html")
    try:
        main(
            ["validate", "--report", path, "--report", str(REPORTS / f"{name}.md")]
            if name == ACCURACY
            else ["report", str(SCENARIOS / EXAMPLES[name]), "-o", path]
        )
    except SystemExit as ended:
        if ended.code:
            raise


def replay_sets(folder: Path, keep: Path, jobs: int | None) -> None:
    """Replay the published tables below ``folder``, and write what is kept of their rows."""
    # Everything that a replay needs is slow to load.
    from simdml.cli.progress import watch_rows
    from simdml.cli.writing import write_text
    from simdml.validation.sets.definitions_file import read_definitions
    from simdml.validation.sets.replaying import find_tables, replay_tables
    from simdml.validation.sets.rows import rows_text
    from simdml.validation.sets.section import DEFINITIONS, FOLDER, ROWS

    definitions = read_definitions(REPORTS / FOLDER / DEFINITIONS)
    tables = find_tables(folder, definitions)
    with watch_rows() as progress:
        rows = replay_tables(tables, definitions, processes=jobs, folder=keep, progress=progress)
    write_text(REPORTS / FOLDER / ROWS, rows_text(rows))


def run(arguments: Sequence[str] | None = None) -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(REPORT_NAMES))
    parser.add_argument("--sets", type=Path, metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", default=KEEP)
    parser.add_argument("--jobs", type=int, metavar="N")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in REPORT_NAMES]:
        parser.error(f"no report is called {', '.join(unknown)}; there are {', '.join(REPORT_NAMES)}")
    try:
        if asked.sets is not None:
            replay_sets(asked.sets, asked.keep, asked.jobs)
    except SimdmlError as error:
        parser.error(str(error))
    for name in asked.names or REPORT_NAMES:
        regenerate(name)


if __name__ == "__main__":
    run()
