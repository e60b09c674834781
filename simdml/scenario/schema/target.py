"""The ``target`` section: how much has to be trained."""

from __future__ import annotations

from pydantic import model_validator

from simdml.documents.quantities import Count, DocumentModel, PercentOrZero

AMOUNTS = ("tokens", "samples", "steps", "epochs")


class TargetSpec(DocumentModel):
    """How much has to be trained, and what a larger batch or stale gradients cost in training more of it."""

    tokens: Count | None = None
    """Tokens that reach the target; with critical_batch, in small batches."""
    samples: Count | None = None
    """Samples that do."""
    steps: Count | None = None
    """Steps that do; with critical_batch, the fewest, in batches without limit."""
    epochs: Count | None = None
    """Passes over the dataset that do."""
    dataset: Count | None = None
    """Samples of the dataset, for epochs."""
    critical_batch: Count | None = None
    """Samples of the critical batch size B: steps grow as 1 + B / batch (arXiv 1812.06162); never assumed."""
    staleness_penalty: PercentOrZero | None = None
    """Training added for every update that gradients are stale by on average; never assumed."""

    @model_validator(mode="after")
    def _one_amount(self) -> TargetSpec:
        given = [name for name in AMOUNTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a target is exactly one of {', '.join(AMOUNTS)}, found {' and '.join(given) or 'none'}")
        if (self.epochs is None) != (self.dataset is None):
            raise ValueError("epochs and dataset, the samples of one, go together")
        return self
