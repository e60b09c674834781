"""HTML as a browser takes it: what is nested in what, and what would be loaded from elsewhere."""

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "hr", "input", "link"}
LOADING = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source", "base", "image", "use"}
REFERRING = {"src", "href", "xlink:href", "srcset", "poster", "data", "action", "background"}


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


def check_complete(html):
    """Assert that a browser that shows ``html`` asks for nothing: every reference is to the page itself."""
    parser = parsed(html)
    assert not (LOADING - {"use"}) & set(parser.seen)
    for name, value in parser.attributes:
        if name in REFERRING:
            assert value.startswith("#"), (name, value)
    assert not re.search(r"@import|url\((?!#|\"#|'#)|https?://", html)
    ids = [value for name, value in parser.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value.removeprefix("#") for name, value in parser.attributes if name in REFERRING} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)
    return parser
