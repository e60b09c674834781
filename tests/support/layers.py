"""A small transformer on fake clusters, and what its programs move."""

from __future__ import annotations

from collections import Counter

from fakes import StarCluster

from simdml.program.instructions import Beside, Collective, CollectiveKind, Compute, Routine
from simdml.program.mesh import Mesh
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import Job, Training
from simdml.workload.transformer import TransformerConfig, build_transformer

GPT = TransformerConfig("gpt", "gpt2", 4, 512, 8, 8, 64, 2048, 1024, position_rows=256)
SAMPLES, SEQUENCE, HIDDEN = 4, 128, 512
SBH_BYTES = 2 * SAMPLES * SEQUENCE * HIDDEN
"""Bytes of one activation of all tokens."""


def transformer_job(mesh, config=GPT, *, microbatches=1, recompute="none", options=None, **plans):
    """A job that trains ``config`` at fp16 on as many one-GPU nodes as ``mesh`` has ranks."""
    built = {}

    def build(samples):
        if samples not in built:
            built[samples] = build_transformer(config, samples=samples, sequence=SEQUENCE, **(options or {}))
        return built[samples]

    training = Training(SAMPLES, microbatches, "fp16", "adam", recompute, gradient_bytes=2)
    cluster = StarCluster(Mesh(mesh).num_ranks, bandwidth=1e9)
    return Job("transformer", cluster, build, training, Mesh(mesh), **plans)


def program_of(mesh, config=GPT, **plans):
    return compile_job(transformer_job(mesh, config, **plans))


def instructions(program, index=0):
    """Every instruction of the compute stream of a rank class, routines written out."""
    return list(program.classes[index].streams[0].written_out())


def collectives(program, group, index=0):
    """(kind, payload bytes) of every collective of a rank class on a group, on any stream."""
    return Counter(
        (i.kind, i.payload_bytes)
        for stream in program.classes[index].streams
        for i in stream.written_out()
        if isinstance(i, Collective) and i.group == group
    )


def wire_bytes(program, group, ways, index=0):
    """Bytes that leave a rank in a step on a group of ``ways`` ranks: rings, shifts, and plain sends of all-to-all."""
    share = {CollectiveKind.ALL_REDUCE: 2 * (ways - 1) / ways, CollectiveKind.SHIFT: 1.0}
    return sum(
        times * payload * share.get(kind, (ways - 1) / ways)
        for (kind, payload), times in collectives(program, group, index).items()
    )


def flops(program, index=0, activity=None):
    """FLOPs of a rank class in a step."""
    return sum(
        operator.flops
        for i in instructions(program, index)
        if isinstance(i, Compute) and (activity is None or i.activity == activity)
        for operator in i.operators
    )


def pairs(program, index=0):
    """Every pair of kernels and a collective beside them."""
    found = []
    for instruction in program.classes[index].streams[0].instructions:
        inner = instruction.instructions if isinstance(instruction, Routine) else (instruction,)
        found += [each for each in inner if isinstance(each, Beside)]
    return found
