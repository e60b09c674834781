"""The pipeline schedule a scenario names: a known one, a Python file with a ``SCHEDULE``, or a CSV table of actions."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from simdml.documents.reading import read_text
from simdml.errors import DocumentError, Place, SimdmlError
from simdml.scenario.clusters import relative
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located
from simdml.strategies.schedules import Schedule, find_schedule

SCHEDULE = ("strategy", "pipeline", "schedule")
FILES = (".py", ".csv")


def chosen_schedule(scenario: Scenario, name: str) -> Schedule:
    """Return the schedule called ``name``; a file is found relative to the scenario, and a Python file is run.

    Raises:
        UnknownNameError: no such schedule.
        DocumentError: a file that cannot be read or holds no schedule.
    """
    with located(scenario.document, *SCHEDULE):
        if not name.endswith(FILES):
            return find_schedule(name)
        return schedule_in(Path(relative(scenario, name, *SCHEDULE)))


def schedule_in(path: Path) -> Schedule:
    """Return the schedule that a file holds; a Python file is run.

    Raises:
        DocumentError: a file that cannot be read or holds no schedule.
    """
    from simdml.strategies.schedules.order_table import read_order_table

    text = read_text(path)
    return read_order_table(text, path.name) if path.suffix == ".csv" else _run(path)


def _run(path: Path) -> Schedule:
    spec = importlib.util.spec_from_file_location(f"simdml_schedule_{path.stem}", path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SimdmlError:
        raise
    except Exception as error:
        line = getattr(error, "lineno", None) or _line(error, path)
        message = f"the schedule cannot be run: {type(error).__name__}: {error}"
        raise DocumentError(message, place=Place(str(path), line, 1 if line else None)) from error
    found = getattr(module, "SCHEDULE", None)
    if not isinstance(found, Schedule):
        raise DocumentError(
            "the file holds no schedule",
            place=Place(str(path)),
            hint='SCHEDULE = Schedule("name", "what it is", order), from simdml.strategies.schedules',
        )
    return found


def _line(error: BaseException, path: Path) -> int | None:
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == str(path.resolve()):
            line = frame.tb_lineno
        frame = frame.tb_next
    return line
