from __future__ import annotations

import pickle

import pytest

from simdml import errors
from simdml.errors import (
    EXIT_CODES,
    DocumentError,
    DoesNotFitError,
    InfeasibleError,
    InternalError,
    OutputError,
    Place,
    Problem,
    SimdmlError,
    TopologyError,
    UnitError,
    UnknownNameError,
    UsageError,
)

PLACE = Place("a.yaml", 12, 7, ("strategy", "mesh", 0, "tp"), "  tp: 7")
EVERY = [
    UsageError("m", hint="h"),
    DocumentError("m", hint="h", place=PLACE, problems=[Problem("x", PLACE), Problem("y")]),
    UnitError("m", hint="h"),
    UnknownNameError("GPU", "H10", ["H100", "A100"], place=PLACE),
    InfeasibleError("m", place=PLACE),
    DoesNotFitError("m", needed_bytes=100.0, available_bytes=80.0, where="stage 3"),
    TopologyError("m"),
    OutputError("m"),
    InternalError("m"),
]


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_errors_cross_process_pools(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_place_says_what_is_known_of_it():
    assert str(PLACE) == "a.yaml:12:7"
    assert str(Place("a.csv", 3)) == "a.csv:3"
    assert str(Place("--set model")) == "--set model"


def test_exit_codes_are_distinct_documented_and_drawn():
    tree = errors.__doc__
    codes = {}
    for error in EVERY:
        kind = type(error)
        assert error.exit_code in EXIT_CODES
        drawn = next(line for line in tree.splitlines() if f"─ {kind.__name__} " in line)
        assert drawn.split(kind.__name__)[1].split()[0] == str(error.exit_code)
        codes.setdefault(error.exit_code, []).append(kind)
    assert codes.pop(3) == [DocumentError, UnitError]
    assert all(len(kinds) == 1 for kinds in codes.values())
    assert set(EXIT_CODES) == {0, 3, 130, *codes}


def test_a_message_has_place_path_caret_and_hint():
    assert str(SimdmlError("7 does not divide 16", place=PLACE, hint="use 8")) == (
        "a.yaml:12:7: strategy.mesh[0].tp: 7 does not divide 16\n    12 |   tp: 7\n       |       ^\n  hint: use 8"
    )


def test_caret_stays_under_its_column_in_a_long_line():
    place = Place("a.yaml", 1, 5001, (), "x" * 5000 + "Y" + "x" * 5000)
    source, caret = place.snippet().splitlines()
    assert len(source) < 120
    assert source[caret.index("^")] == "Y"


def test_many_problems_fill_a_screen_and_no_more():
    problems = [Problem(f"problem {index}", PLACE, "hint") for index in range(100)]
    text = str(DocumentError("a.yaml: 100 problems", problems=problems))
    assert text.startswith("a.yaml: 100 problems:\n")
    assert text.endswith("... and 92 more")
    assert len(text.splitlines()) < 50


def test_unknown_name_gives_the_nearest():
    error = UnknownNameError("GPU", "h-100 SXM", ["H100_SXM", "A100_SXM", "K80"])
    assert error.nearest[0] == "H100_SXM"
    assert 'unknown GPU "h-100 SXM"; did you mean "H100_SXM"' in str(error)
    assert "known: H100_SXM, A100_SXM, K80" in str(error)
    assert "did you mean" not in str(UnknownNameError("GPU", "zzz", ["H100"]))


def test_long_lists_of_names_are_cut():
    assert "and 976 more" in str(UnknownNameError("GPU", "zzz", [f"gpu{index}" for index in range(1000)]))


def test_does_not_fit_says_by_how_much():
    assert DoesNotFitError("m", needed_bytes=100.0, available_bytes=80.0, where="stage 3").excess_bytes == 20.0


def test_quoted_text_is_one_printable_line():
    assert errors.quoted("a\x1b[31m\nb") == '"a\\x1b[31m\\nb"'
    assert len(errors.quoted("x" * 10**6)) == 62
