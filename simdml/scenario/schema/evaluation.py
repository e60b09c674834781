"""The ``evaluation`` section."""

from __future__ import annotations

from simdml.documents.quantities import Count, DocumentModel, Steps


class EvaluationSpec(DocumentModel):
    """Forward passes over held-out samples, between training steps and on the same GPUs."""

    every: Steps
    """Training steps between two evaluations: 1000 steps."""
    samples: Count
    """Samples of one evaluation, over all replicas."""
