"""From a scenario to a Job and the costs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from simdml.calibration.profile import Profile
from simdml.cluster.cluster import Cluster
from simdml.costs.memory import MemoryEstimate
from simdml.costs.model import CostModel
from simdml.errors import InfeasibleError, listed
from simdml.program.program import Program
from simdml.scenario.accumulation import gradient_accumulation
from simdml.scenario.balancing import with_balance
from simdml.scenario.batches import split_batch
from simdml.scenario.choices import Choice, Choices
from simdml.scenario.clusters import build_cluster, num_gpus, worker_nodes
from simdml.scenario.costs import Priced, build_costs
from simdml.scenario.data_parallel import launch_scale, offloads, with_clock
from simdml.scenario.degrees import common_divisors
from simdml.scenario.dispatching import chosen_dispatch
from simdml.scenario.input import build_input
from simdml.scenario.loading import Scenario
from simdml.scenario.models import chosen_model, model_builder, sequence_length
from simdml.scenario.notes import fit_notes, forcing_notes, profile_notes
from simdml.scenario.places import located
from simdml.scenario.plans import STRATEGY, Plans, build_plans, strategy_section
from simdml.scenario.schema.training import OptimizerName, TrainingSpec
from simdml.scenario.shares import microbatches_by_rank
from simdml.scenario.spreads import refuse_unspreadable, spread_options
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.kinds import find_kind
from simdml.strategies.footprint import footprint, refuse_what_does_not_fit
from simdml.strategies.job import Job, Training, num_replicas
from simdml.units import format_bytes
from simdml.workload.spec import ModelSpec, TransformerSpec

ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 2}
UPDATING_TENSORS = ("tensorflow", "mxnet")
"""Dispatches of frameworks that launch an update for every tensor."""
SHARDED_UNITS = ("fsdp1", "fsdp2", "hsdp")
VOCABULARY_MULTIPLE = 128
"""Megatron-LM pads the vocabulary to a multiple of this times tp (megatron/training/tokenizer/tokenizer.py)."""


@dataclass(frozen=True, slots=True)
class Built:
    """A job ready to be compiled, its costs, what was chosen for the user, and what to know about it."""

    scenario: Scenario
    job: Job
    costs: CostModel
    profile: Profile
    choices: tuple[Choice, ...]
    inputs: Mapping[str, Any]
    notes: tuple[str, ...]

    def memory(self) -> tuple[MemoryEstimate, ...]:
        """Return the peak memory of every rank class; raises InfeasibleError if the model cannot be cut as asked."""
        with located(self.scenario.document, STRATEGY):
            return tuple(footprint(self.job, self.profile.memory))

    def fitting_memory(self) -> tuple[MemoryEstimate, ...]:
        """Return the same; raises DoesNotFitError if a class needs more memory than its device has."""
        estimates = self.memory()
        with located(self.scenario.document, "training"):
            refuse_what_does_not_fit(estimates)
        return estimates

    def program(self) -> Program:
        """Return the program of one step; raises InfeasibleError where degrees do not divide the model."""
        with located(self.scenario.document, STRATEGY, "mesh", "tp"):
            return compile_job(self.job)


def build(scenario: Scenario, cluster: Cluster | None = None) -> Built:
    """Return the job that ``scenario`` describes, on another ``cluster`` than its own if one is given.

    Raises:
        UnknownNameError: a cluster, model, strategy, schedule, profile or fit that does not exist.
        DocumentError: a cluster, config or layer that cannot be accepted.
        InfeasibleError: values that do not go together.
        TopologyError: a GPU that cannot be reached.
    """
    choices = Choices()
    cluster = cluster or build_cluster(scenario)
    gpus = num_gpus(scenario, cluster)
    plans = build_plans(scenario, cluster, gpus, choices)
    model = chosen_model(scenario)
    fused_kernels = _fused_kernels(scenario.spec.training, plans, choices)
    training = _training(scenario, model, plans, choices, fused_kernels=fused_kernels)
    servers = strategy_section(scenario, gpus).parameter_server
    fed = build_input(scenario, model, training, plans.parameter_server, choices)
    cluster = cluster if fed is None else fed.on(cluster)
    priced = build_costs(scenario, cluster, gpus, servers, choices, chosen_dispatch(scenario, plans, choices))
    options = _model_options(scenario, model, training, plans, choices, fused_kernels=fused_kernels)
    job = Job(
        name=scenario.name,
        cluster=cluster,
        build=model_builder(model, options, scenario.spec.training),
        training=training,
        mesh=plans.mesh,
        pipeline=plans.pipeline,
        spread=plans.spread,
        data_parallel=with_clock(plans.data_parallel, priced),
        parameter_server=plans.parameter_server,
        input=None if fed is None else fed.plan,
        microbatches=microbatches_by_rank(scenario, cluster, plans, training),
    )
    with located(scenario.document, "training", "sequence"):
        job.build(training.microbatch)
    _refuse_layout(scenario, model)
    _refuse_unsplittable(scenario, job, model)
    refuse_unspreadable(scenario, job)
    _refuse_attention(scenario, job)
    _refuse_fp8(scenario, job, model)
    path = "strategy.pipeline.balance" if plans.pipelined else "strategy.layer_placement.stages"
    with located(scenario.document, STRATEGY):
        job = with_balance(job, plans.balance_by, priced.costs, path, choices)
    costs = priced.costs if fed is None else replace(priced.costs, feed=fed.cost(cluster))
    if training.clip_gradients and job.parameter_server is not None:
        raise InfeasibleError(
            "no server holds all gradients, and so none knows the norm to clip them by",
            place=scenario.document.place(("training", "clip_gradients")),
            hint="leave clip_gradients out, or use a data-parallel strategy",
        )
    return Built(
        scenario=scenario,
        job=job,
        costs=costs.slower_host(launch_scale(plans.data_parallel, gpus)),
        profile=priced.profile,
        choices=tuple(choices.made),
        inputs=_inputs(scenario, job, priced),
        notes=_notes(job, priced),
    )


def _training(scenario: Scenario, model: ModelSpec, plans: Plans, choices: Choices, *, fused_kernels: bool) -> Training:
    asked = scenario.spec.training
    batch = split_batch(
        scenario,
        replicas=num_replicas(plans.mesh),
        gpus_per_replica=plans.gpus_per_replica,
        pipelined=plans.pipelined,
    )
    autocast = _autocast(scenario, plans)
    weights = "fp32" if autocast else asked.precision
    if asked.gradients is None:
        choices.note("training.gradients", weights, "PyTorch keeps gradients in the type of the weights")
    return Training(
        microbatch=batch.microbatch,
        num_microbatches=batch.num_microbatches * plans.local_steps,
        precision=asked.precision,
        optimizer=_optimizer(asked, model, choices),
        recompute=asked.recompute,
        recompute_stops_early=_stops_early(asked, plans, choices),
        fused_optimizer=fused_kernels if asked.fused_optimizer is None else asked.fused_optimizer,
        gradient_bytes=ELEMENT_BYTES[asked.gradients or weights],
        local_steps=plans.local_steps,
        autocast=autocast,
        clip_gradients=asked.clip_gradients,
        updates_tensors=asked.dispatch in UPDATING_TENSORS,
        primary_weights=asked.primary_weights,
    )


def _stops_early(asked: TrainingSpec, plans: Plans, choices: Choices) -> bool:
    """Return whether recomputation of blocks stops early: checkpoint_wrapper with NO_REENTRANT, as used with FSDP."""
    if asked.recompute != "full":
        return False
    kind = "" if plans.data_parallel is None else plans.data_parallel.kind
    reason = "torchtitan and llm-foundry checkpoint FSDP's units without reentrance, others with their own functions"
    return choices.given_or(
        asked.recompute_stops_early, "training.recompute_stops_early", kind in SHARDED_UNITS, reason
    )


def _autocast(scenario: Scenario, plans: Plans) -> bool:
    """Return whether weights are fp32 and converted where used.

    Raises:
        InfeasibleError: with a precision that needs no conversion, or a strategy that has its own mixed precision.
    """
    asked = scenario.spec.training
    if not asked.autocast:
        return False
    place = scenario.document.place(("training", "autocast"))
    if asked.precision not in {"fp16", "bf16"}:
        raise InfeasibleError(
            f"autocast converts to half precision, not to {asked.precision}", place=place, hint="precision: bf16"
        )
    kind = "ddp" if plans.data_parallel is None else plans.data_parallel.kind
    if plans.by_megatron or not find_kind(kind).accumulates or kind.startswith("zero"):
        raise InfeasibleError(
            f"{'Megatron-LM' if plans.by_megatron else kind} has its own mixed precision, without torch.autocast",
            place=place,
            hint="leave autocast out, or use strategy: ddp",
        )
    return True


def _optimizer(asked: TrainingSpec, model: ModelSpec, choices: Choices) -> OptimizerName:
    images = model.sample_unit == "images"
    default: OptimizerName = "sgd_momentum" if images else "adam"
    reason = "torchvision's training reference" if images else "Megatron-LM"
    return choices.given_or(asked.optimizer, "training.optimizer", default, reason)


def _fused_kernels(asked: TrainingSpec, plans: Plans, choices: Choices) -> bool:
    default: Literal["fused", "eager", "operations"] = "fused" if plans.by_megatron else "eager"
    return choices.given_or(asked.kernels, "training.kernels", default, plans.system) == "fused"


def _model_options(
    scenario: Scenario,
    model: ModelSpec,
    training: Training,
    plans: Plans,
    choices: Choices,
    *,
    fused_kernels: bool,
) -> dict[str, Any]:
    sequence = sequence_length(scenario)
    if sequence is None and model.default_sequence is not None:
        choices.note("training.sequence", model.default_sequence, f"the length {model.name} is trained with")
    padding = 1
    if plans.by_megatron and model.sample_unit == "sequences":
        padding = VOCABULARY_MULTIPLE * plans.mesh.size("tp")
        choices.note("vocabulary", f"padded to a multiple of {padding}", "Megatron-LM, 128 x tp")
    element_bytes = ELEMENT_BYTES[training.precision]
    section = strategy_section(scenario, plans.mesh.num_ranks)
    return spread_options(scenario, section, model, plans.spread) | {
        "sequence": sequence,
        "element_bytes": element_bytes,
        "attention": scenario.spec.training.attention,
        "fused_elementwise": fused_kernels,
        "fused_norm": scenario.spec.training.norm == "fused",
        "norm_keeps_input": scenario.spec.training.norm == "t5",
        "gathers_logits": scenario.spec.training.logits == "gathered",
        "vocab_multiple": padding,
        "gradient_accumulation": gradient_accumulation(
            scenario, training, element_bytes, plans, fused_kernels=fused_kernels
        ),
    }


def _refuse_layout(scenario: Scenario, model: ModelSpec) -> None:
    asked = scenario.spec.training
    given = {"memory_format": asked.memory_format != "contiguous", "fused_batch_norm": asked.fused_batch_norm}
    for key in (key for key, is_given in given.items() if is_given and model.sample_unit != "images"):
        raise InfeasibleError(
            f"{key} is of images, and {model.name} has none",
            place=scenario.document.place(("training", key)),
            hint=f"leave {key} out",
        )


def _refuse_unsplittable(scenario: Scenario, job: Job, spec: ModelSpec) -> None:
    ways = job.mesh.size("tp")
    if ways == 1:
        return
    place = scenario.document.place((STRATEGY, "mesh", "tp"))
    layers = (layer for block in job.build(job.training.microbatch).blocks for layer in block.layers)
    if not any(parameter.split for layer in layers for parameter in layer.parameters):
        raise InfeasibleError(
            f"{spec.name} has no layer that tensor parallelism could split over {ways} GPUs",
            place=place,
            hint="tp splits transformers; use data parallelism, a pipeline or layer_placement",
        )
    if isinstance(spec, TransformerSpec):
        config = spec.config
        for size, what in ((config.heads, "heads"), (config.kv_heads, "KV heads"), (config.ffn, "MLP columns")):
            if size % ways:
                hint = f"tp can be {listed(map(str, common_divisors(config.heads, config.kv_heads, config.ffn)))}"
                raise InfeasibleError(
                    f"tp {ways} does not divide the {size} {what} of {spec.name}", place=place, hint=hint
                )


def _refuse_attention(scenario: Scenario, job: Job) -> None:
    """Refuse FlashAttention-3 on GPUs before Hopper, for which it is written (Shah et al., arXiv 2407.08608).

    On Blackwell the name stands for cuDNN's fused attention.
    """
    if scenario.spec.training.attention != "flash_3":
        return
    for gpu in range(job.mesh.num_ranks):
        device = job.cluster.device(gpu)
        if device.arch not in ("hopper", "blackwell"):
            raise InfeasibleError(
                f"flash_3 runs on Hopper GPUs and newer, and {device.name} is {device.arch}",
                place=scenario.document.place(("training", "attention")),
                hint="attention: flash",
            )


def _refuse_fp8(scenario: Scenario, job: Job, spec: ModelSpec) -> None:
    if job.training.primary_weights == "fp8" and job.training.precision != "fp8":
        place = scenario.document.place(("training", "primary_weights"))
        message = f"primary_weights in 8 bits go with precision fp8, not {job.training.precision}"
        raise InfeasibleError(message, place=place, hint="leave primary_weights out")
    if job.training.precision == "fp8" and not any(
        block.stacked for block in job.build(job.training.microbatch).blocks
    ):
        place = scenario.document.place(("training", "precision"))
        message = f"fp8 is for the products of transformer blocks (TransformerEngine), and {spec.name} has none"
        raise InfeasibleError(message, place=place, hint="precision: bf16")


def _notes(job: Job, priced: Priced) -> tuple[str, ...]:
    notes = list(profile_notes(priced.profiles))
    if offloads(job.data_parallel):
        host = max(estimate.host for estimate in footprint(job, priced.profile.memory))
        notes.append(f"every rank keeps {format_bytes(host)} in the memory of its node")
    if job.training.local_steps > 1:
        notes.append(f"a step is a period of {job.training.local_steps} optimizer steps, between which replicas differ")
    notes += forcing_notes(priced.library.forced)
    if priced.library.fit is not None and job.parameter_server is None:
        notes += fit_notes(priced.library.fit, job.mesh, nodes=len(worker_nodes(job.cluster, job.mesh.num_ranks)))
    return tuple(notes)


def _inputs(scenario: Scenario, job: Job, priced: Priced) -> dict[str, Any]:
    """Return what the result rests on, without paths of this machine or dates."""
    return {
        "scenario": scenario.document.data,
        "cluster": job.cluster.name,
        "devices": sorted(priced.profiles),
        "profiles": sorted({profile.name for profile in priced.profiles.values()}),
        "communication": list(dict.fromkeys(priced.library.names)),
        "mesh": dict(job.mesh.axes),
        "microbatch": job.training.microbatch,
        "num_microbatches": job.training.num_microbatches,
        "seed": scenario.spec.simulate.seed,
    }
