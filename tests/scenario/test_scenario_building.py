"""What a scenario becomes: meshes, micro-batches, plans, defaults and costs."""

from __future__ import annotations

import pytest

import simdml
from simdml.errors import DocumentError, InfeasibleError, SimdmlError, UnknownNameError
from simdml.program.mesh import Mesh
from simdml.scenario.building import build
from simdml.scenario.degrees import divisors
from simdml.scenario.explaining import defaults, explain_lines
from simdml.scenario.loading import load_scenario
from simdml.strategies.job import DataParallelPlan, PipelinePlan
from simdml.strategies.parameter_server.plan import ParameterServerPlan
from simdml.strategies.schedules import SCHEDULES

IMAGES = {"cluster": "dgx1_v100", "model": "resnet50", "training": {"batch_per_gpu": 32}}
TOKENS = {
    "cluster": {"name": "dgx_a100", "nodes": 2},
    "model": "gpt2_medium",
    "training": {"global_batch": 32, "microbatch": 2, "precision": "fp16"},
}


def built(base, **changes):
    return build(load_scenario(base, changes=changes))


def test_ddp_is_the_default_with_pytorch_defaults():
    job = built(IMAGES).job
    assert job.mesh == Mesh((("tp", 1), ("dp", 8), ("pp", 1)))
    assert job.data_parallel == DataParallelPlan(overlap=True, gradient_as_bucket_view=False)
    assert (job.training.microbatch, job.training.num_microbatches) == (32, 1)
    assert job.global_batch == 256
    assert job.training.optimizer == "sgd_momentum"
    assert not job.training.fused_optimizer


def test_global_batch_is_divided_over_replicas():
    job = built(IMAGES, training={"batch_per_gpu": None, "global_batch": 512}).job
    assert (job.training.microbatch, job.training.num_microbatches) == (64, 1)


def test_micro_batches_accumulate_gradients():
    accumulated = built(IMAGES, training={"microbatch": 8})
    assert (accumulated.job.training.microbatch, accumulated.job.training.num_microbatches) == (8, 4)
    once = built(IMAGES, training={"batch_per_gpu": 8})
    kernels = [
        sum(1 for block in b.job.build(8).blocks for layer in block.layers for _ in layer.backward)
        for b in (accumulated, once)
    ]
    assert kernels[0] > kernels[1]


def test_mesh_leaves_dp_and_takes_megatron_defaults():
    job = built(TOKENS, strategy={"mesh": {"tp": 4, "pp": 2}}).job
    assert job.mesh == Mesh((("tp", 4), ("dp", 2), ("pp", 2)))
    assert job.pipeline == PipelinePlan(SCHEDULES["1f1b"], 1, overlap_p2p=False)
    assert job.data_parallel == DataParallelPlan(overlap=False, gradient_as_bucket_view=True)
    assert (job.training.microbatch, job.training.num_microbatches) == (2, 8)
    assert job.training.fused_optimizer
    assert job.training.gradient_bytes == 2


