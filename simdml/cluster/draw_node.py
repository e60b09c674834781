"""The picture of a node: the PCIe tree above its GPUs and NICs, NVLink below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simdml.cluster.cluster import NodeGroup
from simdml.cluster.drawing import Point, box, legend, line
from simdml.cluster.node import Fabric, NodeTemplate
from simdml.units import format_bandwidth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GPUS_SHOWN = 16
GPUS_SHOWN_OF_MANY = 8
_LEVELS = {"memory": 4.0, "socket": 3.0, "pcie": 2.0, "gpu": 1.0, "nic": 1.0}
_HEIGHT = 0.46
_NARROWEST = 11.0


def draw_node(group: NodeGroup, axes: Axes) -> None:
    """Draw one node of ``group``; of a large one, the first GPUs and what they hang on."""
    template = group.template
    shown = template.gpus if template.gpus <= GPUS_SHOWN else GPUS_SHOWN_OF_MANY
    places = _places(template, shown)
    _draw_links(axes, template, places)
    _draw_nvlinks(axes, template, places, shown)
    _draw_boxes(axes, template, places)
    right = max(x for x, _ in places.values()) + 0.6
    if shown < template.gpus:
        axes.text(right + 0.2, 1.0, f"...\n{template.gpus} GPUs", fontsize=11, va="center")
        right += 1.2
    spare = max(0.0, _NARROWEST - right) / 2
    axes.set_xlim(-0.8 - spare, right + spare)
    axes.set_ylim(-0.9 if template.fabric is Fabric.CUBE_MESH else 0.0, 4.4)
    title = f"One of {group.num_nodes:,} nodes" if group.num_nodes > 1 else "The node"
    legend(axes, title, _entries(template))


def _kind(vertex: str) -> str:
    return vertex.rstrip("0123456789")


def _places(template: NodeTemplate, shown: int) -> dict[str, Point]:
    """Lay out the forest: leaves from left to right, everything else over the middle of what is below it."""
    keep = _kept(template, shown)
    children: dict[str, list[str]] = {}
    for vertex, parent in template.parents.items():
        if vertex in keep and _kind(vertex) != "memory":
            children.setdefault(parent, []).append(vertex)
    places: dict[str, Point] = {}
    at = 0.0
    for socket in range(template.cpu.sockets):
        if f"socket{socket}" in keep:
            at = _place(f"socket{socket}", at, children, places) + 0.5
    for vertex, parent in template.parents.items():
        if vertex in places and _kind(vertex) == "nic" and parent.startswith("socket") and template.pcie.switches:
            places[vertex] = (places[vertex][0], _LEVELS["pcie"])
    for vertex in [v for v in template.parents if _kind(v) == "memory" and v in keep]:
        places[vertex] = (places[template.parents[vertex]][0], _LEVELS["memory"])
    return places


def _place(vertex: str, at: float, children: dict[str, list[str]], places: dict[str, Point]) -> float:
    """Place ``vertex`` and what is below it from ``at`` on; return where the next may start."""
    below = children.get(vertex, [])
    if not below:
        places[vertex] = (at, _LEVELS[_kind(vertex)])
        return at + 1.05
    for child in below:
        at = _place(child, at, children, places) + (0.25 if _kind(child) == "pcie" else 0.0)
    middle = (places[below[0]][0] + places[below[-1]][0]) / 2
    places[vertex] = (middle, _LEVELS[_kind(vertex)])
    return at


def _kept(template: NodeTemplate, shown: int) -> set[str]:
    if shown == template.gpus:
        return {*template.parents, *(f"socket{socket}" for socket in range(template.cpu.sockets))}
    near = [f"gpu{gpu}" for gpu in range(shown)]
    near += [f"nic{nic}" for nic, port in enumerate(template.nics) if set(port.gpus) & set(range(shown))]
    kept = set(near)
    for vertex in near:
        while vertex in template.parents:
            vertex = template.parents[vertex]  # noqa: PLW2901
            kept.add(vertex)
    return kept | {
        memory for memory, socket in template.parents.items() if _kind(memory) == "memory" and socket in kept
    }


def _draw_links(axes: Axes, template: NodeTemplate, places: dict[str, Point]) -> None:
    for link in template.links[::2]:
        if link.kind == "nvlink" or link.source not in places or link.destination not in places:
            continue
        line(axes, [places[link.source], places[link.destination]], link.kind, 3.0 if link.kind == "socket" else 1.6)


def _draw_nvlinks(axes: Axes, template: NodeTemplate, places: dict[str, Point], shown: int) -> None:
    if template.fabric is Fabric.NVSWITCH:
        ends = [places[f"gpu{gpu}"][0] for gpu in range(shown)]
        middle, width = (min(ends) + max(ends)) / 2, max(ends) - min(ends) + 0.9
        for x in ends:
            line(axes, [(x, 1.0), (x, 0.3)], "nvlink", 3.0)
        box(axes, (middle, 0.25), (width, 0.36), "NVSwitch", "nvswitch", 10)
        return
    from matplotlib.patches import Arc

    for (first, second), count in template.nvlinks.items():
        start, end = places[f"gpu{first}"][0], places[f"gpu{second}"][0]
        span = abs(end - start)
        size = (span, 2 * (0.22 + 0.135 * span))
        centre = ((start + end) / 2, 1.0 - _HEIGHT / 2)
        colour, width = ("#3f6b00", 3.2) if count > 1 else ("#8fc23a", 1.4)
        axes.add_patch(Arc(centre, *size, theta1=180, theta2=360, color=colour, lw=width, zorder=2))


def _draw_boxes(axes: Axes, template: NodeTemplate, places: dict[str, Point]) -> None:
    for vertex, place in places.items():
        kind = _kind(vertex)
        number = vertex.removeprefix(kind)
        width = {"socket": 1.9, "memory": 1.9, "pcie": 1.35}.get(kind, 0.92)
        box(axes, place, (width, _HEIGHT), _label(template, kind, number), kind, 8.5 if len(places) <= 20 else 7.5)


def _label(template: NodeTemplate, kind: str, number: str) -> str:
    if kind == "gpu":
        assert template.device is not None
        return f"GPU {number}\n{template.device.name.split('_')[0].upper()}"
    if kind == "nic":
        return f"NIC {number}\n{format_bandwidth(template.nics[int(number)].rate_bytes_per_s, network=True)}"
    if kind == "socket":
        return f"CPU {number}\n{template.cpu.generation.replace('_', ' ')}"
    return {"pcie": f"PCIe switch {number}", "memory": f"memory {number}"}[kind]


_NAMES = {"nvlink": "NVLink", "c2c": "NVLink-C2C", "pcie": "PCIe", "socket": "CPU to CPU", "host_memory": "CPU memory"}


def _entries(template: NodeTemplate) -> list[tuple[str, str, float]]:
    rates: dict[str, list[float]] = {}
    for link in template.links[::2]:
        if link.kind != "nic" and link.capacity_bytes_per_s not in rates.setdefault(link.kind, []):
            rates[link.kind].append(link.capacity_bytes_per_s)
    entries = []
    for kind, found in rates.items():
        text = ", ".join(format_bandwidth(rate) for rate in sorted(found))
        if template.fabric is Fabric.CUBE_MESH and kind == "nvlink":
            *pairs, port = sorted(found)
            text = " or ".join(format_bandwidth(rate) for rate in pairs)
            text += f" a pair (thick: double), {format_bandwidth(port)} a GPU"
        width = 3.0 if kind in ("nvlink", "socket") else 1.8
        entries.append((f"{_NAMES.get(kind, kind)}: {text}", kind, width))
    return entries
