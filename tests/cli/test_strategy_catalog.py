"""``simdml list strategies`` and ``simdml explain STRATEGY``: whose a strategy is, what is modelled, its defaults."""

from __future__ import annotations

import pytest

from simdml.documents.loading import load_document
from simdml.resources import available, find
from simdml.strategies.catalog import strategies
from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS


def words(text):
    return " ".join(text.split())


def test_every_strategy_is_listed_with_its_system(simdml):
    listed = simdml("list", "strategies").output
    for name, strategy in strategies().items():
        assert f" {name} " in listed
        assert strategy.system, name
        assert strategy.system.split()[0] in listed


@pytest.mark.parametrize("name", [*KINDS, *SYSTEMS])
def test_strategies_of_systems_say_what_they_model(simdml, name):
    said = simdml("explain", name)
    assert said.code == 0
    strategy = strategies()[name]
    assert strategy.models
    assert strategy.sources
    for sentence in (*strategy.models, *strategy.leaves_out, *strategy.sources):
        assert words(sentence) in words(said.output)
    for option, default in strategy.defaults.items():
        assert default is not None, f"{name} does not say what {option} is"
        assert f"{option}: " in said.output


def test_names_are_found_in_any_spelling_and_refused_with_the_nearest(simdml):
    assert simdml("explain", "FSDP-2").output == simdml("explain", "fsdp2").output
    assert simdml("explain", "DistributedDataParallel").output == simdml("explain", "ddp").output
    refused = simdml("explain", "fsdp3")
    assert refused.code != 0
    assert "fsdp2" in refused.messages


@pytest.mark.parametrize("name", KINDS)
def test_every_data_parallel_strategy_has_a_scenario(name):
    """That the scenarios run, their own tests see to."""
    used = set()
    for scenario in available("scenarios"):
        strategy = load_document(find("scenarios", scenario)).data.get("strategy", "ddp")
        if isinstance(strategy, str):
            used.add(strategy)
        elif "data_parallel" in strategy:
            used.add(strategy["data_parallel"].get("kind", "ddp"))
    assert name in used
