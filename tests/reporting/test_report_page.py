"""A report as a page and as Markdown: complete in itself, escaped, in order, the same bytes again."""

import re

import pytest
import sample_results
from html_nesting import check_complete

from simdml.reporting.drawings import compact_svg
from simdml.reporting.job_sections import busiest_links, job_sections
from simdml.reporting.markdown import markdown
from simdml.reporting.page import page
from simdml.reporting.pareto import Alternative, front, pareto_figure
from simdml.reporting.report import Listing, Picture, Points, Report, Section, Table, Topic, Words
from simdml.reporting.saving import drawing_bytes
from simdml.results.links import LinkLoad
from simdml.results.plain import result_to_dict
from simdml.results.saved import read_saved

EVIL = "<script>alert('x')</script> | a *b* _c_ [d](https://e)"


@pytest.fixture(autouse=True)
def _star(monkeypatch):
    """The toy clusters of these results have no picture."""
    drawn = Picture("topology", "<svg><g/></svg>", "a star of switches, and devices around it that it joins")
    monkeypatch.setattr("simdml.reporting.job_sections.topology_picture", lambda cluster, loads: drawn)


def report(*sections, **changes):
    given = {
        "title": "title",
        "subject": "subject",
        "answer": "The answer.",
        "certainty": ("sure",),
        "tiles": (("step time", "1 s"),),
        "warnings": (),
        "sections": sections,
        "version": "0",
    }
    return Report(**{**given, **changes})


def sections_of(kind):
    result = sample_results.every_kind()[kind]
    return report(*job_sections(result))


@pytest.mark.parametrize("kind", ["pipeline with data parallelism", "asynchronous server"])
def test_a_page_asks_for_nothing_and_repeats_its_bytes(kind):
    html = page(sections_of(kind))
    parser = check_complete(html)
    assert parser.seen.count("svg") == 3
    assert parser.seen.count("h1") == 1
    assert parser.seen.count("table") == parser.seen.count("caption")
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]{40,}"', html)) == 3
    assert html == page(sections_of(kind))


def test_sections_stand_by_topic_and_empty_ones_are_left_out():
    sections = [
        Section(Topic.MEMORY, "third", (Words(("x",)),)),
        Section(Topic.CONSTRAINT, "first", (Words(("x",)),)),
        Section(Topic.TIME, "empty", ()),
        Section(Topic.CHANGE, "second", (Points(("x",)),)),
    ]
    assert re.findall(r"<h2 id=\S+>(\w+)", page(report(*sections))) == ["first", "second", "third"]


def test_the_answer_comes_first_and_its_certainty_after_it():
    html = page(report(Section(Topic.TIME, "time", (Words(("x",)),)), warnings=("careful",)))
    places = [html.index(text) for text in ("The answer.", "sure", "careful", '<h2 id="time"')]
    assert places == sorted(places)


def test_joined_keeps_its_own_answer_and_the_first_of_two_sections():
    first = report(Section(Topic.TIME, "time", (Words(("mine",)),)), answer="mine")
    other = report(
        Section(Topic.TIME, "time", (Words(("theirs",)),)),
        Section(Topic.MEMORY, "memory", (Words(("more",)),)),
        answer="theirs",
        certainty=("sure", "surer"),
    )
    joined = first.joined(other)
    assert joined.answer == "mine"
    assert joined.certainty == ("sure", "surer")
    assert [section.title for section in joined.ordered()] == ["time", "memory"]
    assert joined.ordered()[0].blocks == (Words(("mine",)),)


def every_block(text):
    table = Table(text, (text, text), ((text, text),))
    picture = Picture("p", "<svg><g/></svg>", text, text)
    return (Words((text,)), Points((text,)), table, picture, Listing(text, text))


def test_texts_are_escaped_everywhere():
    whole = report(
        Section(Topic.TIME, EVIL, every_block(EVIL)), title=EVIL, subject=EVIL, answer=EVIL, warnings=(EVIL,)
    )
    html = page(whole)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 10
    text = markdown(whole, {"p": "p.svg"})
    outside = re.sub(r"```yaml.*?```", "", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<script", outside)
    assert not re.search(r"(?<!\\)\]\(https", outside)
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


def test_remarks_after_numbers_are_words():
    table = Table("errors", ("source", "rows", "worst row"), (("one", "6", "-70 % and why"),), remark_columns=1)
    whole = report(Section(Topic.ERRORS, "errors", (table,)))
    assert re.findall(r'class="number">([^<]*)<', page(whole)) == ["rows", "6"]
    assert "| --- | ---: | --- |" in markdown(whole, {})


def test_markdown_has_every_section_and_names_its_pictures():
    whole = sections_of("pipeline with data parallelism")
    names = {picture.name: f"x-{picture.name}.svg" for picture in whole.pictures()}
    text = markdown(whole, names)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [section.title for section in whole.ordered()]
    assert re.findall(r"\]\((.*?)\)", text) == list(names.values())


def test_a_saved_result_says_the_same_numbers():
    result = sample_results.pipeline(dp=2)
    saved = read_saved(result_to_dict(result))
    live = {section.title: section for section in job_sections(result)}
    for section in job_sections(saved):
        tables = [block for block in section.blocks if isinstance(block, Table)]
        assert tables == [block for block in live[section.title].blocks if isinstance(block, Table)]
        assert section.blocks


def test_busiest_links_are_a_few_of_each_kind():
    loads = [LinkLoad(f"a{n}", "nvlink", 10.0 - n // 2, 1.0, 0.1) for n in range(10)] + [
        LinkLoad("b", "nic", 1, 1, 0.1)
    ]
    assert [load.name for load in busiest_links(loads)] == ["a0", "a2", "a4", "b"]


def test_front_has_what_nothing_beats():
    points = [
        Alternative(name, *at) for name, at in zip("abcde", [(1, 1), (2, 3), (2, 2), (3, 3), (4, 5)], strict=True)
    ]
    assert [each.label for each in front(points)] == ["a", "b", "e"]
    every = {each.label for each in points}
    beaten = {
        each.label
        for each in points
        if any(o.takes <= each.takes and o.gives >= each.gives and o is not each for o in points)
    }
    assert {each.label for each in front(points)} == every - beaten
    assert b"another is better" in drawing_bytes(lambda: pareto_figure(points, "GPUs", "samples/s"), "svg")


def test_compact_svg_keeps_shapes_and_text():
    path = '<path d="M 1.123456 2\nL 3 2\nL 3 4.98765\nL 1.123456 4.98765\nz\n" style="fill: red"/>\n'
    svg = (
        f'<?xml?><!-- x --><svg><metadata>http://x</metadata><g id="patch_1">{path}{path}<text>0.00012</text></g></svg>'
    )
    small = compact_svg(svg, "name")
    assert small.count("<path") == 1
    assert small.count("M1.12 2H3V4.99H1.12z") == 2
    assert "0.00012" in small
    assert "http" not in small
