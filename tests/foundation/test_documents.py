from __future__ import annotations

import os

import pytest

from simdml.documents import composing
from simdml.documents.document import from_mapping
from simdml.documents.loading import load_document, parse_document
from simdml.documents.overriding import override, override_each
from simdml.documents.scalars import plain_scalar
from simdml.errors import DocumentError, UsageError

TEXT = """\
# a comment
name: gpt3   # another
strategy:
  mesh: {tp: 8, "pp": 4}
  stages:
    - a
    - b: 1
"""


@pytest.fixture
def write(tmp_path):
    def _write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def refusal(action, *arguments):
    with pytest.raises(DocumentError) as caught:
        action(*arguments)
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) < 40
    return str(caught.value)


def test_every_value_and_key_has_its_place(write):
    path = write("a.yaml", TEXT)
    document = load_document(path)
    assert document.data == {
        "name": "gpt3",
        "strategy": {"mesh": {"tp": 8, "pp": 4}, "stages": ["a", {"b": 1}]},
    }
    expected = {
        ("name",): (2, 1, 2, 7),
        ("strategy",): (3, 1, 4, 3),
        ("strategy", "mesh"): (4, 3, 4, 9),
        ("strategy", "mesh", "tp"): (4, 10, 4, 14),
        ("strategy", "mesh", "pp"): (4, 17, 4, 23),
        ("strategy", "stages"): (5, 3, 6, 5),
        ("strategy", "stages", 1, "b"): (7, 7, 7, 10),
    }
    for steps, (key_line, key_column, line, column) in expected.items():
        key, value = document.key_place(steps), document.place(steps)
        assert (key.line, key.column, value.line, value.column) == (key_line, key_column, line, column)
        assert value.file == str(path)
        assert value.path == steps
        assert value.source_line == TEXT.splitlines()[line - 1]
    assert document.place(("strategy", "stages", 0)).column == 7
    assert set(document.key_places) == set(expected)


def test_an_absent_path_is_placed_at_the_nearest_enclosing_key():
    document = parse_document(TEXT, "a.yaml")
    assert str(document.place(("strategy", "mesh", "dp"))) == "a.yaml:4:3"
    assert document.place(("strategy", "mesh", "dp")).dotted == "strategy.mesh.dp"
    assert str(document.place(("nothing",))) == "a.yaml:2:1"


def test_parsing_in_c_and_in_python_agree(monkeypatch):
    text = (
        '# ünï\n"ключ 😀": [a, "é\\n", \'x\', {b: 25 µs, 😀: 3}]\nblock: |\n  text\n  more\n'
        "n:\n- - 1\n  - 2\n-\n  z: ~\n  e:\nlast: {}\n" + TEXT
    )
    fast = composing.compose(text, "f")
    monkeypatch.setattr(composing, "_FAST", None)
    assert composing.compose(text, "f") == fast
    place = fast[2]["ключ 😀", 3, "😀"]
    assert place.column == place.source_line.rindex("😀") + 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, word) for word in ("yes", "no", "on", "off", "Yes", "y", "12:30", "1_000", "0b1", "+.", "1e", "e3")],
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        ("false", False),
        ("017", 17),
        ("-12", -12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1.5E-3", -0.0015),
        ("2001-01-01", "2001-01-01"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    assert plain_scalar(text) == value
    assert type(plain_scalar(text)) is type(value)


def test_quoted_scalars_are_text_and_keys_are_text():
    data = parse_document("a: '8'\nb: \"true\"\n8: x\nno: y\n'': z\n").data
    assert data == {"a": "8", "b": "true", "8": "x", "no": "y", "": "z"}


@pytest.mark.parametrize("number", [".nan", ".inf", "-.Inf", "nan", "NaN", "inf", "-Infinity"])
def test_numbers_that_are_not_finite_are_refused_where_they_stand(number):
    message = refusal(parse_document, f"a:\n  b: {number}\n", "f.yaml")
    assert message.startswith(f"f.yaml:2:6: a.b: {number} is not a finite number")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\n'a': 3\n", "f:3:1", 'duplicate key "a", first given at f:1:1'),
        ("x: {a: 1, a: 2}", "f:1:11", 'duplicate key "a", first given at f:1:5'),
        ("a: &x [1]\nb: *x\n", "f:1:4", "anchors"),
        ("b: *x\n", "f:1:4", "aliases"),
        ("a: !!python/object:os.system x", "f:1:4", "tags"),
        ("a: !local {}", "f:1:4", "tags"),
        ("<<: {a: 1}", "f:1:1", "merge keys"),
        ("? [1]\n: 2", "f:1:3", "key must be a word"),
        ("a: 1\n---\nb: 2\n", "f:2:1", "remove the second ---"),
        ("a:\n\tb: 1", "f:2:1", "spaces, not tabs"),
        ("a: b: c", "f:1:5", "check the indentation"),
        ("a: {b: 1", "f:1:9", "not YAML"),
        ('a: "b', "f:1:6", "not YAML"),
        ("a: @b", "f:1:4", "quote text that starts with @"),
        ("a: \x01", "f:1:4", "control character U+0001"),
        ("a: 1e999", "f:1:4", "too large"),
        ("a: " + "9" * 5000, "f:1:4", "too many digits"),
        ("a: " + "[" * 100_000, "f:1:67", "nested more than 64 deep"),
        ('a: "\\ud800"', "f:1:4", "lone surrogate"),
        ('"\\ud800": 1', "f:1:1", "lone surrogate"),
        ('a: "\\U00110000"', "f: ", "escape is out of range"),
        ("a: \udcff", "f:1:4", "U+DCFF"),
        ("- a", "f:1:1", "a list, not a mapping"),
        ("hello", "f:1:1", '"hello", not a mapping'),
        ("", "f:", "the file is empty"),
        ("# only a comment\n", "f:", "the file is empty"),
        ("~", "f:", "the file is empty"),
    ],
)
def test_bad_yaml_is_refused_with_its_place(text, place, words):
    message = refusal(parse_document, text, "f")
    assert message.startswith(place)
    assert words in message