def test_vocabulary_is_padded_as_megatron_does():
    plain = built(TOKENS, strategy="ddp", training={"microbatch": 2}).job.build(2)
    padded = built(TOKENS, strategy={"mesh": {"tp": 4}}).job.build(2)
    rows = -(-50257 // 512) * 512
    assert padded.parameter_count - plain.parameter_count == (rows - 50257) * 1024


@pytest.mark.parametrize(("name", "chunks", "overlap"), [("gpipe", 1, True), ("1f1b", 1, False)])
def test_a_schedule_alone_is_a_pipeline_over_all_gpus(name, chunks, overlap):
    job = built(TOKENS, cluster="dgx_a100", strategy=name).job
    assert job.mesh.size("pp") == 8
    assert job.pipeline == PipelinePlan(SCHEDULES[name], chunks, overlap_p2p=overlap)


def test_interleaved_takes_two_chunks():
    job = built(TOKENS, strategy={"mesh": {"pp": 4}, "pipeline": {"schedule": "interleaved_1f1b"}}).job
    assert job.pipeline.chunks == 2
    with pytest.raises(InfeasibleError, match="one chunk"):
        built(TOKENS, strategy={"mesh": {"pp": 4}, "pipeline": {"schedule": "gpipe", "chunks": 2}})


def test_micro_batch_of_the_pipeline_or_of_training():
    strategy = {"mesh": {"pp": 4}, "pipeline": {"microbatch": 2}}
    assert built(TOKENS, strategy=strategy).job.training.microbatch == 2
    with pytest.raises(DocumentError, match=r"strategy\.pipeline\.microbatch is 4 and training\.microbatch 2"):
        built(TOKENS, strategy={"mesh": {"pp": 4}, "pipeline": {"microbatch": 4}})


def test_layer_placement_is_a_pipeline_of_one_micro_batch():
    job = built(IMAGES, gpus=4, training={"batch_per_gpu": None, "global_batch": 64}, strategy="layer_placement").job
    assert job.mesh.size("pp") == 4
    assert (job.training.microbatch, job.training.num_microbatches) == (64, 1)
    assert job.pipeline == PipelinePlan("gpipe", balance="flops")
    stages = {"layer_placement": {"stages": [0, 9]}}
    job = built(IMAGES, training={"batch_per_gpu": None, "global_batch": 64}, strategy=stages).job
    assert (job.mesh.size("pp"), job.mesh.size("dp")) == (2, 4)
    assert job.pipeline.balance == (0, 9)


def test_servers_are_the_server_nodes_or_the_first_workers():
    servers = {"cluster": {"name": "pcie_8gpu_25gbe", "nodes": 3, "servers": {"nodes": 2}}}
    job = built(IMAGES, **servers, strategy="parameter_server").job
    assert job.parameter_server == ParameterServerPlan(nodes=(3, 4), placement="round_robin")
    beside = {
        "parameter_server": {"location": "colocated", "servers": 2, "consistency": "asynchronous", "overlap": False}
    }
    plan = built(IMAGES, **servers, strategy=beside).job.parameter_server
    assert plan == ParameterServerPlan(nodes=(0, 1), consistency="asynchronous", placement="round_robin", overlap=False)
    plan = built(IMAGES, cluster={"name": "pcie_8gpu_25gbe", "nodes": 3}, strategy="parameter_server").job
    assert plan.parameter_server.nodes == (0, 1, 2)


def test_server_costs_are_those_of_the_scenario():
    section = {"server_rate": "5 GB/s", "per_message": "1 ms", "connection": "10 Gbps", "server_per_message": "20 us"}
    cluster = {"name": "pcie_8gpu_25gbe", "nodes": 2, "servers": {"nodes": 1}}
    costs = built(IMAGES, cluster=cluster, strategy={"parameter_server": section}).costs
    assert (costs.server.bytes_per_s, costs.server.per_message_s) == (5e9, 20e-6)
    assert (costs.messages.per_message_s, costs.messages.stream_bytes_per_s) == (1e-3, 1.25e9)


def test_preset_is_a_system_whose_settings_can_be_changed():
    cluster = {"name": "p2_8xlarge", "nodes": 2}
    section = {"preset": "tensorflow_distributed_replicated", "servers": 2, "server_rate": "5 GB/s"}
    made = built(IMAGES, cluster=cluster, strategy={"parameter_server": section})
    plan = ParameterServerPlan((0, 1), placement="round_robin", local_aggregation="device", overlap=False)
    assert made.job.parameter_server == plan
    assert (made.costs.server.bytes_per_s, made.costs.server.per_message_s) == (5e9, 50e-6)
    taken = {choice.path.removeprefix("strategy.parameter_server."): choice.value for choice in defaults(made)}
    assert (taken["local_aggregation"], taken["per_message"]) == (True, "200 us")
    assert "server_rate" not in taken
    with pytest.raises(UnknownNameError, match="tensorflow_distributed_replicated"):
        built(IMAGES, strategy={"parameter_server": {"preset": "tensorflow_distributed"}})


def test_costs_carry_the_host_time_of_a_launch():
    assert built(IMAGES).costs.host_launch_s == built(IMAGES).profile.host_launch_s > 0


def test_a_mesh_of_one_is_still_megatron():
    job = built(TOKENS, strategy={"mesh": {"tp": 1}}).job
    assert job.training.fused_optimizer
    assert job.data_parallel == DataParallelPlan(overlap=False, gradient_as_bucket_view=True)
    assert job.build(2).parameter_count > built(TOKENS, strategy="ddp").job.build(2).parameter_count


def test_gradient_type_decides_bytes_and_kernels():
    training = {"gradients": "fp32", "precision": "bf16"}
    job = built(TOKENS, training=training, strategy={"mesh": {"tp": 2}}).job
    assert job.training.gradient_bytes == 4
    assert built(TOKENS, training={"precision": "fp16"}, strategy="ddp").job.training.gradient_bytes == 2


def test_compute_scale_multiplies_one_family():
    plain = simdml.run(IMAGES)
    slow = simdml.run(IMAGES, profile={"compute_scale": {"convolution": 2.0}})
    assert 1.2 < slow.step_time_s / plain.step_time_s < 2.0


def test_gloo_is_slower_than_nccl_on_the_same_network():
    changes = {"cluster": {"name": "pcie_8gpu_25gbe", "nodes": 2}}
    nccl = simdml.run(IMAGES, **changes)
    gloo = simdml.run(IMAGES, **changes, communication="gloo")
    assert gloo.step_time_s > nccl.step_time_s
    assert gloo.inputs["communication"] == ["gloo_tcp"]


def test_fewer_gpus_than_the_cluster_has():
    result = simdml.run(IMAGES, gpus=2)
    assert result.num_gpus == 2
    assert simdml.run(IMAGES, gpus=1).step_time_s < result.step_time_s


def test_mapping_file_and_name_are_the_same(tmp_path):
    text = "cluster: dgx1_v100\nmodel: resnet50\ntraining: {batch_per_gpu: 32}\n"
    (tmp_path / "scenario.yaml").write_text(text)
    from_file = simdml.run(tmp_path / "scenario.yaml").to_dict()
    assert from_file == simdml.run(IMAGES).to_dict()


def test_overrides_merge_and_may_be_dotted():
    result = simdml.run("quickstart", **{"training.batch_per_gpu": 64}, gpus=4)
    assert result.samples_per_step == 256
    assert result.inputs["scenario"]["training"]["precision"] == "fp16"


def test_cluster_beside_the_scenario_wins_over_a_bundled_one(tmp_path):
    (tmp_path / "dgx1_v100").write_text("node:\n  gpus: {type: v100, count: 2}\n")
    (tmp_path / "scenario.yaml").write_text("cluster: dgx1_v100\nmodel: resnet50\ntraining: {batch_per_gpu: 32}\n")
    assert build(load_scenario(tmp_path / "scenario.yaml")).job.cluster.num_gpus == 2
    (tmp_path / "scenario.yaml").write_text(
        "cluster: {name: ./dgx1_v100, node: {gpus: {count: 4}}}\nmodel: resnet50\ntraining: {batch_per_gpu: 32}\n"
    )
    assert build(load_scenario(tmp_path / "scenario.yaml")).job.cluster.num_gpus == 4


def test_sequence_is_given_once():
    with pytest.raises(InfeasibleError, match=r"model\.sequence is 512 and training\.sequence 1024"):
        built(TOKENS, model={"name": "gpt2_medium", "sequence": 512}, training={"sequence": 1024})
    model = built(TOKENS, model={"name": "gpt2_medium", "sequence": 512}).job.build(1)
    assert model.tokens_per_sample == 512
    with pytest.raises(InfeasibleError, match="no sequence length"):
        built(IMAGES, training={"sequence": 128})


def test_layers_written_down_are_the_model():
    layers = [
        {"name": "wide", "kind": "linear", "inputs": 1024, "outputs": "4 k"},
        {"name": "deep", "kind": "linear", "inputs": 4000, "outputs": 10, "bias": False},
    ]
    model = built(IMAGES, model={"name": "mine", "layers": layers}).job.build(4)
    assert model.name == "mine"
    assert model.parameter_count == 1024 * 4000 + 4000 + 4000 * 10
    assert model.model_flops_per_sample == 3 * 2 * (1024 * 4000 + 4000 * 10)


def test_steps_are_as_many_as_asked_for():
    assert simdml.run(IMAGES, simulate={"steps": 7}).steps_simulated == 7
    assert simdml.run(IMAGES).steps_simulated < 7


def test_divisors():
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert divisors(1) == [1]


def test_public_names():
    assert sorted(simdml.__all__) == [
        "Result",
        "Scenario",
        "SimdmlError",
        "__version__",
        "compare",
        "fleet",
        "goodput",
        "load_scenario",
        "plan",
        "run",
        "sensitivity",
        "simulate",
        "sweep",
    ]
    assert all(getattr(simdml, name) is not None for name in simdml.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = simdml.rum


def test_errors_of_python_mappings_have_a_path():
    with pytest.raises(SimdmlError) as caught:
        simdml.run(IMAGES, model="resnet51")
    assert "model: unknown model" in str(caught.value)


def test_notes_say_what_was_extrapolated():
    assert built(IMAGES).notes == ()
    (note,) = built(
        TOKENS, strategy="ddp", cluster={"name": "dgx_a100", "nodes": 16}, training={"global_batch": 256}
    ).notes
    assert "collectives of 128 ranks are beyond the 96 that nccl_infiniband was fitted on" in note
    borrowed, beyond = built(IMAGES, cluster="dgx2_v100").notes
    assert "v100_sxm3_32gb takes its efficiencies" in borrowed
    assert "collectives of 16 ranks are beyond the 8" in beyond
    assert simdml.run(IMAGES, cluster="dgx2_v100").notes == (borrowed, beyond)


def test_fsdp_shards_over_all_replicas_and_hsdp_over_a_node():
    training = {"global_batch": None, "batch_per_gpu": 2}
    assert built(TOKENS, training=training, strategy="fsdp2").job.mesh == Mesh((("tp", 1), ("dp_shard", 16), ("pp", 1)))
    hybrid = built(TOKENS, training=training, strategy="hsdp").job
    assert hybrid.mesh == Mesh((("tp", 1), ("dp_shard", 8), ("dp_replicate", 2), ("pp", 1)))
    assert hybrid.global_batch == 32
    mesh = {"tp": 2, "dp_replicate": 4}
    job = built(TOKENS, strategy={"mesh": mesh, "data_parallel": {"kind": "fsdp2"}}).job
    assert job.mesh == Mesh((("tp", 2), ("dp_shard", 2), ("dp_replicate", 4), ("pp", 1)))
    assert not job.training.fused_optimizer


@pytest.mark.parametrize(
    ("strategy", "message", "hint"),
    [
        ({"data_parallel": {"kind": "fsdp"}}, "unknown data-parallel strategy 'fsdp'", "fsdp1"),
        ({"data_parallel": {"kind": "ddp", "wrap": "block"}}, "ddp has no option wrap", "fsdp1"),
        ({"mesh": {"dp_shard": 4}}, "ddp has no dp_shard", "hsdp"),
        ({"mesh": {"dp_shard": 3}, "data_parallel": {"kind": "fsdp2"}}, "dp_shard 3 x dp_replicate 5", "2, 4, 8"),
        ({"mesh": {"dp_shard": 1}, "data_parallel": {"kind": "fsdp2"}}, "dp_shard 1 shards nothing", "ddp"),
    ],
)
def test_data_parallel_combinations_that_do_not_exist(strategy, message, hint):
    with pytest.raises(SimdmlError) as refused:
        built(TOKENS, training={"microbatch": 1}, strategy=strategy)
    assert message in str(refused.value).replace('"', "'")
    assert hint in str(refused.value)
    assert refused.value.place is not None


def test_rank_order_is_the_one_asked_for():
    mesh = {"tp": 2, "pp": 4}
    scenario = {"cluster": "dgx_a100", "model": "gpt2", "training": {"global_batch": 8, "microbatch": 1}, "gpus": 8}
    default = build(load_scenario({**scenario, "strategy": {"mesh": mesh}}))
    assert default.job.mesh.axes == (("tp", 2), ("dp", 1), ("pp", 4))
    llama = build(load_scenario({**scenario, "strategy": {"mesh": {**mesh, "order": ["pp", "tp", "dp"]}}}))
    assert llama.job.mesh.axes == (("pp", 4), ("tp", 2), ("dp", 1))
    with pytest.raises(
        InfeasibleError, match=r"(?s)with dp left out: it has to name every axis in use once.*has tp, pp, dp"
    ):
        build(load_scenario({**scenario, "strategy": {"mesh": {**mesh, "order": ["tp", "pp"]}}}))


def test_embedding_and_loss_count_as_blocks_when_asked():
    """Llama 3 405B over 16 stages of 8 chunks: 126 layers, embedding and loss are 128 blocks."""
    mesh = {"tp": 8, "pp": 16, "order": ["tp", "pp", "dp"]}
    pipeline = {"schedule": "interleaved_1f1b", "chunks": 8, "microbatch": 1, "balance": "blocks_and_ends"}
    scenario = {
        "cluster": {"name": "llama3_roce_h100", "nodes": 16},
        "model": "llama3_405b",
        "training": {"global_batch": 16, "precision": "bf16"},
        "strategy": {"mesh": mesh, "pipeline": pipeline},
    }
    program = build(load_scenario(scenario)).program()
    assert [rank_class.name for rank_class in program.classes] == [f"stage {stage}" for stage in range(16)]
    plain = build(
        load_scenario({**scenario, "strategy": {"mesh": mesh, "pipeline": {**pipeline, "balance": "blocks"}}})
    )
    with pytest.raises(InfeasibleError, match="126 layers of llama3_405b do not divide into 128 stages"):
        plain.program()


def test_one_process_launches_the_kernels_of_all_gpus():
    alone, many = built(IMAGES, strategy="ddp"), built(IMAGES, strategy="dataparallel")
    assert many.costs.host_launch_s == 8 * alone.costs.host_launch_s


def test_horovod_knows_what_the_job_s_kernels_take():
    made = built(IMAGES, strategy="horovod")
    clock = made.job.data_parallel.clock
    kernel = next(op for layer in made.job.build(32).blocks[0].layers for op in layer.forward)
    assert clock.kernel_s(kernel) == made.costs.compute["v100_sxm2_16gb"].seconds(kernel, "fp32") > 0
    assert clock.launch_s == made.costs.host_launch_s


def test_local_sgd_trains_a_period_in_a_step():
    job = built(IMAGES, strategy={"data_parallel": {"kind": "local_sgd", "period": 3}}).job
    assert job.mesh == Mesh((("tp", 1), ("dp_node", 8), ("dp", 1), ("pp", 1)))
    assert (job.training.num_microbatches, job.training.local_steps, job.global_batch) == (3, 3, 3 * 256)


@pytest.mark.parametrize("kind", ["local_sgd", "horovod", "mirrored", "multiworker_mirrored", "dataparallel"])
def test_what_has_no_model_parallelism_says_so(kind):
    strategy = {"mesh": {"tp": 2}, "data_parallel": {"kind": kind}}
    with pytest.raises(InfeasibleError, match=f"{kind} does not combine with tp") as refused:
        built(TOKENS, cluster="dgx_a100", strategy=strategy).program()
    assert "ddp" in refused.value.hint


@pytest.mark.parametrize("assignments", [["cluster.nodes=2"], ["cluster={name: dgx1_v100, nodes: 2}"]])
def test_a_section_that_is_a_name_may_be_entered(assignments):
    scenario = load_scenario("quickstart", assignments)
    assert build(scenario).job.cluster.num_gpus == 16


@pytest.mark.parametrize("changes", [{"cluster.nodes": 2}, {"cluster": {"nodes": 2}}])
def test_changes_enter_a_section_that_is_a_name_too(changes):
    assert build(load_scenario("quickstart", changes=changes)).job.cluster.num_gpus == 16


def test_a_whole_cluster_still_replaces_a_name():
    scenario = load_scenario("quickstart", changes={"cluster": "dgx_a100"})
    assert build(scenario).job.cluster.name == "dgx_a100"


def test_a_bundled_name_in_a_folder_has_near_ones():
    with pytest.raises(UnknownNameError, match="sc21/row_10"):
        load_scenario("sc21/row_11")


def test_flash_attention_3_is_for_hopper():
    with pytest.raises(
        SimdmlError, match="flash_3 runs on Hopper GPUs and newer, and a100_sxm_80gb is ampere"
    ) as refused:
        built(TOKENS, training={"attention": "flash_3"})
    assert refused.value.place is not None
    assert built(TOKENS, cluster={"name": "dgx_h100", "nodes": 2}, training={"attention": "flash_3"})


@pytest.mark.parametrize(
    ("document", "cluster", "message"),
    [(TOKENS, "dgx_a100", "a100_sxm_80gb does not compute in fp8"), (IMAGES, "dgx_h100", "resnet50 has none")],
)
def test_fp8_is_for_transformers_on_gpus_that_have_it(document, cluster, message):
    with pytest.raises(SimdmlError, match=message) as refused:
        built(document, cluster=cluster, training={"precision": "fp8"})
    assert refused.value.place is not None


def test_fp8_makes_a_step_shorter_but_not_by_half():
    job = {
        "cluster": "dgx_h100",
        "model": "llama3_8b",
        "training": {"global_batch": 8, "microbatch": 1, "precision": "bf16", "attention": "flash_3"},
        "strategy": {"mesh": {"tp": 8}},
    }
    half, eight = (simdml.run(job, **{"training.precision": name}).breakdown["backward"] for name in ("bf16", "fp8"))
    assert 1.1 < half / eight < 1.9


def test_keys_of_the_user_are_explained_by_their_mapping():
    model = {"name": "tiny", "sequence": 128, "config": {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2}}
    model["config"] |= {"n_positions": 128, "vocab_size": 512}
    lines = {line.path: line.meaning for line in explain_lines(built(TOKENS, model=model, cluster="dgx_h100"))}
    assert "what would be in one" in lines["model.config.n_embd"]
