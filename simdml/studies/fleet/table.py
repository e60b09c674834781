"""A fleet as text for people."""

from __future__ import annotations

from typing import Final

from simdml.studies.fleet.fleet import Goal, QueueStudy, SharingStudy
from simdml.studies.fleet.waiting import Known
from simdml.units import format_time

WAIT_COLUMNS: Final = ("jobs", "GPUs", "busy GPUs", "half wait at most", "90 %", "99 %", "mean wait")
SHARING_COLUMNS: Final = ("job", "GPUs", "nodes", "step alone", "with the others", "best and worst phase", "slowdown")
NODES_SHOWN: Final = 8
GOAL_COLUMNS: Final = ("nodes", "GPUs", "wait", "busy", "")


def queue_lines(found: QueueStudy) -> list[tuple[str, str]]:
    """Return the answer first, then what it rests on."""
    waits, queue = found.waits, found.waits.queue
    lines = [] if found.goal is None else [(_asked(found.goal), _answer(found.goal, queue.node_gpus))]
    lines += [
        ("half of the jobs wait", f"at most {_time(found.wait_s(0.5))}"),
        ("90 % of them", f"at most {_time(found.wait_s(0.9))}"),
        ("mean wait", _time(waits.mean_wait_s())),
        ("GPUs busy", _share(waits.known(lambda run: run.utilisation))),
        ("no place though free", _share(waits.known(lambda run: run.fragmentation))),
        ("jobs waiting", _number(waits.known(lambda run: run.waiting))),
        ("cluster", f"{queue.num_nodes:,} nodes of {queue.node_gpus} GPUs, {found.cluster}"),
        ("rules", f"{queue.policy.replace('_', ' ')}, {queue.placement.replace('_', ' ')}"),
        ("load", f"{found.demand.load_gpus / queue.num_gpus:.1%} of all GPUs"),
        ("jobs", f"{len(waits.runs[0].jobs):,} that count, {_runs(len(waits.runs))}, seed {found.seed}"),
    ]
    return lines


def wait_rows(found: QueueStudy) -> list[tuple[str, ...]]:
    """Return a row for every kind of jobs."""
    load = {kind.name: (f"{kind.gpus:,}", f"{kind.load_gpus:,.1f}") for kind in found.demand.kinds}
    return [
        (
            kind,
            *load.get(kind, ("", "")),
            *(format_time(found.wait_s(share, kind).mean) for share in (0.5, 0.9, 0.99)),
            format_time(found.waits.mean_wait_s(kind).mean),
        )
        for kind in found.waits.kinds
    ]


def goal_rows(found: QueueStudy, goal: Goal) -> list[tuple[str, ...]]:
    """Return a row for every number of nodes that was tried."""
    return [
        (
            f"{each.nodes:,}",
            f"{each.nodes * found.waits.queue.node_gpus:,}",
            _time(each.wait),
            f"{each.utilisation:.1%}",
            "the fewest" if each.nodes == goal.nodes else "too few" if each.nodes < goal.nodes else "",
        )
        for each in goal.tried
    ]


def sharing_rows(found: SharingStudy) -> list[tuple[str, ...]]:
    """Return a row for every job that runs beside others."""
    return [
        (
            each.name,
            f"{each.num_gpus:,}",
            _nodes(each.nodes),
            format_time(each.alone_s),
            format_time(each.together_s),
            f"{format_time(each.fastest_s)} to {format_time(each.slowest_s)}",
            f"{each.slowdown:.3f}",
        )
        for each in found.steps
    ]


def _nodes(nodes: tuple[int, ...]) -> str:
    if len(nodes) > 1 and nodes == tuple(range(nodes[0], nodes[-1] + 1)):
        return f"{nodes[0]} to {nodes[-1]}"
    some = ", ".join(map(str, nodes[:NODES_SHOWN]))
    return some + (f" and {len(nodes) - NODES_SHOWN} more" if len(nodes) > NODES_SHOWN else "")


def _asked(goal: Goal) -> str:
    whose = "half" if goal.share == 0.5 else f"{goal.share:.3g}" if goal.share < 0.01 else f"{100 * goal.share:.3g} %"
    return f"for {whose} to wait at most {format_time(goal.wait_s)}"


def _answer(goal: Goal, node_gpus: int) -> str:
    return f"{goal.nodes:,} nodes, {goal.nodes * node_gpus:,} GPUs"


def _runs(count: int) -> str:
    return "one run" if count == 1 else f"{count} runs"


def _time(known: Known) -> str:
    return _with_half_width(format_time(known.mean), format_time(known.half_width), known)


def _share(known: Known) -> str:
    return _with_half_width(f"{known.mean:.1%}", f"{known.half_width:.1%}", known)


def _number(known: Known) -> str:
    return _with_half_width(f"{known.mean:,.1f}", f"{known.half_width:,.1f}", known)


def _with_half_width(mean: str, half_width: str, known: Known) -> str:
    return f"{mean} +- {half_width}" if known.half_width else mean