def test_files_that_are_not_documents(write, tmp_path):
    big = tmp_path / "big.yaml"
    with big.open("wb") as stream:
        stream.truncate(50_000_000)
    write("scenario.yaml", "a: 1")
    for path, words in [
        (big, ["too large: 47.7 MiB", "1 MiB"]),
        (write("model.bin", b"a: 1\n\0\x80"), ["binary file", "byte 5"]),
        (write("latin.yaml", "a: 1\nb: é".encode("latin-1")), ["not UTF-8", "line 2", "0xe9"]),
        (write("wide.yaml", "a: 1".encode("utf-16")), ["UTF-16", "save it as UTF-8"]),
        (write("empty.yaml", b""), ["the file is empty"]),
        (tmp_path, ["a folder, not a file"]),
        (tmp_path / "scenarioo.yaml", ["no file", 'did you mean "scenario.yaml"?']),
        (tmp_path / "none" / "a.yaml", ["there is no folder"]),
        (tmp_path / "scenario.yaml" / "a.yaml", ["there is no folder"]),
        ("a\0b", ["cannot be read", "null"]),
        ("x" * 5000, ["cannot be read"]),
    ]:
        message = refusal(load_document, path)
        for part in [*words, str(path)[:20]]:
            assert part in message, (path, message)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "not a regular file" in refusal(load_document, pipe)


def test_a_file_of_exactly_the_limit_is_read(write):
    assert load_document(write("a.yaml", "a: 1\n#" + "x" * (2**20 - 6))).data == {"a": 1}
    assert "too large" in refusal(load_document, write("b.yaml", "a: 1\n#" + "x" * (2**20 - 5)))


def test_byte_order_mark_and_windows_line_ends(write):
    document = load_document(write("a.yaml", b"\xef\xbb\xbfa: 1\r\nb: 2\r\n"))
    assert document.data == {"a": 1, "b": 2}
    assert (document.key_place(("b",)).line, document.key_place(("b",)).column) == (2, 1)


def test_extends_merges_and_keeps_places(write):
    base = write("base.yaml", "a: 1\nm: {x: 1, y: {k: 1}}\nl: [1, {q: 2}]\nz: {deep: 1}\n")
    own = write("own.yaml", "extends: base.yaml\nm:\n  y: {n: 5}\n  w: 3\nl: [9]\nz: text\n")
    document = load_document(own)
    assert document.data == {"a": 1, "m": {"x": 1, "y": {"k": 1, "n": 5}, "w": 3}, "l": [9], "z": "text"}
    assert document.place(("a",)).file == str(base)
    assert document.place(("m", "y", "k")).file == str(base)
    for path in [("m", "y", "n"), ("m", "w"), ("l", 0), ("z",), ("m", "y")]:
        assert document.place(path).file == str(own)
    assert ("l", 1, "q") not in document.value_places
    assert ("z", "deep") not in document.key_places
    assert not any(path[:1] == ("extends",) for path in document.value_places)


def test_extends_is_relative_to_its_file(write, tmp_path):
    (tmp_path / "inner").mkdir()
    write("base.yaml", "a: config.json\nb: 2")
    document = load_document(write("inner/own.yaml", "extends: ../base.yaml\nb: other.json"))
    assert document.data == {"a": "config.json", "b": "other.json"}
    assert document.folder(("a",)).resolve() == tmp_path
    assert document.folder(("b",)).resolve() == tmp_path / "inner"


