"""The documentation's files and commands, from top to bottom in one folder; its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from simdml.cli.main import COMMANDS, main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WITH_COMMANDS = ["tutorial.md", "how_to.md"]


def steps(text):
    """Yield files with their text, and commands, in the order of a page."""
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "yaml":
            name, content = re.match(r"# file: (\S+)\n(.*)", block, re.DOTALL).groups()
            yield name, content
        else:
            yield from (line for line in block.splitlines() if line)


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if page != "tutorial.md":
        # One page's reports are drawn; in others the text is enough.
        monkeypatch.setattr("simdml.reporting.saving.drawing_bytes", lambda draw, kind: b"<svg></svg>")
    for step in steps((DOCS / page).read_text(encoding="utf-8")):
        if isinstance(step, tuple):
            Path(step[0]).write_text(step[1], encoding="utf-8")
            continue
        program, *arguments = shlex.split(step, comments=True)
        assert program == "simdml"
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        assert not ended.value.code, f"{step}\n{said.err}"
    assert {"report.html", "step.svg"} <= {path.name for path in tmp_path.iterdir()} or page != "tutorial.md"


def test_every_command_has_its_how_to():
    text = (DOCS / "how_to.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^## (.*)$", text, re.MULTILINE))))
    assert set(COMMANDS) <= named


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        place = page.parent / file if file else page
        assert place.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
