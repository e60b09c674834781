"""How a step was fed, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from simdml.results.input import COPY, IN_TURN, NOTHING, TOO_FEW

if TYPE_CHECKING:
    from simdml.results.saved import Predicted

WORDS: Final = {"storage": "reading", "decode": "decoding", COPY: "copying to the GPU"}


def input_rows(result: Predicted, rate: Callable[[float], str]) -> Iterator[tuple[str, str]]:
    """Yield what training waits for and what it could do without; ``rate`` writes samples/s."""
    found = result.input
    if found is None:
        return
    limits = {stage: result.samples_per_step / seconds for stage, seconds in found.stage_s.items() if seconds}
    if found.binding == NOTHING:
        least = min(limits, key=lambda stage: limits[stage], default=None)
        yield "waits for data", "never" + ("" if least is None else f"; {WORDS[least]} could do {rate(limits[least])}")
        return
    why = {IN_TURN: "loaded while nothing is trained", TOO_FEW: "too few batches are under way"}.get(found.binding)
    if why is None:
        limit = limits[found.binding]
        why = f"for {WORDS[found.binding]}" + (f", {rate(limit)} at most" if limit < _alone(result) else "")
    yield "waits for data", f"{100 * found.waits_s / result.step_time_s:.1f} % of the step, {why}"
    yield "training alone", rate(_alone(result))


def _alone(result: Predicted) -> float:
    """Return the samples/s of training if data were there at once."""
    assert result.input is not None
    return result.samples_per_step / (result.step_time_s - result.input.waits_s)
