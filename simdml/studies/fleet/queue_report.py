"""Jobs that wait for GPUs, as a part of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simdml.reporting.drawings import picture
from simdml.reporting.report import Block, Part, Section, Table, Topic
from simdml.studies.fleet.figure import goal_figure
from simdml.studies.fleet.fleet import Goal
from simdml.studies.fleet.waiting import Known, Tried
from simdml.studies.report.findings import Record
from simdml.units import format_time

_WAITS = {"p50": "half wait at most", "p90": "90 %", "p99": "99 %", "mean": "mean wait"}


def queue_part(queue: Record) -> Part:
    """Return what the record of a queue says."""
    goal = _goal(queue["goal"])
    return Part(
        answer=_answer(queue, goal),
        certainty=(
            f"{queue['num_jobs']:,} jobs in each of {queue['repeats']} runs with other arrivals; half widths are of "
            "95 % confidence. They do not cover arrivals and run times that are distributed in another way than said.",
        ),
        tiles=tuple(_tiles(queue, goal)),
        warnings=tuple(_warnings(queue, goal)),
        sections=tuple(_sections(queue, goal)),
    )


def _goal(data: Record | None) -> Goal | None:
    if data is None:
        return None
    tried = tuple(Tried(each["nodes"], Known(**each["wait"]), each["utilisation"]) for each in data["tried"])
    return Goal(data["wait_s"], data["share"], data["nodes"], tried)


def _answer(queue: Record, goal: Goal | None) -> str:
    busy = f"{100 * queue['utilisation']['mean']:.1f} % of the GPUs are busy"
    waits = f"On {queue['nodes']:,} nodes ({queue['gpus']:,} GPUs) half of the jobs wait at most "
    waits += f"{_time(queue['wait_s']['p50'])}, 90 % at most {_time(queue['wait_s']['p90'])}; {busy}."
    if goal is None:
        return waits
    text = f"{goal.nodes:,} nodes are the fewest on which {100 * goal.share:.3g} % of the jobs wait at most "
    return f"{text}{format_time(goal.wait_s)}. {waits}"


def _tiles(queue: Record, goal: Goal | None) -> Iterator[tuple[str, str]]:
    if goal is not None:
        yield "nodes that are enough", f"{goal.nodes:,}"
    yield "nodes", f"{queue['nodes']:,}"
    yield "mean wait", _time(queue["wait_s"]["mean"])
    yield "GPUs busy", _share(queue["utilisation"])
    yield "no place though free", _share(queue["fragmentation"])
    yield "load", f"{100 * queue['load_gpus'] / queue['gpus']:.1f} % of the GPUs"


def _warnings(queue: Record, goal: Goal | None) -> Iterator[str]:
    if goal is not None and not goal.certain:
        yield "With other arrivals it may be other nodes: a larger count and more repeats make it surer."
    if queue["grows"]:
        yield "Jobs wait longer and longer: with these rules the queue grows for ever."


def _sections(queue: Record, goal: Goal | None) -> Iterator[Section]:
    rows = tuple(
        (kind, *(_time(waits[key]) for key in _WAITS))
        for kind, waits in [*queue["by_kind"].items(), ("all", queue["wait_s"])]
    )
    rules = f"{queue['policy'].replace('_', ' ')}, {queue['placement'].replace('_', ' ')}"
    caption = f"Waits by kind of job on {queue['nodes']:,} nodes ({rules})"
    yield Section(
        Topic.ALTERNATIVES, "How long jobs wait", (Table(caption, ("jobs", *_WAITS.values()), rows, total=True),)
    )
    if goal is not None:
        yield Section(Topic.ALTERNATIVES, "What more nodes change", tuple(_nodes(queue, goal)))


def _nodes(queue: Record, goal: Goal) -> Iterator[Block]:
    alt = f"The wait of {100 * goal.share:.3g} % of the jobs by the number of nodes; {goal.nodes:,} are enough."
    yield picture("nodes", lambda: goal_figure(goal), alt)
    gpus = queue["gpus"] // queue["nodes"]
    rows = tuple(
        (
            f"{each.nodes:,}",
            f"{each.nodes * gpus:,}",
            f"{format_time(each.wait.mean)} +- {format_time(each.wait.half_width)}",
            f"{100 * each.utilisation:.1f} %",
        )
        for each in goal.tried
    )
    yield Table("Nodes that were tried", ("nodes", "GPUs", "wait", "busy"), rows)


def _time(known: Mapping[str, float]) -> str:
    text = format_time(known["mean"]) if known["mean"] else "0 s"
    return f"{text} ± {format_time(known['half_width'])}" if known["half_width"] else text


def _share(known: Mapping[str, float]) -> str:
    return f"{100 * known['mean']:.1f} % ± {100 * known['half_width']:.1f} %"
