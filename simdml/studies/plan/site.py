"""One cluster that may be chosen: the scenario on it, its GPUs, what it costs and draws at least."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from simdml.cluster.cluster import Cluster
from simdml.costs.bounds import Paces
from simdml.documents.document import Document
from simdml.documents.validation import validate
from simdml.scenario.clusters import build_cluster, num_gpus
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import Scenario
from simdml.scenario.models import chosen_model, sequence_length
from simdml.scenario.places import located
from simdml.scenario.schema.scenario import ScenarioSpec
from simdml.studies.cost.statement import least_power_w, rent
from simdml.studies.cost.target import steps_to_target
from simdml.workload.catalog import ModelSpec

CLUSTERS_KEPT = 64
RATED = Paces((), np.zeros(0, dtype=np.int64))
_clusters: dict[str, Cluster] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A cluster for the scenario ``name`` with its cluster in ``document``.

    ``steps`` reach the target (1 without one), of ``samples_per_step``. ``usd_per_s`` and ``least_power_w`` are None
    where the plan does not ask. ``key`` is all that the scenario on this cluster says, ``paces`` those of its GPUs.
    """

    number: int
    label: str
    name: str
    document: Document
    gpus: int
    samples_per_step: int
    steps: float
    usd_per_s: float | None
    least_power_w: float | None
    key: str
    paces: Paces

    def scenario(self, document: Document | None = None) -> Scenario:
        """Return the scenario on this cluster, or another ``document`` of it."""
        chosen = document or self.document
        return Scenario(self.name, chosen, validate(chosen, ScenarioSpec))

    def cluster(self) -> Cluster:
        """Return the cluster, built once in a process."""
        key = json.dumps([self.document.data["cluster"], str(self.document.folder(("cluster",)))], sort_keys=True)
        if key not in _clusters:
            if len(_clusters) >= CLUSTERS_KEPT:
                _clusters.clear()
            _clusters[key] = build_cluster(self.scenario())
        return _clusters[key]


def make_site(number: int, label: str, name: str, document: Document, *, priced: bool, powered: bool) -> Site:
    """Return the site of a scenario's ``document``.

    Raises:
        SimdmlError: a cluster that cannot be built, a price or a rating that is missing.
    """
    key = json.dumps([document.data, str(document.folder(("cluster",)))], sort_keys=True)
    bare = Site(number, label, name, document, 1, 1, 1.0, None, None, key, RATED)
    scenario, cluster = bare.scenario(), bare.cluster()
    gpus = num_gpus(scenario, cluster)
    samples = _samples(scenario, gpus)
    model, conditions = chosen_model(scenario), build_conditions(scenario, cluster)
    return Site(
        number,
        label,
        name,
        document,
        gpus,
        samples,
        _steps(scenario, model, samples),
        rent(scenario, cluster, gpus) if priced else None,
        least_power_w(scenario, cluster, gpus) if powered else None,
        key,
        Paces.of(cluster, range(gpus), conditions.slowdowns(np.arange(gpus)).tolist()),
    )


def _samples(scenario: Scenario, gpus: int) -> int:
    training = scenario.spec.training
    if training.global_batch is not None:
        return training.global_batch
    assert training.batch_per_gpu is not None
    return training.batch_per_gpu * gpus


def _steps(scenario: Scenario, model: ModelSpec, samples: int) -> float:
    if scenario.spec.target is None:
        return 1.0
    tokens = (sequence_length(scenario) or model.default_sequence) if model.sample_unit == "sequences" else None
    with located(scenario.document, "target"):
        return steps_to_target(scenario.spec.target, samples_per_step=samples, tokens_per_sample=tokens)
