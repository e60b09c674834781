"""Costs that the jobs on a cluster share: one object for equal clusters, bounded, and the same whatever it forgot."""

from __future__ import annotations

from simdml.calibration.communication import UNCORRECTED, CommunicationFit
from simdml.cluster.loading import load_cluster
from simdml.costs.collectives import nccl
from simdml.costs.collectives.fits import default_fit
from simdml.costs.collectives.nccl import NcclCost, nccl_cost
from simdml.program.instructions import CollectiveKind


def test_shared_costs_forget_and_plan_the_same(monkeypatch):
    """Costs that a cluster's jobs share are bounded; forgetting changes nothing, nor do other fits beside them."""
    cluster = load_cluster({"name": "dgx_a100", "nodes": 2})
    fit, plain = default_fit(cluster), CommunicationFit(UNCORRECTED, UNCORRECTED)
    shared = nccl_cost(cluster, fit)
    assert nccl_cost(load_cluster({"name": "dgx_a100", "nodes": 2}), fit) is shared
    monkeypatch.setattr(nccl, "_MOST_GROUPS", 2)
    monkeypatch.setattr(nccl, "_MOST_SELECTIONS", 3)
    small, other = NcclCost(cluster, fit), None
    for count in (2, 3, 4, 8, 16, 2, 3, 16):
        for payload in (1e3, 1e6, 1e9):
            group = range(count)
            for kind in (CollectiveKind.ALL_REDUCE, CollectiveKind.ALL_GATHER):
                fresh = NcclCost(cluster, fit).plan(kind, group, payload)
                assert small.plan(kind, group, payload) == fresh == shared.plan(kind, group, payload)
                other = other or small.with_fit(plain)
                assert other.plan(kind, group, payload) == NcclCost(cluster, plain).plan(kind, group, payload)
