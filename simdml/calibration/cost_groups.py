"""Groups of costs that err together: if products take longer than thought, they do so in the whole step.

A group is the unit of uncertainty: the seconds of all its operations are off by one common factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from simdml.workload.operators import Family


class CostGroup(StrEnum):
    """What a second of a step was priced by."""

    PRODUCTS = "matrix_products"
    ATTENTION = "attention"
    CONVOLUTIONS = "convolutions"
    STREAMS = "memory_bound_kernels"
    LAUNCHES = "launches"
    NODE = "collectives_in_a_node"
    NETWORK = "collectives_between_nodes"
    COPIES = "copies_and_host_work"
    SERVERS = "parameter_servers"
    INPUT = "training_data"

    @property
    def words(self) -> str:
        """The group in words."""
        return self.value.replace("_", " ").replace("memory bound", "memory-bound")


_OWN: Final = {
    Family.MATMUL: CostGroup.PRODUCTS,
    Family.BATCHED_MATMUL: CostGroup.PRODUCTS,
    Family.ATTENTION: CostGroup.ATTENTION,
    Family.CONVOLUTION: CostGroup.CONVOLUTIONS,
}
GROUP_OF_FAMILY: Final[Mapping[Family, CostGroup]] = {family: _OWN.get(family, CostGroup.STREAMS) for family in Family}
"""The group of each family of kernels; those that only move memory are one."""
