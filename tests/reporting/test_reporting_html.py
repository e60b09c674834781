"""HTML: well-formed, escaped, and complete in itself."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import sample_results

from simdml.reporting.html import report_page, result_html

KINDS = list(sample_results.every_kind())
VOID = {"meta", "br", "img", "hr", "input", "link"}


class Nesting(HTMLParser):
    """Collects elements, and fails where end tags do not match."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(html):
    parser = Nesting()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("render", [result_html, report_page])
def test_well_formed_and_complete_in_itself(kind, render):
    parser = parsed(render(sample_results.every_kind()[kind]))
    assert not {"script", "link", "img", "iframe", "object"} & set(parser.seen)
    for name, value in parser.attributes:
        if name in {"src", "href", "xlink:href"}:
            assert value.startswith("#")
        assert "url(http" not in (value or "")


def test_bar_pieces_fill_the_bar():
    html = result_html(sample_results.pipeline())
    assert sum(float(width) for width in re.findall(r"width:([0-9.]+)%;background", html)) == pytest.approx(
        100, abs=0.01
    )


@pytest.mark.parametrize("render", [result_html, report_page])
def test_texts_are_escaped(render):
    evil = "<script>alert('x')</script>"
    result = replace(sample_results.ddp(), name=evil, notes=(evil,), inputs={evil: evil})
    html = render(result)
    assert "<script" not in html
    assert "".join(parsed(html).text).count("alert('x')") >= 2


def test_page_has_every_section_and_repeats_its_bytes():
    result = sample_results.pipeline()
    html = report_page(result)
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Where the step goes",
        "Timeline",
        "Device memory",
        "Longest pieces of the critical path",
        "Busiest links",
        "Inputs",
    ]
    assert html.count("<svg") == 1
    assert "mesh.pp" in html
    assert html == report_page(result)


def test_notebooks_do_not_load_matplotlib_or_pandas():
    code = (
        "import sys, sample_results; sample_results.ddp()._repr_html_(); sample_results.ddp().to_dict();"
        "sys.exit(len({'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    support = [path for path in sys.path if path.endswith("support")]
    environment = {"PYTHONPATH": ":".join([*support, *(path for path in sys.path if path)])}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False).returncode == 0
    )
