from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simdml import resources
from simdml.errors import DocumentError, InternalError, UnknownNameError

PACKAGE = Path(resources.__file__).parent
FILES = {
    "topologies": ["dgx_h100.yaml", "dgx_a100.yaml", "_parts/rail.yaml", ".hidden.yaml", "notes.txt"],
    "scenarios": ["first.yaml", "sc21/row_01.yaml"],
    "calibrate": ["profiles/h100.yaml", "measure.py"],
    "reports": ["step.html"],
}


def fill(folder):
    for kind, names in FILES.items():
        for name in names:
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"name: {name}\n")


@pytest.fixture(params=["wheel", "checkout"])
def layout(request, tmp_path, monkeypatch):
    package = tmp_path / "site" / "simdml"
    package.mkdir(parents=True)
    if request.param == "wheel":
        fill(package / "_data")
        (package.parent / "reports").mkdir()
    else:
        fill(package.parent)
        (package.parent / "pyproject.toml").touch()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(resources, "PACKAGE", package)
    return package / "_data" if request.param == "wheel" else package.parent


def test_lists_bundled_files(layout):
    assert resources.data_dir("topologies") == layout / "topologies"
    assert resources.available("topologies") == ("dgx_a100", "dgx_h100")
    assert resources.available("scenarios") == ("first", "sc21/row_01")
    assert resources.available("calibrate") == ("profiles/h100",)
    assert resources.available("reports") == ("step",)


@pytest.mark.parametrize("name", ["sc21/row_01", "sc21/row_01.yaml", "scenarios/sc21/row_01.yaml"])
def test_finds_bundled_names(layout, name):
    assert resources.find("scenarios", name) == layout / "scenarios" / "sc21" / "row_01.yaml"


def test_an_existing_file_wins_over_a_bundled_name(layout):
    Path("dgx_h100").write_text("mine: 1")
    assert resources.find("topologies", "dgx_h100") == Path("dgx_h100")
    Path("first.yaml").write_text("mine: 1")
    assert resources.find("scenarios", "./first.yaml") == Path("first.yaml")
    assert resources.find("scenarios", "first") == layout / "scenarios" / "first.yaml"


def test_a_folder_of_the_same_name_does_not_win(layout):
    Path("dgx_h100").mkdir()
    assert resources.find("topologies", "dgx_h100") == layout / "topologies" / "dgx_h100.yaml"


def test_unknown_names_give_the_nearest(layout):
    with pytest.raises(UnknownNameError) as caught:
        resources.find("topologies", "dgx-h10")
    assert caught.value.exit_code == 4
    assert 'unknown cluster "dgx-h10"; did you mean "dgx_h100"' in str(caught.value)
    assert "bundled: dgx_a100, dgx_h100" in str(caught.value)


def test_a_missing_path_is_a_missing_file(layout):
    Path("mine.yaml").touch()
    for name in ("./mne.yaml", "mne.yaml"):
        with pytest.raises(DocumentError, match=r'no file .*did you mean "mine.yaml"') as caught:
            resources.find("scenarios", name)
        assert caught.value.exit_code == 3
    Path("folder").mkdir()
    with pytest.raises(DocumentError, match="is a folder"):
        resources.find("scenarios", "./folder")


def test_an_incomplete_installation_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "simdml")
    (tmp_path / "topologies").mkdir()
    with pytest.raises(InternalError, match="reinstall simdml") as caught:
        resources.data_dir("topologies")
    assert caught.value.exit_code == 70


def run(code, path, cwd):
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_installed_copy_of_the_package_finds_its_own_data(tmp_path):
    installed = tmp_path / "site" / "simdml"
    installed.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "resources.py"):
        shutil.copy(PACKAGE / name, installed / name)
    fill(installed / "_data")
    code = "from simdml import resources; print(resources.find('topologies', 'dgx_h100'))"
    assert run(code, installed.parent, tmp_path) == str(installed / "_data" / "topologies" / "dgx_h100.yaml")


def test_reading_a_document_loads_nothing_heavy(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 25 us")
    code = (
        "import sys; from simdml import units, resources; from simdml.documents import loading, overriding\n"
        "loading.load_document('a.yaml')\n"
        "print(sorted({'numpy', 'pandas', 'pydantic', 'simpy', 'networkx', 'matplotlib'} & set(sys.modules)))"
    )
    assert run(code, PACKAGE.parent, tmp_path) == "[]"
