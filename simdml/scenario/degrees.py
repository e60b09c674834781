"""Degrees of parallelism that fit the number of GPUs."""

from __future__ import annotations

from math import gcd

from simdml.documents.document import Document
from simdml.errors import InfeasibleError, Place, listed
from simdml.program.mesh import Mesh
from simdml.scenario.places import written
from simdml.scenario.schema.strategy import MeshSpec


def divisors(number: int) -> list[int]:
    """Return what divides ``number``, ascending."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def common_divisors(*numbers: int) -> list[int]:
    """Return what divides all ``numbers``, ascending."""
    return divisors(gcd(*numbers))


def build_mesh(mesh: MeshSpec, gpus: int, document: Document) -> Mesh:
    """Return the mesh of ``gpus`` ranks, ``dp`` being what ``tp`` and ``pp`` leave, in Megatron-LM's rank order.

    Raises:
        InfeasibleError: degrees that do not divide the number of GPUs, with those that do.
    """
    model = mesh.tp * mesh.pp
    dp = gpus // model
    if gpus % model:
        message = f"tp {mesh.tp} x pp {mesh.pp} = {model} does not divide the {gpus} GPUs"
        raise InfeasibleError(message, place=_place(document, mesh, gpus), hint=_what_would(mesh, gpus))
    if mesh.dp is not None and mesh.dp != dp:
        raise InfeasibleError(
            f"tp {mesh.tp} x pp {mesh.pp} x dp {mesh.dp} = {model * mesh.dp} is not the {gpus} GPUs",
            place=document.place(("strategy", "mesh", "dp")),
            hint=f"dp {dp}, or leave dp out, or gpus: {model * mesh.dp}",
        )
    return Mesh((("tp", mesh.tp), ("dp", dp), ("pp", mesh.pp)))


def _place(document: Document, mesh: MeshSpec, gpus: int) -> Place:
    culprit = "pp" if gpus % mesh.tp == 0 else "tp"
    return document.place(written(document, ("strategy", "mesh", culprit)))


def _what_would(mesh: MeshSpec, gpus: int) -> str:
    if gpus % mesh.tp == 0:
        return f"with tp {mesh.tp}, pp can be {listed(map(str, divisors(gpus // mesh.tp)))}"
    nearest = sorted(divisors(gpus), key=lambda tp: (abs(tp - mesh.tp), tp))[:4]
    return f"tp x pp must divide {gpus}; the nearest tp are {listed(map(str, sorted(nearest)))}"
