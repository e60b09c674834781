"""Make the example reports again: ``python reports/regenerate.py [NAME...]``, all of them by default."""

from __future__ import annotations

import sys
from pathlib import Path

from simdml.cli.main import main

REPORTS = Path(__file__).parent
SCENARIOS = REPORTS.parent / "scenarios"
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


if __name__ == "__main__":
    for asked in sys.argv[1:] or (*EXAMPLES, ACCURACY):
        regenerate(asked)
