"""Starting costs next to nothing: what each command may import, pinned on sys.modules of a fresh interpreter."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from simdml.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"numpy", "pandas", "simpy", "matplotlib", "pydantic", "torch", "networkx", "scipy", "rich", "jinja2", "yaml"}
print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
OWN_MODULES = """
import sys
from simdml.cli.main import main
try:
    main(["run", "quickstart"])
except SystemExit as end:
    assert not end.code, end.code
print(*(name for name in sys.modules if name.startswith(("simdml.", "numpy.ma.", "numpy.random"))), file=sys.stderr)
"""
MOST_MODULES = 238
"""What the quickstart imports of simdml; it was 304. Lower it when it gets less."""


def imported(*arguments):
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return set(ended.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["explain", "MFU"]])
def test_help_imports_nothing_heavy(arguments):
    assert imported(*arguments) == set()


def test_run_imports_what_it_needs():
    people = imported("run", "quickstart")
    assert not people & {"torch", "matplotlib", "pandas", "networkx", "scipy", "jinja2"}
    assert imported("run", "quickstart", "--json") == {"numpy", "simpy", "pydantic", "yaml"}


def test_the_quickstart_imports_what_it_names_and_nothing_else():
    ended = subprocess.run([sys.executable, "-c", OWN_MODULES], capture_output=True, text=True, check=True)
    names = ended.stderr.split()
    assert len(names) <= MOST_MODULES
    other = ("fsdp2", "zero3", "horovod", "mirrored", "parameter_server.plan", "schema.goodput", "schema.plan", "zb_v")
    assert [name for name in names if name.endswith(other) or name.startswith(("simdml.studies.plan", "numpy"))] == []


def test_plan_imports_no_more_than_run():
    layouts = "plan.layouts={tp: [1], pp: [1], sharding: [ddp]}"
    assert imported("plan", "quickstart", "--set", layouts, "--jobs", "1", "--json") == imported(
        "run", "quickstart", "--json"
    )


def test_sweep_imports_no_more_than_run():
    arguments = ("quickstart", "--vary", "training.batch_per_gpu=1,2", "--jobs", "1")
    assert not imported("sweep", *arguments) & {"torch", "matplotlib", "pandas", "networkx", "scipy", "jinja2"}
    assert imported("sweep", *arguments, "--json") == {"numpy", "simpy", "pydantic", "yaml"}


def test_compare_imports_no_plotting():
    arguments = ("compare", "quickstart", "quickstart")
    assert not imported(*arguments) & {"torch", "matplotlib", "pandas", "networkx", "scipy", "jinja2"}


def test_goodput_imports_no_plotting():
    arguments = ("goodput", "goodput/llama3_70b_64_nodes", "--seeds", "2")
    assert not imported(*arguments) & {"torch", "matplotlib", "pandas", "networkx", "scipy", "jinja2"}


def test_check_imports_no_plotting():
    assert not imported("check", "quickstart") & {"torch", "matplotlib", "pandas", "networkx", "scipy", "jinja2"}


def test_package_imports_nothing_heavy():
    code = "import simdml, sys; print(simdml.__version__, 'numpy' in sys.modules, 'pydantic' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split()[1:] == ["False", "False"]


def cpu_s(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "simdml", *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def test_gpt3_on_1024_gpus_takes_less_than_two_seconds_of_one_core():
    assert min(cpu_s("run", "gpt3_175b_1024_a100") for _ in range(2)) < 2.0
