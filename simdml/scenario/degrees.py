"""Degrees of parallelism that fit the number of GPUs."""

from __future__ import annotations

from math import gcd
from typing import Final

from simdml.documents.document import Document
from simdml.errors import InfeasibleError, Place, listed
from simdml.program.mesh import Mesh
from simdml.scenario.places import written
from simdml.scenario.schema.strategy import MeshSpec
from simdml.strategies.data_parallel.kind import NODES, SHARDED, Kind

MESH = ("strategy", "mesh")
MEGATRON_ORDER = ("tp", "cp", "dp", "pp")
"""Ranks of a tensor-parallel group are neighbours, stages farthest apart (megatron/training/arguments.py)."""
DATA: Final = "dp"
"""In an order, all data-parallel axes that it does not name."""


def divisors(number: int) -> list[int]:
    """Return what divides ``number``, ascending."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def common_divisors(*numbers: int) -> list[int]:
    """Return what divides all ``numbers``, ascending."""
    return divisors(gcd(*numbers))


def build_mesh(mesh: MeshSpec, gpus: int, document: Document, kind: Kind, node_gpus: int) -> Mesh:
    """Return the mesh of ``gpus`` ranks, in Megatron-LM's order by default; tp, cp and pp leave the data-parallel axes.

    Ranks that share experts are neighbours among those.

    Raises:
        InfeasibleError: degrees that do not divide the number of GPUs, with those that do.
    """
    model = mesh.tp * mesh.cp * mesh.pp
    product = " x ".join(f"{axis} {getattr(mesh, axis)}" for axis in ("tp", "cp", "pp") if axis != "cp" or mesh.cp > 1)
    dp = gpus // model
    if gpus % model:
        message = f"{product} = {model} does not divide the {gpus} GPUs"
        raise InfeasibleError(message, place=_place(document, mesh, gpus), hint=_what_would(mesh, gpus))
    if mesh.dp is not None and mesh.dp != dp:
        raise InfeasibleError(
            f"{product} x dp {mesh.dp} = {model * mesh.dp} is not the {gpus} GPUs",
            place=document.place((*MESH, "dp")),
            hint=f"dp {dp}, or leave dp out, or gpus: {model * mesh.dp}",
        )
    data = _with_experts(mesh, _data_axes(mesh, dp, document, kind, node_gpus), document)
    sizes = {"tp": mesh.tp, "pp": mesh.pp} | ({"cp": mesh.cp} if mesh.cp > 1 else {}) | dict(data)
    order = _order(mesh, tuple(name for name, _ in data), document)
    return Mesh(tuple((name, sizes[name]) for name in order if name in sizes))


def _with_experts(mesh: MeshSpec, axes: tuple[tuple[str, int], ...], document: Document) -> tuple[tuple[str, int], ...]:
    """Return the data-parallel axes, the innermost one divided into ranks that share experts and those that do not.

    Ranks that share sequences hold different experts where ep is a multiple of cp (Megatron-LM, torchtitan), so that
    ep/cp of the data-parallel ranks are enough.
    """
    if mesh.ep == 1:
        return axes
    (name, size), *others = axes
    part = mesh.ep // mesh.cp if mesh.ep % mesh.cp == 0 else mesh.ep
    if size % part:
        among, most = (name, size) if mesh.cp == 1 else (f"cp x {name}", size * mesh.cp)
        allowed = sorted({*divisors(size), *(mesh.cp * each for each in divisors(size))})
        raise InfeasibleError(
            f"ep {mesh.ep} does not divide the {most} ranks of {among}, among which experts are shared",
            place=document.place((*MESH, "ep")),
            hint=f"ep can be {listed(map(str, allowed))}",
        )
    shared = (("ep", part),) if part > 1 else ()
    return (*shared, (name, size // part), *others)


def _order(mesh: MeshSpec, data: tuple[str, ...], document: Document) -> tuple[str, ...]:
    """Return the axes as ranks vary; raises InfeasibleError unless each that is used is there once."""
    asked = mesh.order or MEGATRON_ORDER
    rest = tuple(name for name in data if name not in asked or name == DATA)
    order = tuple(name for each in asked for name in (rest if each == DATA else (each,)))
    used = ["tp", "pp", *(["cp"] if mesh.cp > 1 else []), *data]
    missing = [name for name in used if name not in order]
    if missing or len(set(order)) < len(order) or len(set(asked)) < len(asked):
        wrong = f"{listed(missing)} left out" if missing else "one of them twice"
        raise InfeasibleError(
            f"the order of the mesh is {listed(asked)}, with {wrong}: it has to name every axis in use once, dp for "
            "those of the data-parallel ones that it does not name",
            place=document.place((*MESH, "order")),
            hint="order: [tp, cp, dp, pp] as Megatron-LM, or [tp, cp, pp, dp] as Llama 3; "
            f"this mesh has {listed(used)}",
        )
    return order


def _data_axes(mesh: MeshSpec, dp: int, document: Document, kind: Kind, node_gpus: int) -> tuple[tuple[str, int], ...]:
    asked = [axis for axis in SHARDED if getattr(mesh, axis) is not None]
    if not set(SHARDED) <= set(kind.axes):
        for axis in asked:
            raise InfeasibleError(
                f"{kind.strategy.name} has no {axis}: its replicas all hold, or shard, the same",
                place=document.key_place((*MESH, axis)),
                hint="use dp, or data_parallel: {kind: hsdp}",
            )
        if kind.axes == NODES:
            local = gcd(dp, node_gpus)
            return ((NODES[0], local), ("dp", dp // local))
        return (("dp", dp),)
    shard = mesh.dp_shard or _shards(mesh, dp, kind, node_gpus)
    replicate = mesh.dp_replicate or dp // shard
    if shard * replicate != dp or (shard * mesh.cp == 1 and dp > 1):
        raise InfeasibleError(
            f"dp_shard {shard} x dp_replicate {replicate} is not the {dp} replicas that tp and pp leave"
            if shard > 1
            else "dp_shard 1 shards nothing",
            place=document.place(written(document, (*MESH, *asked[:1]))),
            hint=f"dp_shard can be {listed(map(str, divisors(dp)[1:]))}, and dp_replicate follows; or kind: ddp",
        )
    return (("dp_shard", shard), ("dp_replicate", replicate)) if replicate > 1 else (("dp_shard", shard),)


def _shards(mesh: MeshSpec, dp: int, kind: Kind, node_gpus: int) -> int:
    """Return the shards where the mesh does not say: all replicas, those of a node for HSDP, or what replicas leave."""
    if mesh.dp_replicate is not None:
        return max(dp // mesh.dp_replicate, 1)
    return gcd(dp, max(node_gpus // (mesh.tp * mesh.cp), 1)) if kind.strategy.name == "hsdp" else dp


def _place(document: Document, mesh: MeshSpec, gpus: int) -> Place:
    culprit = "tp" if gpus % mesh.tp else "cp" if gpus % (mesh.tp * mesh.cp) else "pp"
    return document.place(written(document, (*MESH, culprit)))


def _what_would(mesh: MeshSpec, gpus: int) -> str:
    inner = mesh.tp * mesh.cp
    if gpus % inner == 0:
        given = f"tp {mesh.tp}" + (f" and cp {mesh.cp}" if mesh.cp > 1 else "")
        return f"with {given}, pp can be {listed(map(str, divisors(gpus // inner)))}"
    if gpus % mesh.tp == 0:
        return f"with tp {mesh.tp}, cp x pp must divide {gpus // mesh.tp}"
    nearest = sorted(divisors(gpus), key=lambda tp: (abs(tp - mesh.tp), tp))[:4]
    return f"tp x pp must divide {gpus}; the nearest tp are {listed(map(str, sorted(nearest)))}"
