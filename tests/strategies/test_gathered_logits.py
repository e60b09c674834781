"""Logits that every tensor-parallel rank gathers: messages, work and memory of the loss."""

from __future__ import annotations

from collections import Counter

import pytest

from simdml.cluster.loading import load_cluster
from simdml.costs.activations import Keeping
from simdml.costs.collectives.placement import node_channels
from simdml.costs.memory import CONNECTION_BYTES, CONNECTIONS, communicator_bytes, further_communicators
from simdml.program.instructions import Collective, CollectiveKind
from simdml.strategies.job import Spread
from simdml.strategies.layer_pieces import layer_pieces
from simdml.workload.catalog import find_model

TOKENS, VOCABULARY = 2 * 128, 50257


def loss_layer(**options):
    model = find_model("gpt2").build(samples=2, sequence=128, element_bytes=2, fused_elementwise=False, **options)
    return model.blocks[-1], model.blocks[-1].layers[-1]


def pieces(layer, operators, *, sequence_parallel=False):
    return list(layer_pieces("head", layer, operators, 2, Spread(sequence_parallel=sequence_parallel)))


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_whole_logits_are_gathered_before_the_loss_and_no_work_is_divided(sequence_parallel):
    _, loss = loss_layer(gathers_logits=True)
    gather, *kernels = pieces(loss, loss.forward, sequence_parallel=sequence_parallel)
    assert isinstance(gather, Collective)
    assert (gather.kind, gather.payload_bytes) == (CollectiveKind.ALL_GATHER, 2.0 * TOKENS * VOCABULARY)
    assert tuple(kernels) == loss.forward
    assert tuple(pieces(loss, loss.backward, sequence_parallel=sequence_parallel)) == loss.backward


def test_split_logits_are_not_gathered():
    _, loss = loss_layer()
    kinds = Counter(type(piece).__name__ for piece in pieces(loss, loss.forward))
    assert kinds == {"Operator": len(loss.forward)}
    assert sum(op.bytes for op in pieces(loss, loss.forward)) == sum(op.bytes for op in loss.forward) / 2


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_memory_of_gathered_logits_does_not_shrink_with_tp(sequence_parallel):
    """Log-probabilities are kept at 4 bytes; 2 + 4 of logits and their copy and 4 + 4 of gradients pass by."""
    head, _ = loss_layer(gathers_logits=True)
    logits = TOKENS * VOCABULARY
    for ways in (1, 2, 8):
        keeping = Keeping(ways, "none", sequence_parallel)
        assert keeping.working_set_bytes([head]) == 14 * logits
        assert keeping.block_bytes(head) >= 4 * logits


def test_every_communicator_after_the_first_has_buffers_of_its_own():
    meshes = ((8,), (8, 1), (8, 2), (8, 4, 2))
    assert [further_communicators(sizes) for sizes in meshes] == [0, 0, 1, 2]
    assert communicator_bytes(24) == 24 * CONNECTIONS * CONNECTION_BYTES


@pytest.mark.parametrize(
    ("topology", "device", "channels"),
    # "24 coll channels" in NCCL's log on A100; 12 on DGX-1's cube mesh, 2 over PCIe.
    [("dgx_a100", "a100_sxm_80gb", 24), ("dgx1_v100", "v100_sxm2_16gb", 12), ("pcie_8gpu", None, 2)],
)
def test_a_communicator_has_the_channels_of_its_machine(topology, device, channels):
    cluster = load_cluster(topology)
    assert node_channels(cluster, device or cluster.template(0).device.name) == channels
