"""The report in the terminal: what it says, and that it fits."""

import io

import pytest
import sample_results
from rich.console import Console

from simdml.reporting.headline import alike, mean_accounts, share
from simdml.reporting.palette import STYLES, label_of, ordered, style_of
from simdml.reporting.text import Bar, result_text

KINDS = list(sample_results.every_kind())


def printed(renderable, encoding="utf-8", **options):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=80, force_terminal=False, **options).print(renderable)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("kind", KINDS)
def test_report_fits_a_terminal(kind):
    lines = printed(result_text(sample_results.every_kind()[kind])).splitlines()
    assert len(lines) <= 45
    assert max(len(line) for line in lines) <= 80


def test_report_says_what_matters():
    text = printed(result_text(sample_results.pipeline(dp=2)))
    assert "8 GPUs, 16 images a step" in text
    assert "step time" in text
    assert "38 s" in text
    assert "stage 0, 2 of 8 ranks" in text
    assert "exposed pp" in text
    assert "48 GiB of 80 GiB, 60.0 %" in text
    assert "Busiest link of each kind" in text


def test_markup_in_names_and_notes_is_printed_as_it_is():
    assert "a note with <angle brackets> & an ampersand" in printed(result_text(sample_results.ddp()))
    assert "[bold]" in printed(result_text(renamed("[bold]name[/]")))


def renamed(name):
    from dataclasses import replace

    return replace(sample_results.ddp(), name=name, notes=(name,) * 9)


def test_many_notes_are_cut_short():
    assert "and 3 more" in printed(result_text(renamed("x")))


def test_bars_in_plain_ascii():
    text = printed(result_text(sample_results.ddp()), encoding="ascii")
    assert "#####" in text
    assert printed(Bar(0.5, "red", 8)).rstrip() == "████"
    assert printed(Bar(3.0, "red", 8)).rstrip() == "████████"
    assert printed(Bar(0.0, "red", 8)).strip() == ""


def test_shares():
    assert [share(x) for x in (0.0, 0.0001, 0.1234, 1.0)] == ["0.0 %", "< 0.1 %", "12.3 %", "100.0 %"]


def test_mean_over_all_ranks_adds_up_to_the_step():
    result = sample_results.pipeline(dp=2)
    assert sum(mean_accounts(result).values()) == pytest.approx(result.step_time_s)


def test_ranks_that_look_the_same_are_one_row():
    [workers] = alike(sample_results.parameter_server().breakdowns)
    assert (workers.representative, workers.num_ranks) == (0, 4)
    stages = alike(sample_results.pipeline().breakdowns)
    assert [stage.rank_class for stage in stages] == [f"stage {index}" for index in range(4)]


def test_every_account_of_every_kind_has_its_own_look():
    accounts = {
        name for result in sample_results.every_kind().values() for each in result.breakdowns for name in each.seconds
    }
    assert all(name.removeprefix("exposed ") in STYLES for name in accounts)
    assert style_of("exposed dp") == style_of("dp")
    assert label_of("exposed dp") == "dp communication"
    assert ordered(["bubble", "exposed dp", "forward", "unheard of"]) == [
        "forward",
        "exposed dp",
        "bubble",
        "unheard of",
    ]
