"""The ``input`` section: how training data come to the GPUs."""

from __future__ import annotations

from pydantic import model_validator

from simdml.documents.quantities import Bandwidth, Bytes, Count, CountOrZero, DocumentModel, SampleRate


class StorageSpec(DocumentModel):
    """Where samples are read from."""

    per_node: Bandwidth | None = None
    """What one node reads at most; without a limit by default."""
    total: Bandwidth | None = None
    """What all nodes together read at most; without a limit by default."""
    over_network: bool = False
    """Whether nodes read over their own NICs, beside gradients; over others, or from their own disks, by default."""

    @model_validator(mode="after")
    def _limits(self) -> StorageSpec:
        if self.per_node is None and self.total is None:
            raise ValueError("storage needs a rate: per_node, total, or both")
        return self


class InputSpec(DocumentModel):
    """The input pipeline of every rank, by default as torch.utils.data.DataLoader's: a batch is a micro-batch."""

    loader_workers: CountOrZero = 0
    """Processes of each rank that read and decode (num_workers); with 0, PyTorch's default, training waits for it."""
    prefetch: Count = 2
    """Batches that each worker has under way (prefetch_factor)."""
    decode: SampleRate | None = None
    """What one worker makes of stored samples, measured on such data: 150 samples/s; no time by default."""
    storage: StorageSpec | None = None
    """Where samples are read from, shared by all that read at once; no time by default."""
    cached: bool = False
    """Whether samples are read from memory, as after a first epoch that fits there."""
    sample: Bytes | None = None
    """Size of a sample as stored; as copied by default."""
    on_device: Bytes | None = None
    """Size of a sample as copied to the GPU; by default fp32 pixels of an image, or 16 B a token (inputs, labels)."""
    pin_memory: bool = False
    """Whether batches are in pinned memory; no in PyTorch."""
    non_blocking: bool = False
    """Whether a batch is copied beside training the one before; no in PyTorch, whose copies are among the kernels."""
