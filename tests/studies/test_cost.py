"""Cost, energy and time to a target: closed forms, the published price file, and what is missing."""

from __future__ import annotations

import pytest
from cli_call import call

from simdml.cluster.device import find_device
from simdml.errors import DocumentError, InfeasibleError, UnitError, UnknownNameError
from simdml.results.plain import plain
from simdml.scenario.loading import load_scenario
from simdml.scenario.schema.cost import CostSpec
from simdml.scenario.schema.target import TargetSpec
from simdml.scenario.simulate import simulate
from simdml.studies.cost.power import power_model
from simdml.studies.cost.prices import price_file, price_of, read_prices
from simdml.studies.cost.statement import statement
from simdml.studies.cost.target import steps_to_target

BASE = {
    "cluster": {"name": "dgx_h100", "nodes": 2},
    "model": "gpt2",
    "training": {"batch_per_gpu": 4, "precision": "bf16"},
}


@pytest.fixture(scope="module")
def result():
    return simulate(load_scenario(BASE))


def made(result, **sections):
    return statement(result, load_scenario(BASE | sections))


def test_cost_is_price_times_gpus_times_time(result):
    found = made(result, cost={"gpu_hour": "3.6 USD/h"}, target={"steps": 1000})
    assert found.usd_per_hour == pytest.approx(16 * 3.6)
    assert found.usd_per_step == pytest.approx(16 * 3.6 / 3600 * result.step_time_s)
    assert found.usd_per_sample == pytest.approx(found.usd_per_step / 64)
    assert found.usd_per_million_tokens == pytest.approx(1e6 * found.usd_per_step / 64 / 1024)
    assert found.target.usd == pytest.approx(1000 * found.usd_per_step)
    by_type = made(result, cost={"gpu_hour": {"H100": "3.6 USD/h", "a100": "1 USD/h"}})
    assert by_type.usd_per_hour == found.usd_per_hour
    assert found.target.seconds == pytest.approx(1000 * result.step_time_s)
    assert found.power_w is None
    assert found.kg_co2e_per_step is None


def test_whole_nodes_are_paid_for():
    part = BASE | {"gpus": 12, "cost": {"gpu_hour": "1 USD/h"}}
    scenario = load_scenario(part)
    assert statement(simulate(scenario), scenario).usd_per_hour == pytest.approx(16.0)


def test_storage_by_the_month_and_traffic_once(result):
    storage = {"size": "100 TB", "price": "0.03 USD/GB/month"}
    found = made(result, cost={"gpu_hour": "0 USD/h", "storage": storage})
    assert found.usd_per_hour == pytest.approx(100_000 * 0.03 / 720)
    traffic = {"size": "10 TB", "price": "0.09 USD/GB"}
    once = made(result, cost={"gpu_hour": "0 USD/h", "traffic": traffic}, target={"steps": 7})
    assert once.target.usd == pytest.approx(900.0)


def test_energy_is_power_times_time_of_what_gpus_do(result):
    shares = {"computing": "100 %", "communicating": "100 %", "waiting": "100 %"}
    found = made(result, energy={**shares, "host": "300 W", "pue": 1.5, "carbon": "400 g/kWh"})
    assert found.power_w == pytest.approx(1.5 * 16 * (700 + 300))
    assert found.kwh_per_step == pytest.approx(24 * result.step_time_s / 3600)
    assert found.kg_co2e_per_step == pytest.approx(0.4 * found.kwh_per_step)
    idle = made(result, energy={**shares, "computing": "10 %", "host": "300 W"})
    computing = sum(
        seconds for name, seconds in result.breakdown.items() if str(name) in {"forward", "backward", "optimizer"}
    )
    assert 0.0 < computing < result.step_time_s
    casts = result.breakdown.get("gradient copies", 0.0)
    busy = (computing + casts) / result.step_time_s
    assert idle.power_w == pytest.approx(16 * (300 + 700 * (0.1 * busy + 1 - busy)))


def test_published_shares_and_hosts():
    spec = load_scenario(BASE | {"energy": {}}).spec.energy
    model, device = power_model(spec), find_device("h100")
    assert [model.share(account) for account in ("forward", "exposed dp", "bubble")] == [1.0, 0.5, 0.2]
    assert 8 * (model.host_of(device) + device.tdp_watts) == pytest.approx(10_200)
    with pytest.raises(InfeasibleError, match="beside its l4"):
        model.host_of(find_device("l4"))


@pytest.mark.parametrize(
    ("target", "steps"),
    [
        ({"steps": 100}, 100),
        ({"tokens": "64 M"}, 1000),
        ({"samples": 6400}, 100),
        ({"epochs": 3, "dataset": 6400}, 300),
        ({"steps": 100, "critical_batch": 64}, 200),
        ({"steps": 100, "critical_batch": 640}, 1100),
        ({"samples": 6400, "critical_batch": 64}, 200),
        ({"steps": 100, "staleness_penalty": "10 %"}, 150),
    ],
)
def test_steps_to_the_target(target, steps):
    spec = load_scenario(BASE | {"target": target}).spec.target
    assert steps_to_target(spec, samples_per_step=64, tokens_per_sample=1000, mean_staleness=5.0) == pytest.approx(
        steps
    )


