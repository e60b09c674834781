"""Robust least squares between bounds: few coefficients, some outliers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Residuals = Callable[[Vector], Vector]

_STEP = 1e-6
_ITERATIONS = 200
_TOLERANCE = 1e-10
_MOST_DAMPING = 1e12


@dataclass(frozen=True, slots=True)
class RobustFit:
    """``coefficients``, the robust ``loss`` they leave, and the plain ``residuals`` at them."""

    coefficients: Vector
    loss: float
    residuals: Vector

    @property
    def spread(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(self.residuals**2)))


def robust_fit(
    residuals: Residuals,
    starts: Iterable[Sequence[float]],
    lower: Sequence[float],
    upper: Sequence[float],
    scale: float,
) -> RobustFit:
    """Return the coefficients within bounds of least soft-L1 loss, the best found from ``starts``.

    The loss of a residual r is ``2 s² (sqrt(1 + (r/s)²) - 1)``: quadratic below ``scale`` s and linear above, so that
    an outlier counts, but does not rule (Barron, arXiv 1701.03077, alpha = 1). Levenberg-Marquardt with the loss
    as weights, steps cut at the bounds (Madsen, Nielsen and Tingleff, "Methods for non-linear least squares", 2004).
    """
    bounds = np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64)
    found = [_descend(residuals, np.array(start, dtype=np.float64), bounds, scale) for start in starts]
    return min(found, key=lambda fit: fit.loss)


def _loss(residual: Vector, scale: float) -> float:
    return float(2.0 * scale**2 * np.sum(np.sqrt(1.0 + (residual / scale) ** 2) - 1.0))


def _descend(residuals: Residuals, start: Vector, bounds: tuple[Vector, Vector], scale: float) -> RobustFit:
    at = np.clip(start, *bounds)
    residual = residuals(at)
    loss, damping = _loss(residual, scale), 1e-3
    for _ in range(_ITERATIONS):
        weight = 1.0 / np.sqrt(1.0 + (residual / scale) ** 2)
        slopes = _jacobian(residuals, at, residual, bounds[1])
        normal = (slopes.T * weight) @ slopes
        gradient = (slopes.T * weight) @ residual
        step = _step(normal, gradient, damping, at, bounds)
        moved = np.clip(at + step, *bounds)
        new = residuals(moved)
        new_loss = _loss(new, scale)
        if new_loss < loss:
            gained = loss - new_loss
            at, residual, loss, damping = moved, new, new_loss, damping / 3.0
            if gained < _TOLERANCE * max(loss, _TOLERANCE):
                break
        else:
            damping *= 4.0
            if damping > _MOST_DAMPING:
                break
    return RobustFit(at, loss, residual)


def _step(normal: Vector, gradient: Vector, damping: float, at: Vector, bounds: tuple[Vector, Vector]) -> Vector:
    """The damped step of the coefficients that are not held at a bound they push against."""
    held = ((at <= bounds[0]) & (gradient > 0.0)) | ((at >= bounds[1]) & (gradient < 0.0))
    free = np.flatnonzero(~held)
    step = np.zeros_like(at)
    if len(free):
        part = normal[np.ix_(free, free)]
        diagonal = np.diag(damping * np.maximum(np.diag(part), 1e-12))
        step[free] = np.linalg.lstsq(part + diagonal, -gradient[free], rcond=None)[0]
    return step


def _jacobian(residuals: Residuals, at: Vector, here: Vector, upper: Vector) -> Vector:
    columns = []
    for index in range(len(at)):
        # Backwards at the upper bound.
        sign = -1.0 if at[index] + _STEP > upper[index] else 1.0
        beside = at.copy()
        beside[index] += sign * _STEP
        columns.append((residuals(beside) - here) / (sign * _STEP))
    return np.stack(columns, axis=1)
