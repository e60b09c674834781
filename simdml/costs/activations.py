"""Activations a rank keeps from forward for backward, in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simdml.workload.model import Activation, Block


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept under ``recompute``, divided over ``tp`` ranks.

    Tensors that tensor parallelism divides count 1/tp, so a transformer layer gives Korthikanti's
    sbh(10 + 24/t + 5as/(ht)); with ``sequence_parallel`` all do: sbh/t (34 + 5as/h) (arXiv 2205.05198, section 4).
    ``recompute`` is ``none``, ``selective``, ``full``, or begins with ``stage``.
    """

    tp: int = 1
    recompute: str = "none"
    sequence_parallel: bool = False

    def microbatch_bytes(self, blocks: Sequence[Block], input_bytes: float) -> float:
        """Return what one micro-batch keeps on a stage whose first block gets ``input_bytes``.

        With full recomputation a recomputable block keeps its input alone (section 5 of the paper); with that of
        whole stages a stage does (Huang et al., GPipe, NeurIPS 2019, section 2.3).
        """
        if not input_bytes:
            input_bytes = _samples_bytes(blocks)
        if self.recompute.startswith("stage"):
            return self._input(input_bytes)
        kept = 0.0
        for block in blocks:
            kept += self._input(input_bytes) if self._whole(block) else self.block_bytes(block)
            input_bytes = block.output_bytes
        return kept

    def working_set_bytes(self, blocks: Sequence[Block]) -> float:
        """Return what is alive beside what is kept while backward runs: what is recomputed, and what passes."""
        if self.recompute.startswith("stage"):
            return self._recomputed_bytes(blocks) + self._passing_bytes(blocks)
        distinct = {id(block): block for block in blocks}.values()
        return max((self._recomputed_bytes([block]) + self._passing_bytes([block]) for block in distinct), default=0.0)

    def _whole(self, block: Block) -> bool:
        return self.recompute == "full" and block.recomputable

    def _passing_bytes(self, blocks: Sequence[Block]) -> float:
        layers = (layer for block in blocks for layer in block.layers)
        return max((sum(map(self._bytes, layer.passing)) for layer in layers), default=0.0)

    def _recomputed_bytes(self, blocks: Sequence[Block]) -> float:
        """Return what is alive while something recomputed runs backward: a block, a layer's scores, or the stage."""
        if self.recompute.startswith("stage"):
            return sum(self._bytes(a) for block in blocks for a in _activations(block))
        if self.recompute == "selective":
            layers = (layer for block in blocks for layer in block.layers)
            return max((sum(self._bytes(a) for a in layer.activations if a.bulky) for layer in layers), default=0.0)
        if self.recompute == "full":
            recomputed = (block for block in blocks if self._whole(block))
            return max((sum(map(self._bytes, _activations(block))) for block in recomputed), default=0.0)
        return 0.0

    def block_bytes(self, block: Block) -> float:
        """Return what forward of one micro-batch keeps of ``block`` where the block is not recomputed as a whole."""
        selective = self.recompute == "selective"
        return sum(self._bytes(a) for a in _activations(block) if not (selective and a.bulky))

    def _bytes(self, activation: Activation) -> float:
        if activation.whole:
            return activation.bytes
        return activation.bytes / self.tp if activation.split or self.sequence_parallel else activation.bytes

    def _input(self, input_bytes: float) -> float:
        return input_bytes / self.tp if self.sequence_parallel else input_bytes


def _activations(block: Block) -> list[Activation]:
    return [activation for layer in block.layers for activation in layer.activations]


def _samples_bytes(blocks: Sequence[Block]) -> float:
    """Return the bytes of the samples that the first stage gets: what its first layer keeps as its input."""
    first = blocks[0].layers[0] if blocks and blocks[0].layers else None
    return sum(a.bytes for a in first.activations if a.name in {"input", "token_ids"}) if first is not None else 0.0