def test_steps_and_examples_are_on_mccandlishs_hyperbola():
    fewest, critical = 1000, 512
    least = fewest * critical
    for batch in (1, 64, 512, 4096):
        steps = steps_to_target(
            TargetSpec(steps=fewest, critical_batch=critical), samples_per_step=batch, tokens_per_sample=None
        )
        assert (steps / fewest - 1) * (steps * batch / least - 1) == pytest.approx(1.0)
        by_samples = TargetSpec(samples=least, critical_batch=critical)
        assert steps_to_target(by_samples, samples_per_step=batch, tokens_per_sample=None) == pytest.approx(steps)


def test_the_newest_price_that_holds():
    prices = read_prices(price_file(None))
    assert 8 * 3600 * price_of("h100_sxm", CostSpec(), prices).gpu_usd_per_s == pytest.approx(55.04)
    assert price_of("h100_sxm", CostSpec(date="2024-06", provider="aws"), prices).date == "2023-07"
    assert price_of("h200_sxm", CostSpec(commitment="capacity_block"), prices).instance == "p5e.48xlarge"
    assert all(entry.source and entry.mark in {"checked", "recalled"} for entry in prices)


@pytest.mark.parametrize(
    ("sections", "kind", "said"),
    [
        ({"cost": {"commitment": "spot"}}, InfeasibleError, "no price of h100_sxm"),
        ({"cost": {"date": "2001"}}, InfeasibleError, "by 2001"),
        ({"cost": {"gpu_hour": "2.49"}}, DocumentError, "no unit"),
        ({"cost": {"gpu_hour": {"a100": "2 USD/h"}, "commitment": "spot"}}, InfeasibleError, "gpu_hour"),
        ({"cost": {"prices": "./nowhere.yaml"}}, DocumentError, "nowhere.yaml"),
        ({"cost": {"date": "yesterday"}}, DocumentError, "date"),
        ({"target": {"tokens": 5, "steps": 5}}, DocumentError, "exactly one"),
        ({"target": {"epochs": 5}}, DocumentError, "dataset"),
        ({"energy": {"pue": 0.9}}, DocumentError, "pue"),
        ({"energy": {"carbon": "400 g"}}, UnitError, "carbon intensity"),
    ],
)
def test_what_is_missing_or_wrong_is_said(result, sections, kind, said):
    with pytest.raises((InfeasibleError, DocumentError)) as caught:
        made(result, **sections)
    assert said in str(caught.value)
    assert kind is UnitError or isinstance(caught.value, kind)


def test_missing_prices_of_servers_and_tokens_of_images():
    servers = load_scenario("vgg16_parameter_server_25gbe", ["cost.gpu_hour=1 USD/h"])
    prediction = simulate(servers)
    with pytest.raises(InfeasibleError, match="nodes without GPUs, and no price"):
        statement(prediction, servers)
    drawing = load_scenario("vgg16_parameter_server_25gbe", ["energy.host=50 W"])
    with pytest.raises(InfeasibleError, match="what they draw"):
        statement(prediction, drawing)
    tokens = load_scenario("vgg16_parameter_server_25gbe", ["target.tokens=1 B"])
    with pytest.raises(InfeasibleError, match="images"):
        statement(prediction, tokens)


def test_own_price_files(tmp_path, result):
    entry = (
        "{provider: me, instance: rack, gpu: H100, gpus: 4, price: 8 USD/h, commitment: own, date: 2026-01, source: me}"
    )
    (tmp_path / "mine.yaml").write_text(f"prices:\n  - {entry}\n")
    found = made(result, cost={"prices": str(tmp_path / "mine.yaml"), "commitment": "own"})
    assert found.usd_per_hour == pytest.approx(32.0)
    assert plain(found.plain())["rented"][0]["price"] == "me rack, own, 2026-01, own"
    (tmp_path / "typo.yaml").write_text(f"prices:\n  - {entry.replace('H100', 'H1000')}\n")
    with pytest.raises(UnknownNameError, match=r"typo\.yaml:2"):
        made(result, cost={"prices": str(tmp_path / "typo.yaml"), "commitment": "own"})


def test_the_command_prints_what_was_asked_for(capsys):
    code, printed = call(["run", "llama3_8b_dgx_h100_cost"], capsys)
    assert code == 0
    assert "cost of the target" in printed
    assert "kg CO2e" in printed
    code, printed = call(["run", "quickstart"], capsys)
    assert "cost" not in printed
