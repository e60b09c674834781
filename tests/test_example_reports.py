"""The example reports: a question each, complete in themselves, small, and of the simdml that is here."""

from __future__ import annotations

import html
import re
import runpy
from pathlib import Path

import pytest
from html_nesting import check_complete

from simdml.documents.document import in_folder
from simdml.documents.loading import parse_document
from simdml.documents.validation import validate
from simdml.scenario.loading import Scenario
from simdml.scenario.schema.scenario import ScenarioSpec
from simdml.scenario.simulate import simulate
from simdml.units import parse_time

ROOT = Path(__file__).parents[1]
EXAMPLES = runpy.run_path(str(ROOT / "reports" / "regenerate.py"))["EXAMPLES"]
LARGEST_BYTES, LONGEST_LINES = 400_000, 40
STALE = 0.05


def report_on(name):
    return (ROOT / "reports" / f"{name}.html").read_text(encoding="utf-8")


def test_every_report_is_one_of_the_examples():
    assert {path.stem for path in (ROOT / "reports").glob("*.html")} == {*EXAMPLES, "accuracy"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_question_is_a_short_file_and_its_report_a_whole_page(name):
    question = ROOT / "scenarios" / EXAMPLES[name]
    assert len(question.read_text(encoding="utf-8").splitlines()) <= LONGEST_LINES
    page = report_on(name)
    assert len(page.encode()) < LARGEST_BYTES
    parser = check_complete(page)
    assert parser.seen.count("svg") >= 5
    for title in ("What binds it", "What would change it", "The alternatives", "Assumptions and their sources"):
        assert f">{title}</h2>" in page


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_scenario_in_a_report_predicts_what_the_report_says(name):
    """A step that has moved by more than 5 % means: python reports/regenerate.py."""
    page = report_on(name)
    text = html.unescape(re.search(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[1])
    document = in_folder(parse_document(text, "report.yaml"), (ROOT / "scenarios" / EXAMPLES[name]).parent)
    step_s = simulate(Scenario("report", document, validate(document, ScenarioSpec))).step_time_s
    said = re.search(r'class="total"><th scope="row">step</th><td class="number">([^<]+)<', page)[1]
    assert step_s == pytest.approx(parse_time(said), rel=STALE)
