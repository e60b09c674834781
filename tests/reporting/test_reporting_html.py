"""The fragment for notebooks: well-formed, escaped, and complete in itself."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import sample_results
from html_nesting import check_complete, parsed

from simdml.reporting.html import result_html

KINDS = list(sample_results.every_kind())


@pytest.mark.parametrize("kind", KINDS)
def test_well_formed_and_complete_in_itself(kind):
    check_complete(result_html(sample_results.every_kind()[kind]))


def test_bar_pieces_fill_the_bar():
    html = result_html(sample_results.pipeline())
    assert sum(float(width) for width in re.findall(r"width:([0-9.]+)%;background", html)) == pytest.approx(
        100, abs=0.01
    )


def test_texts_are_escaped():
    evil = "<script>alert('x')</script>"
    html = result_html(replace(sample_results.ddp(), name=evil, notes=(evil,)))
    assert "<script" not in html
    assert "".join(parsed(html).text).count("alert('x')") == 2


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