def test_bad_extends(write):
    write("a.yaml", "extends: a.yaml\n")
    write("b.yaml", "x: 1\nextends: c.yaml\n")
    write("c.yaml", "extends: b.yaml\n")
    write("d.yaml", "extends: e.yaml\n")
    write("e.yaml", "extends: base.yaml\n")
    write("base.yaml", "x: [")
    folder = write("f.yaml", "k: 1\nextends: bsae.yaml\n").parent
    write("g.yaml", "extends: [base.yaml]\n")
    write("h.yaml", "extends: base.yaml\n")
    for name, line, words in [
        ("a.yaml", "1:10", f"cyclic extends: {folder}/a.yaml -> {folder}/a.yaml"),
        ("b.yaml", "2:10", f"cyclic extends: {folder}/b.yaml -> {folder}/c.yaml -> {folder}/b.yaml"),
        ("d.yaml", "1:10", f"two levels deep: {folder}/d.yaml -> {folder}/e.yaml -> {folder}/base.yaml"),
        ("f.yaml", "2:10", 'did you mean "base.yaml"'),
        ("g.yaml", "1:10", "must name one file"),
    ]:
        message = refusal(load_document, folder / name)
        assert message.startswith(f"{folder / name}:{line}: extends: ")
        assert words in message
    assert refusal(load_document, folder / "h.yaml").startswith(f"{folder}/base.yaml:1:5: not YAML")


def test_override_reads_values_as_the_file_does():
    document = parse_document(TEXT, "f")
    changed = override_each(
        document,
        [
            "strategy.mesh.tp=16",
            "strategy.stages[1].b={c: [1, 'x']}",
            "strategy.stages.0=80 GiB",
            "new.deep.key=",
            "name=a=b",
        ],
    )
    assert changed.data == {
        "name": "a=b",
        "strategy": {"mesh": {"tp": 16, "pp": 4}, "stages": ["80 GiB", {"b": {"c": [1, "x"]}}]},
        "new": {"deep": {"key": None}},
    }
    assert document.data["strategy"]["mesh"]["tp"] == 8
    assert str(changed.place(("strategy", "mesh", "tp"))) == "--set strategy.mesh.tp"
    assert str(changed.place(("strategy", "mesh", "pp"))) == "f:4:23"
    assert changed.place(("strategy", "stages", 1, "b", "c", 0)).file == "--set strategy.stages[1].b"
    assert changed.key_place(("new",)).file == "--set new.deep.key"


def test_override_forgets_places_of_what_it_replaces():
    changed = override(parse_document("a: {b: {c: 1}}", "f"), "a.b", "5")
    assert ("a", "b", "c") not in changed.value_places
    assert ("a", "b", "c") not in changed.key_places


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("name.x=1", 'name is "gpt3", not a mapping'),
        ("strategy.stages[2]=1", "has 2 items, so there is no index 2"),
        ("strategy.stages.x=1", "is a list: give an index"),
        ("name=[1", "--set name: not YAML"),
        ("name=nan", "not a finite number"),
        ("name=*x", "aliases"),
    ],
)
def test_bad_overrides(assignment, words):
    message = refusal(override_each, parse_document(TEXT), [assignment])
    assert message.startswith("--set ")
    assert words in message


@pytest.mark.parametrize("assignment", ["name", "=1", "a..b=1", ".a=1", "a.=1", "a[x]=1", "a[-1]=1", "a[0=1"])
def test_unreadable_overrides_are_usage_errors(assignment):
    with pytest.raises(UsageError) as caught:
        override_each(parse_document(TEXT), [assignment])
    assert caught.value.exit_code == 2


def test_from_mapping_copies_and_places(tmp_path):
    source = {"a": {"b": (1, 2.5)}, 8: tmp_path, "n": None}
    document = from_mapping(source)
    assert document.data == {"a": {"b": [1, 2.5]}, "8": str(tmp_path), "n": None}
    document.data["a"]["b"].append(3)
    assert source["a"]["b"] == (1, 2.5)
    assert str(document.place(("a", "b", 1))) == "<python>"
    assert override(document, "a.b.0", "7").data["a"]["b"][0] == 7


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "finite"), ({1, 2}, "a set cannot"), (b"x", "bytes")])
def test_from_mapping_refuses_what_a_file_could_not_hold(value, words):
    message = refusal(from_mapping, {"a": [0, value]})
    assert message.startswith("<python>: a[1]: ")
    assert words in message
