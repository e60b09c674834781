"""A Result as plain data: dictionaries, lists, numbers and strings, ready for JSON.

Keys carry their units. Nothing depends on when or where the simulation ran, so equal results give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from simdml.costs.memory import MemoryEstimate
from simdml.results.breakdown import RankBreakdown
from simdml.results.critical_path import PathSegment
from simdml.results.record import record
from simdml.results.result import Result

if TYPE_CHECKING:
    from simdml.results.servers import ServerActivity

MEMORY_PARTS: Final = ("parameters", "gradients", "optimizer", "activations", "buckets", "overhead")
SEGMENTS_KEPT: Final = 50


def result_to_dict(result: Result) -> dict[str, Any]:
    """Return everything but the recording; the critical path as seconds by account and its longest segments.

    Raises:
        TypeError: if ``result.inputs`` hold something that has no plain form.
    """
    return record("result", _numbers_and_reasons(result), version=result.version)


def _numbers_and_reasons(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "num_gpus": result.num_gpus,
        "step_time_s": result.step_time_s,
        "half_width_s": _finite(result.half_width_s),
        "uncertainty": None if result.uncertainty is None else plain(asdict(result.uncertainty)),
        "samples_per_step": result.samples_per_step,
        "sample_unit": result.sample_unit,
        "samples_per_s": result.samples_per_s,
        "tokens_per_s": result.tokens_per_s,
        "model_flops_per_s_per_gpu": result.model_flops_per_s_per_gpu,
        "hardware_flops_per_s_per_gpu": result.hardware_flops_per_s_per_gpu,
        "mfu": result.mfu,
        "periodic": result.periodic,
        "steps_simulated": result.steps_simulated,
        "memory": [_memory(estimate) for estimate in result.memory],
        "breakdowns": [_breakdown(breakdown) for breakdown in result.breakdowns],
        "critical_path": _critical_path(result),
        "links": [
            {
                "name": load.name,
                "kind": load.kind,
                "bytes_per_step": load.bytes_per_step,
                "capacity_bytes_per_s": load.capacity_bytes_per_s,
                "utilisation": load.utilisation,
            }
            for load in result.links
        ],
        "input": None if result.input is None else plain(asdict(result.input)),
        "evaluation": _evaluation(result),
        "servers": None if result.servers is None else _servers(result.servers),
        "inputs": plain(result.inputs),
        "notes": list(result.notes),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _evaluation(result: Result) -> dict[str, Any] | None:
    if result.evaluation is None:
        return None
    return {
        **asdict(result.evaluation),
        "time_share": result.evaluation.share(result.step_time_s),
        "samples_per_s_with_evaluation": result.samples_per_s_with_evaluation,
    }


def _servers(activity: ServerActivity) -> dict[str, Any]:
    return {
        "servers": [asdict(load) for load in activity.servers],
        "mean_staleness_updates": activity.mean_staleness,
        "staleness_share": {str(updates): fraction for updates, fraction in activity.staleness.items()},
        "pull_waits_for_workers_s": activity.for_workers_s,
        "pull_waits_for_servers_s": activity.for_servers_s,
        "held": [asdict(held) for held in activity.held[:SEGMENTS_KEPT]],
    }


def plain(value: Any) -> Any:
    """Return ``value`` made of dictionaries with sorted text keys, lists, numbers, text, booleans and None.

    A number that is not finite becomes text, as JSON has none.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no plain form")


def _memory(estimate: MemoryEstimate) -> dict[str, Any]:
    parts = {f"{part}_bytes": getattr(estimate, part) for part in MEMORY_PARTS}
    return {
        "rank_class": estimate.rank_class,
        **parts,
        "total_bytes": estimate.total,
        "capacity_bytes": estimate.capacity,
        "fits": estimate.fits,
    }


def _breakdown(breakdown: RankBreakdown) -> dict[str, Any]:
    return {
        "rank_class": breakdown.rank_class,
        "representative_rank": breakdown.representative,
        "num_ranks": breakdown.num_ranks,
        "account_s": dict(sorted(breakdown.seconds.items())),
    }


def _critical_path(result: Result) -> dict[str, Any]:
    begin, _ = result.recording.window
    longest = sorted(result.critical_path, key=lambda segment: (-segment.seconds, segment.begin_s))
    return {
        "account_s": dict(sorted(result.path_accounts().items())),
        "num_segments": len(result.critical_path),
        "longest_segments": [_segment(segment, begin) for segment in longest[:SEGMENTS_KEPT]],
    }


def _segment(segment: PathSegment, origin_s: float) -> dict[str, Any]:
    return {
        "rank": segment.rank,
        "track": segment.track,
        "label": segment.label,
        "account": segment.account,
        "begin_s": segment.begin_s - origin_s,
        "end_s": segment.end_s - origin_s,
    }
